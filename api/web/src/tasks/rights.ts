/** Who may have a task again or taken back: whoever may ask for the same. */
import type { Role, Task } from '@/api/types'
import { danger, roleOf } from '@/operation/draft'
import { draftOf } from '@/operation/fromTask'

/** null: only the API knows, as of a revert, which needs what its original did. */
export function roleFor(task: Pick<Task, 'action' | 'cluster' | 'params' | 'options' | 'reason'>): Role | null {
  const draft = draftOf(task, [])
  if (!draft) return null
  // A dry run needs the same role.
  draft.options.dryRun = false
  return danger(draft) === null ? roleOf(draft.action) : 'admin'
}
