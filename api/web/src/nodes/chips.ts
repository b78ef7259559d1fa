/** A node's labels and taints as chips, and how many a cell has room for, without cutting any but the first. */
import type { Node } from '@/api/types'
import { taintText } from './filter'

/** Of the monospace face at 12 px; a chip's padding and the gap after it; what "+12" takes. */
const [LETTER, AROUND, REST] = [7.3, 16, 32]

/** From the first on, whole ones; at least one. `room` in pixels; without it, three. */
export function fitting(texts: readonly string[], room: number | undefined): string[] {
  if (room === undefined) return texts.slice(0, 3)
  let left = room - REST
  let count = 0
  for (const text of texts) {
    left -= text.length * LETTER + AROUND
    if (left < 0 && count > 0) break
    count += 1
  }
  return texts.slice(0, count)
}

/** What every node has says little about this one. */
const ordinary = /^(beta\.)?kubernetes\.io\/|^node\.kubernetes\.io\/|^node-role\.kubernetes\.io\//
const kubernetes = /^([a-z0-9.-]+\.)?(kubernetes|k8s)\.io\//

export interface Chips {
  labels: string[]
  taints: string[]
  /** Everything, for a tooltip. */
  allLabels: string
  allTaints: string
  /** Labels in all. */
  count: number
}

/** Made once for each version of a node: rows are drawn again with every scroll and keystroke. */
const made = new WeakMap<Node, Chips>()

export function chipsOf(node: Node): Chips {
  const known = made.get(node)
  if (known) return known
  const all = Object.entries(node.labels)
  const labels = all
    .filter(([key]) => !ordinary.test(key))
    .map(([key, value]) => ({ key, value, theirs: Number(kubernetes.test(key)) }))
    .sort((a, b) => a.theirs - b.theirs)
    // Whose key it is, is in the tooltip.
    .map(({ key, value }) => [key.replace(kubernetes, ''), value].filter(Boolean).join('='))
  const taints = node.taints.map(taintText)
  const chips = { labels, taints, allLabels: all.map(([key, value]) => `${key}=${value}`).join('\n'), allTaints: taints.join('\n'), count: all.length }
  made.set(node, chips)
  return chips
}
