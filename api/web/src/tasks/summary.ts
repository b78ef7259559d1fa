/** A task's parameters in a few words: `team=infra, old-`. */
import type { Task } from '@/api/types'

interface Params {
  set?: Record<string, string> | { key: string; value?: string; effect: string }[]
  remove?: (string | { key: string; effect?: string | null })[]
}

export function summary(task: Pick<Task, 'params'>): string {
  const { set, remove } = (task.params ?? {}) as Params
  const added = Array.isArray(set)
    ? set.map((taint) => `${taint.key}${taint.value ? `=${taint.value}` : ''}:${taint.effect}`)
    : Object.entries(set ?? {}).map(([key, value]) => `${key}=${value}`)
  const removed = (remove ?? []).map((name) =>
    typeof name === 'string' ? `${name}-` : `${name.key}${name.effect ? `:${name.effect}` : ''}-`,
  )
  return [...added, ...removed].join(', ')
}
