/** Which nodes are shown. Everything here is in the URL. */
import type { Node } from '@/api/types'
import { parseSelector, SelectorFault, type Test } from './selector'

export interface Filter {
  q: string
  selector: string
  ready: boolean
  notReady: boolean
  schedulable: boolean
  cordoned: boolean
  tainted: boolean
  role: string
  taint: string
}

export const EMPTY: Filter = {
  q: '', selector: '', ready: false, notReady: false, schedulable: false, cordoned: false, tainted: false, role: '', taint: '',
}

export type Flag = 'ready' | 'notReady' | 'schedulable' | 'cordoned' | 'tainted'

export const FLAGS: Record<Flag, (node: Node) => boolean> = {
  ready: (node) => node.status.includes('Ready'),
  notReady: (node) => !node.status.includes('Ready'),
  schedulable: (node) => !node.unschedulable,
  cordoned: (node) => node.unschedulable,
  tainted: (node) => node.taints.length > 0,
}

/** What a search looks through; computed once for each version of a node. */
const texts = new WeakMap<Node, string>()
function textOf(node: Node): string {
  let text = texts.get(node)
  if (text === undefined) {
    const labels = Object.entries(node.labels).map(([k, v]) => `${k}=${v}`)
    text = [node.name, node.internal_ip ?? '', ...labels].join('\n').toLowerCase()
    texts.set(node, text)
  }
  return text
}

export function taintText(taint: { key: string; value?: string; effect: string }): string {
  return `${taint.key}${taint.value ? `=${taint.value}` : ''}:${taint.effect}`
}

/** The nodes that are let through, and what is wrong with the selector if it is not one. */
export function select(nodes: readonly Node[], filter: Filter): { nodes: Node[]; fault: string | null } {
  let labels: Test = () => true
  let fault: string | null = null
  try {
    labels = parseSelector(filter.selector)
  } catch (error) {
    if (!(error instanceof SelectorFault)) throw error
    fault = error.message
  }
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean)
  const flags = (Object.keys(FLAGS) as Flag[]).filter((flag) => filter[flag]).map((flag) => FLAGS[flag])
  const { role, taint } = filter
  return {
    fault,
    nodes: nodes.filter(
      (node) =>
        flags.every((flag) => flag(node)) &&
        (!role || node.roles.includes(role)) &&
        (!taint || node.taints.some((t) => t.key === taint)) &&
        labels(node.labels) &&
        words.every((word) => textOf(node).includes(word)),
    ),
  }
}

type Query = Record<string, string | undefined>

export function toQuery(filter: Filter): Query {
  const query: Query = {}
  for (const [name, value] of Object.entries(filter)) {
    query[name] = value === true ? '1' : value || undefined
  }
  return query
}

export function fromQuery(query: Record<string, unknown>): Filter {
  const filter: Record<string, unknown> = {}
  for (const [name, empty] of Object.entries(EMPTY)) {
    const value = query[name]
    filter[name] = typeof empty === 'boolean' ? value === '1' : typeof value === 'string' ? value : empty
  }
  return filter as unknown as Filter
}
