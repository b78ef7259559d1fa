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

/** Trouble first. */
function trouble(node: Node): number {
  if (!node.status.includes('Ready')) return 0
  return node.unschedulable ? 1 : 2
}

type Key = number | string

/** Numbers in it as numbers: v1.9 before v1.36. */
const natural = (text: string) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(10, '0'))

const KEYS: Partial<Record<Order['by'], (node: Node) => Key>> = {
  status: trouble,
  roles: (node) => natural(node.roles.join()),
  taints: (node) => -node.taints.length,
  version: (node) => natural(node.version),
  ip: (node) => natural(node.internal_ip ?? ''),
  // The youngest first, as ages rise.
  age: (node) => -Date.parse(node.created_at ?? '') || 0,
}

/** Made once for each version of a node, not for each of the comparisons. */
const made = new Map<string, WeakMap<Node, Key>>()
function keyed(by: string, make: (node: Node) => Key): (node: Node) => Key {
  const known = made.get(by) ?? new WeakMap<Node, Key>()
  made.set(by, known)
  return (node) => {
    let key = known.get(node)
    if (key === undefined) known.set(node, (key = make(node)))
    return key
  }
}

/** `nodes` are by name already. */
export function ordered(nodes: readonly Node[], { by, down }: Order): readonly Node[] {
  const make = KEYS[by]
  if (!make) return down ? [...nodes].reverse() : nodes
  const key = keyed(by, make)
  const [before, after] = down ? [1, -1] : [-1, 1]
  const rows = nodes.map((node) => ({ node, key: key(node) }))
  // Sorting is stable: what is equal stays by name, whichever way.
  rows.sort((a, b) => (a.key < b.key ? before : a.key > b.key ? after : 0))
  return rows.map((row) => row.node)
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
