/** Reads a task over HTTP: for when no WebSocket can be had. */
import { api } from '@/api/client'
import type { Item, ItemPage, Task } from '@/api/types'
import { ANSWER } from './connection'
import type { ItemStatus, TaskHead } from './frames'
import { FINAL } from './frames'
import type { Reading } from './mirror'

export function headOf(task: Task): TaskHead {
  return { ...task, status: task.status as TaskHead['status'] }
}

/** A read without an answer would keep all that follow it waiting. */
const bounded = () => AbortSignal.timeout(ANSWER)

/** Everything that changed after `after` (-1: everything), and the task at least as new as that. */
export async function readTask(id: string, after: number): Promise<Reading> {
  const items: Item[] = []
  let cursor: string | null = null
  let seq = after
  do {
    const page: ItemPage = await api.get('/api/v1/tasks/{id}/items', {
      path: { id },
      query: { after_seq: after < 0 ? undefined : after, cursor, limit: 1000 },
      signal: bounded(),
    })
    items.push(...page.items)
    seq = page.seq
    cursor = page.next_cursor ?? null
  } while (cursor !== null)
  const task = await api.get('/api/v1/tasks/{id}', { path: { id }, signal: bounded() })
  // An end is shown with the items of the end, not with those of a moment before.
  if (FINAL.has(headOf(task).status) && task.seq > seq) return readTask(id, after)
  return {
    after,
    seq,
    head: headOf(task),
    items: items.map((item) => ({ ...item, status: item.status as ItemStatus })),
  }
}

export async function readTasks(): Promise<TaskHead[]> {
  const page = await api.get('/api/v1/tasks', { query: { mine: true, limit: 100 }, signal: bounded() })
  return page.tasks.map(headOf)
}
