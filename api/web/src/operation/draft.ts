/** An operation before it is one: what the form holds, and the request that it comes to. Pure. */
import type { Preview, Role, Submission } from '@/api/types'

export const ACTIONS = ['label', 'annotate', 'taint', 'cordon', 'uncordon', 'drain'] as const
export type Action = (typeof ACTIONS)[number]

export const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const

export interface Pair {
  key: string
  value: string
}
export interface TaintRow extends Pair {
  effect: string
}

export interface DrainForm {
  ignoreDaemonsets: boolean
  deleteEmptydir: boolean
  force: boolean
  disableEviction: boolean
  grace: number | null
  timeout: number | null
  skipWait: number | null
  podSelector: string
}

export interface OptionsForm {
  concurrency: number | null
  maxFailures: number | null
  dryRun: boolean
  maxUnavailable: string
  waves: string
  uncordonOnFailure: boolean
  /** As `datetime-local` writes it, in the reader's zone. */
  notAfter: string
}

export interface Draft {
  action: Action
  cluster: string
  names: string[]
  pairs: Pair[]
  taints: TaintRow[]
  /** Keys; for taints KEY or KEY:EFFECT. */
  remove: string[]
  overwrite: boolean
  allowProtected: boolean
  drain: DrainForm
  options: OptionsForm
  reason: string
}

export function newDraft(action: Action, cluster: string, names: string[]): Draft {
  return {
    action, cluster, names,
    pairs: [{ key: '', value: '' }],
    taints: [{ key: '', value: '', effect: 'NoSchedule' }],
    remove: [], overwrite: true, allowProtected: false,
    drain: { ignoreDaemonsets: true, deleteEmptydir: false, force: false, disableEviction: false, grace: null, timeout: null, skipWait: null, podSelector: '' },
    options: { concurrency: null, maxFailures: null, dryRun: false, maxUnavailable: '', waves: '', uncordonOnFailure: false, notAfter: '' },
    reason: '',
  }
}

export function roleOf(action: Action): Role {
  return action === 'drain' ? 'admin' : 'operator'
}

const filledPairs = (draft: Draft) => draft.pairs.filter((row) => row.key.trim() !== '')
const filledTaints = (draft: Draft) => draft.taints.filter((row) => row.key.trim() !== '')

/** Whether there is anything to ask the API about. */
export function complete(draft: Draft): boolean {
  if (draft.action === 'label' || draft.action === 'annotate') return filledPairs(draft).length + draft.remove.length > 0
  return draft.action === 'taint' ? filledTaints(draft).length + draft.remove.length > 0 : true
}

function removedTaint(text: string): { key: string; effect?: string } {
  const at = text.lastIndexOf(':')
  return at < 0 ? { key: text } : { key: text.slice(0, at), effect: text.slice(at + 1) }
}

function params(draft: Draft): Record<string, unknown> {
  const { overwrite, allowProtected, drain } = draft
  switch (draft.action) {
    case 'label':
    case 'annotate': {
      const set = Object.fromEntries(filledPairs(draft).map((row) => [row.key.trim(), row.value]))
      return { set, remove: draft.remove, overwrite, allow_protected: allowProtected }
    }
    case 'taint': {
      const set = filledTaints(draft).map((row) => ({ key: row.key.trim(), value: row.value, effect: row.effect }))
      return { set, remove: draft.remove.map(removedTaint), overwrite, allow_protected: allowProtected }
    }
    case 'drain':
      return {
        ignore_daemonsets: drain.ignoreDaemonsets,
        delete_emptydir_data: drain.deleteEmptydir,
        force: drain.force,
        disable_eviction: drain.disableEviction,
        grace_period_seconds: drain.grace,
        timeout_seconds: drain.timeout ?? 0,
        skip_wait_for_delete_timeout_seconds: drain.skipWait ?? 0,
        pod_selector: drain.podSelector,
      }
    default:
      return {}
  }
}

/** A number stays a number; anything else is for the API to judge. */
const amount = (text: string): number | string => (/^\d+$/.test(text.trim()) ? Number(text) : text.trim())

function options(draft: Draft): Submission['options'] {
  const form = draft.options
  const asked: Record<string, unknown> = {}
  if (form.concurrency !== null) asked['concurrency'] = form.concurrency
  if (form.maxFailures !== null) asked['max_failures'] = form.maxFailures
  if (form.dryRun) asked['dry_run'] = true
  if (form.notAfter) {
    const at = new Date(form.notAfter)
    asked['not_after'] = Number.isNaN(at.getTime()) ? form.notAfter : at.toISOString()
  }
  if (draft.action === 'drain') {
    if (form.maxUnavailable.trim()) asked['max_unavailable'] = amount(form.maxUnavailable)
    if (form.waves.trim()) asked['waves'] = { size: amount(form.waves) }
    if (form.uncordonOnFailure) asked['uncordon_on_failure'] = true
  }
  return asked as Submission['options']
}

export function submission(draft: Draft): Submission {
  return {
    action: draft.action,
    cluster: draft.cluster,
    nodes: { names: draft.names },
    params: params(draft) as Submission['params'],
    options: options(draft),
    reason: draft.reason.trim(),
  } as Submission
}

export type Slip = 'twice' | 'keyless'

/** What the request could not say, and the API therefore not refuse: by row, like `pairs.1`. */
export function slips(draft: Draft): Map<string, Slip> {
  const found = new Map<string, Slip>()
  const check = (rows: Pair[], kind: string, same: (row: Pair, other: Pair) => boolean) =>
    rows.forEach((row, i) => {
      if (!row.key.trim()) {
        if (row.value.trim()) found.set(`${kind}.${i}`, 'keyless')
      } else if (rows.slice(0, i).some((other) => same(row, other))) found.set(`${kind}.${i}`, 'twice')
    })
  if (draft.action === 'label' || draft.action === 'annotate') check(draft.pairs, 'pairs', (a, b) => a.key.trim() === b.key.trim())
  if (draft.action === 'taint') check(draft.taints, 'taints', () => false)
  return found
}

/** Whether the API can be asked: of a form with slips it would be told less than the form says. */
export function askable(draft: Draft): boolean {
  return complete(draft) && slips(draft).size === 0
}

/** What is dangerous about it, if anything is. */
export type Danger = 'drain' | 'evict' | 'force' | null

export function danger(draft: Draft): Danger {
  if (draft.options.dryRun) return null
  if (draft.action === 'drain') return 'drain'
  if (draft.action !== 'taint') return draft.allowProtected ? 'force' : null
  if (filledTaints(draft).some((row) => row.effect === 'NoExecute')) return 'evict'
  return draft.allowProtected ? 'force' : null
}

/** Pods that would go, nodes that they would go from, and whether the cluster could be asked. */
export interface Evictions {
  pods: number
  nodes: number
  known: boolean
}

export const UNKNOWN: Evictions = { pods: 0, nodes: 0, known: false }

export function evictions(preview: Preview): Evictions {
  // An API that has no such field says it in words only.
  const known = (preview as Partial<Preview>).pods_known ?? !preview.warnings.some((warning) => warning.startsWith('the pods could not be listed'))
  let [pods, nodes] = [0, 0]
  for (const node of preview.nodes) {
    // Of a node that is refused nothing goes.
    if (node.result === 'refused') continue
    const here = (node.pod_counts?.['evict'] ?? 0) + (node.pod_counts?.['blocked'] ?? 0)
    pods += here
    if (here > 0) nodes += 1
  }
  return { pods, nodes, known }
}

/** Which of these nodes the API does not know any more, if that is all that is wrong and some are left. */
export function vanished(names: readonly string[], faults: readonly { field: string }[]): string[] {
  const found = faults.map(({ field }) => names[Number(/^nodes\.names\[(\d+)\]$/.exec(field)?.[1] ?? -1)])
  return found.every((name) => name !== undefined) && found.length < names.length ? (found as string[]) : []
}

/** The field of the form that the API means: of labels it names the key, the form has rows. */
export function placeOf(draft: Draft, field: string): string {
  const key = /^params\.set\.(.+)$/.exec(field)
  if (key && (draft.action === 'label' || draft.action === 'annotate')) {
    const row = draft.pairs.findIndex((pair) => pair.key.trim() === key[1])
    return row < 0 ? field : `pairs.${row}`
  }
  const taint = /^params\.set\[(\d+)\]/.exec(field)
  if (taint) {
    const row = filledTaints(draft)[Number(taint[1])]
    return row ? `taints.${draft.taints.indexOf(row)}` : field
  }
  if (/^params\.remove\b/.test(field)) return 'remove'
  return field.replace(/^options\.waves\..*/, 'options.waves')
}
