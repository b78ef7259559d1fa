/** Who may have a task again or taken back, and how dangerous that is. */
import type { Role, Task } from '@/api/types'
import { danger, roleOf, type Danger } from '@/operation/draft'
import { draftOf } from '@/operation/fromTask'

type Told = Pick<Task, 'action' | 'cluster' | 'params' | 'options' | 'reason'>

interface Taints {
  keys?: string
  set?: { effect: string }[]
  remove?: { effect?: string | null }[]
}

/** What is dangerous about doing again what a task has not done, or giving back what it took. */
export function dangerOf(task: Told, what: 'retry' | 'revert'): Danger {
  const draft = draftOf(task, [])
  const { keys, set, remove } = task.params as Taints
  // Of a revert only its kind is known: taints may be back that end pods.
  if (!draft) return keys === 'taints' ? 'evict' : null
  if (what === 'retry') return danger(draft)
  if (draft.action === 'drain' || draft.options.dryRun) return null
  const evicts = (effect: string | null | undefined) => (effect ?? 'NoExecute') === 'NoExecute'
  if (draft.action === 'taint' && [...(set ?? []), ...(remove ?? [])].some((taint) => evicts(taint.effect))) return 'evict'
  return draft.allowProtected ? 'force' : null
}

/** null: only the API knows, as of a revert, which needs what its original did. */
export function roleFor(task: Told): Role | null {
  const draft = draftOf(task, [])
  if (!draft) return null
  // A dry run needs the same role.
  draft.options.dryRun = false
  return danger(draft) === null ? roleOf(draft.action) : 'admin'
}
