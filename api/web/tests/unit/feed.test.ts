import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPinia, setActivePinia } from 'pinia'
import type { Node } from '@/api/types'
import { NodeFeed, type Source } from '@/nodes/feed'
import { useNodes } from '@/nodes/store'

const node = (name: string, version = '1') => ({ name, resource_version: version }) as Node

class Stream {
  static readonly CLOSED = 2
  static made: Stream[] = []
  readyState = 1
  onerror: (() => void) | null = null
  private readonly handlers = new Map<string, (event: { data: string }) => void>()
  constructor() { Stream.made.push(this) }
  addEventListener(name: string, handler: (event: { data: string }) => void) { this.handlers.set(name, handler) }
  close() { this.readyState = Stream.CLOSED }
  says(name: string, data?: object) { this.handlers.get(name)!({ data: data ? JSON.stringify(data) : '' }) }
  fails(closed: boolean) { this.readyState = closed ? Stream.CLOSED : 0; this.onerror!() }
}

describe('the nodes of a cluster', () => {
  let shown: string[]
  let sources: Source['kind'][]
  let problems: (string | null)[]
  let reads: number
  let answer: () => Response
  let feed: NodeFeed
  const page = (...nodes: Node[]) => new Response(JSON.stringify({ nodes, matched: nodes.length, total: nodes.length }), { headers: { 'content-type': 'application/json' } })
  const stream = () => Stream.made[Stream.made.length - 1]!

  beforeEach(() => {
    vi.useFakeTimers()
    Stream.made = []
    shown = []
    sources = []
    problems = []
    reads = 0
    answer = () => page(node('read'))
    vi.stubGlobal('EventSource', Stream)
    vi.stubGlobal('fetch', async () => { reads += 1; return answer() })
    feed = new NodeFeed('east', {
      nodes: (nodes) => (shown = [...nodes.values()].map((n) => `${n.name}@${n.resource_version}`)),
      source: (source) => sources.push(source.kind),
      problem: (problem) => problems.push(problem?.message ?? null),
    })
    feed.start()
  })
  afterEach(() => {
    feed.stop()
    vi.unstubAllGlobals()
    vi.useRealTimers()
  })

  it('come whole, then change by change, and are not read besides', async () => {
    stream().says('snapshot', { first: true, last: false, nodes: [node('a'), node('b')] })
    expect(shown).toEqual([])
    stream().says('snapshot', { first: false, last: true, nodes: [node('c')] })
    expect(shown).toEqual(['a@1', 'b@1', 'c@1'])
    stream().says('upsert', node('b', '2'))
    stream().says('delete', { name: 'a' })
    stream().says('upsert', node('d'))
    await vi.advanceTimersByTimeAsync(60_000)
    expect(shown).toEqual(['b@2', 'c@1', 'd@1'])
    expect([reads, sources]).toEqual([0, ['starting', 'stream']])
  })

  it('are those of the new snapshot once it is whole, with what changed on its way', async () => {
    stream().says('snapshot', { first: true, last: true, nodes: [node('a'), node('old')] })
    stream().says('snapshot', { first: true, last: false, nodes: [node('a', '5')] })
    stream().says('upsert', node('new'))
    await vi.advanceTimersByTimeAsync(1000)
    expect(shown).toEqual(['a@1', 'old@1', 'new@1'])
    stream().says('snapshot', { first: false, last: true, nodes: [] })
    expect(shown).toEqual(['a@5', 'new@1'])
  })

  it('are read while no stream comes, and no longer when one does', async () => {
    await vi.advanceTimersByTimeAsync(1600)
    expect([reads, shown, sources]).toEqual([1, ['read@1'], ['starting', 'reading']])
    stream().fails(true)
    await vi.advanceTimersByTimeAsync(10_100)
    expect(Stream.made).toHaveLength(2)
    const before = reads
    stream().says('snapshot', { first: true, last: true, nodes: [node('a')] })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([reads, shown, sources[sources.length - 1]]).toEqual([before, ['a@1'], 'stream'])
  })

  it('stay on the screen when neither works, with the reason', async () => {
    stream().says('snapshot', { first: true, last: true, nodes: [node('a')] })
    answer = () => new Response(JSON.stringify({ detail: 'the cluster does not answer', status: 503 }), { status: 503, headers: { 'content-type': 'application/problem+json' } })
    stream().fails(false)
    await vi.advanceTimersByTimeAsync(100)
    expect([shown, problems[problems.length - 1]]).toEqual([['a@1'], 'the cluster does not answer'])
  })

  it('are asked for anew when a stream that pings falls silent without an end', async () => {
    stream().says('snapshot', { first: true, last: true, nodes: [node('a')] })
    await vi.advanceTimersByTimeAsync(120_000)
    // An API that does not ping may have nothing to say for long.
    expect([Stream.made.length, reads]).toEqual([1, 0])
    for (let i = 0; i < 6; i++) {
      stream().says('ping')
      await vi.advanceTimersByTimeAsync(20_000)
    }
    expect(Stream.made).toHaveLength(1)
    const [dead] = Stream.made
    await vi.advanceTimersByTimeAsync(31_000)
    expect([Stream.made.length, dead!.readyState, sources[sources.length - 1]]).toEqual([2, Stream.CLOSED, 'reading'])
    dead!.says('upsert', node('ghost'))
    stream().says('snapshot', { first: true, last: true, nodes: [node('b')] })
    await vi.advanceTimersByTimeAsync(1000)
    expect([shown, sources[sources.length - 1]]).toEqual([['b@1'], 'stream'])
  })

  it('stay as they are while nobody looks, and are current again afterwards', async () => {
    stream().says('snapshot', { first: true, last: true, nodes: [node('a')] })
    feed.stop()
    await vi.advanceTimersByTimeAsync(60_000)
    expect([Stream.made.length, stream().readyState, reads, shown]).toEqual([1, Stream.CLOSED, 0, ['a@1']])
    feed.start()
    expect(sources[sources.length - 1]).toBe('starting')
    stream().says('snapshot', { first: true, last: true, nodes: [node('a', '2')] })
    expect([Stream.made.length, shown, sources[sources.length - 1]]).toEqual([2, ['a@2'], 'stream'])
  })

  it('come no more after the end', async () => {
    feed.stop()
    stream().says('snapshot', { first: true, last: true, nodes: [node('a')] })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([reads, shown]).toEqual([0, []])
  })
})

describe('a window that nobody looks at', () => {
  let page: { hidden: boolean; addEventListener: (name: string, handler: () => void) => void; changes: () => void }
  const open = () => Stream.made.filter((stream) => stream.readyState !== Stream.CLOSED).length

  beforeEach(() => {
    vi.useFakeTimers()
    Stream.made = []
    page = { hidden: false, addEventListener: (_, handler) => (page.changes = handler), changes: () => undefined }
    vi.stubGlobal('document', page)
    vi.stubGlobal('EventSource', Stream)
    vi.stubGlobal('fetch', async () => new Response('{"nodes":[]}', { headers: { 'content-type': 'application/json' } }))
    setActivePinia(createPinia())
  })
  afterEach(() => {
    useNodes().watch(null)
    vi.unstubAllGlobals()
    vi.useRealTimers()
  })

  it('holds no connection, but not for every glance elsewhere', async () => {
    const nodes = useNodes()
    nodes.watch('east')
    expect(open()).toBe(0)
    nodes.attend(true)
    expect(open()).toBe(1)
    page.hidden = true
    page.changes()
    await vi.advanceTimersByTimeAsync(9000)
    page.hidden = false
    page.changes()
    await vi.advanceTimersByTimeAsync(60_000)
    expect([open(), Stream.made.length]).toEqual([1, 1])
    nodes.attend(false)
    await vi.advanceTimersByTimeAsync(11_000)
    expect(open()).toBe(0)
    nodes.attend(true)
    expect(open()).toBe(1)
    page.hidden = true
    page.changes()
    await vi.advanceTimersByTimeAsync(11_000)
    nodes.watch('west')
    expect(open()).toBe(0)
    page.hidden = false
    page.changes()
    expect(open()).toBe(1)
  })
})
