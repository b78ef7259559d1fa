/** The nodes of the cluster that is looked at, and which of them are selected. */
import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import type { ApiError } from '@/api/problem'
import type { Node } from '@/api/types'
import { NodeFeed, type Source } from './feed'

/** Browsers allow six connections to one server: a window that nobody looks at gives its own back after this long. */
const REST_AFTER = 10_000

export const useNodes = defineStore('nodes', () => {
  const byName = shallowRef<ReadonlyMap<string, Node>>(new Map())
  const source = shallowRef<Source>({ kind: 'starting' })
  const problem = shallowRef<ApiError | null>(null)
  const selected = shallowRef<ReadonlySet<string>>(new Set())
  const cluster = shallowRef<string | null>(null)
  let feed: NodeFeed | null = null
  let shown = false
  let running = false
  let rest: ReturnType<typeof setTimeout> | undefined

  const list = computed(() => [...byName.value.values()].sort((a, b) => (a.name < b.name ? -1 : 1)))
  const chosen = computed(() => list.value.filter((node) => selected.value.has(node.name)))

  function watch(name: string | null): void {
    if (name === cluster.value) return
    feed?.stop()
    feed = null
    running = false
    cluster.value = name
    byName.value = new Map()
    selected.value = new Set()
    source.value = { kind: 'starting' }
    problem.value = null
    if (name === null) return
    feed = new NodeFeed(name, {
      nodes: (nodes) => {
        byName.value = nodes
        // A node that is gone cannot be worked on.
        if ([...selected.value].some((name) => !nodes.has(name))) selected.value = new Set([...selected.value].filter((name) => nodes.has(name)))
      },
      source: (now) => (source.value = now),
      problem: (now) => (problem.value = now),
    })
    run()
  }

  /** Whether the nodes are on the page; where they are not, and in hidden windows, nothing is kept current. */
  function attend(now: boolean): void {
    shown = now
    run()
  }

  function run(): void {
    clearTimeout(rest)
    if (!feed) return
    if (shown && !document.hidden) {
      if (!running) feed.start()
      running = true
    } else if (running) {
      rest = setTimeout(() => {
        running = false
        feed?.stop()
      }, REST_AFTER)
    }
  }
  document.addEventListener('visibilitychange', run)

  /** Begins anew, after somebody has signed in again. */
  function restart(): void {
    if (running) feed?.stop()
    running = false
    run()
  }

  function put(names: Iterable<string>, on: boolean): void {
    const next = new Set(selected.value)
    for (const name of names) {
      if (on) next.add(name)
      else next.delete(name)
    }
    selected.value = next
  }

  const clear = () => (selected.value = new Set())

  /** Keys and values that exist, for completion: of labels, annotations, taints. */
  const labelKeys = computed(() => keysOf(list.value, 'labels'))
  const annotationKeys = computed(() => keysOf(list.value, 'annotations'))
  const taintKeys = computed(() => [...new Set(list.value.flatMap((n) => n.taints.map((t) => t.key)))].sort())
  const roles = computed(() => [...new Set(list.value.flatMap((n) => n.roles))].sort())

  function values(of: 'labels' | 'annotations', key: string): string[] {
    const found = new Set<string>()
    for (const node of list.value) {
      const value = node[of][key]
      if (value !== undefined) found.add(value)
      if (found.size >= 200) break
    }
    return [...found].sort()
  }

  return {
    byName, list, source, problem, selected, chosen, cluster, watch, attend, restart, put, clear,
    labelKeys, annotationKeys, taintKeys, roles, values,
  }
})

function keysOf(nodes: readonly Node[], of: 'labels' | 'annotations'): string[] {
  const keys = new Set<string>()
  for (const node of nodes) for (const key of Object.keys(node[of])) keys.add(key)
  return [...keys].sort()
}
