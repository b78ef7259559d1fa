/** A task as the draft that it came from: to do it again on some of its nodes, or to write it for a shell. */
import type { Task } from '@/api/types'
import { ACTIONS, newDraft, type Action, type Draft, type Pair, type TaintRow } from './draft'

interface Told {
  set?: Record<string, string> | TaintRow[]
  remove?: (string | { key: string; effect?: string | null })[]
  overwrite?: boolean
  allow_protected?: boolean
  ignore_daemonsets?: boolean
  delete_emptydir_data?: boolean
  force?: boolean
  disable_eviction?: boolean
  grace_period_seconds?: number | null
  timeout_seconds?: number
  skip_wait_for_delete_timeout_seconds?: number
  pod_selector?: string
}

interface Options {
  concurrency?: number
  max_failures?: number
  max_unavailable?: number | string
  waves?: { size: number | string }
  dry_run?: boolean
  uncordon_on_failure?: boolean
}

const isAction = (word: string): word is Action => (ACTIONS as readonly string[]).includes(word)

/** null: nobody submits such a task, it follows from another. When it was to end is not taken over. */
export function draftOf(task: Pick<Task, 'action' | 'cluster' | 'params' | 'options' | 'reason'>, names: string[]): Draft | null {
  if (!isAction(task.action)) return null
  const draft = newDraft(task.action, task.cluster, names)
  const told = task.params as Told
  draft.reason = task.reason
  draft.remove = (told.remove ?? []).map((name) => (typeof name === 'string' ? name : name.key + (name.effect ? `:${name.effect}` : '')))
  draft.overwrite = told.overwrite ?? true
  draft.allowProtected = told.allow_protected ?? false
  if (Array.isArray(told.set)) {
    if (told.set.length) draft.taints = told.set.map(({ key, value, effect }) => ({ key, value, effect }))
  } else {
    const pairs: Pair[] = Object.entries(told.set ?? {}).map(([key, value]) => ({ key, value }))
    if (pairs.length) draft.pairs = pairs
  }
  if (task.action === 'drain') {
    draft.drain = {
      ignoreDaemonsets: told.ignore_daemonsets ?? false,
      deleteEmptydir: told.delete_emptydir_data ?? false,
      force: told.force ?? false,
      disableEviction: told.disable_eviction ?? false,
      grace: told.grace_period_seconds ?? null,
      timeout: told.timeout_seconds || null,
      skipWait: told.skip_wait_for_delete_timeout_seconds || null,
      podSelector: told.pod_selector ?? '',
    }
  }
  const options = task.options as Options
  Object.assign(draft.options, {
    concurrency: options.concurrency ?? null,
    maxFailures: options.max_failures ?? null,
    maxUnavailable: String(options.max_unavailable ?? ''),
    waves: String(options.waves?.size ?? ''),
    dryRun: options.dry_run ?? false,
    uncordonOnFailure: options.uncordon_on_failure ?? false,
  })
  return draft
}
