/** In which order nodes are shown: by name, or by a column and then by name. In the URL as `sort`. */
import type { Node } from '@/api/types'
import { COLUMNS, type Column } from './columns'

export interface Order {
  by: 'name' | Column
  down: boolean
}

export const BY_NAME: Order = { by: 'name', down: false }

/** Columns that hold one thing, or few. */
export const SORTABLE: ReadonlySet<string> = new Set(['name', 'status', 'roles', 'taints', 'version', 'ip', 'age'])

const collator = new Intl.Collator('en', { numeric: true })

/** Trouble first. */
function trouble(node: Node): number {
  if (!node.status.includes('Ready')) return 0
  return node.unschedulable ? 1 : 2
}

const COMPARE: Partial<Record<Order['by'], (a: Node, b: Node) => number>> = {
  status: (a, b) => trouble(a) - trouble(b),
  roles: (a, b) => collator.compare(a.roles.join(), b.roles.join()),
  taints: (a, b) => b.taints.length - a.taints.length,
  version: (a, b) => collator.compare(a.version, b.version),
  ip: (a, b) => collator.compare(a.internal_ip ?? '', b.internal_ip ?? ''),
  // The youngest first, as ages rise.
  age: (a, b) => Date.parse(b.created_at ?? '') - Date.parse(a.created_at ?? '') || 0,
}

/** `nodes` are by name already. */
export function ordered(nodes: readonly Node[], { by, down }: Order): readonly Node[] {
  const compare = COMPARE[by]
  if (!compare) return down ? [...nodes].reverse() : nodes
  // Sorting is stable: what is equal stays by name, whichever way.
  return [...nodes].sort((a, b) => (down ? compare(b, a) : compare(a, b)))
}

export function orderFrom(text: unknown): Order {
  if (typeof text !== 'string') return BY_NAME
  const down = text.startsWith('-')
  const by = down ? text.slice(1) : text
  return SORTABLE.has(by) && (by === 'name' || (COLUMNS as readonly string[]).includes(by)) ? { by: by as Order['by'], down } : BY_NAME
}

export function orderText({ by, down }: Order): string | undefined {
  return by === 'name' && !down ? undefined : `${down ? '-' : ''}${by}`
}

/** What a click on a column's head leads to: up, down, and back to names. */
export function clicked(order: Order, by: Order['by']): Order {
  if (order.by !== by) return { by, down: false }
  if (!order.down) return { by, down: true }
  return BY_NAME
}
