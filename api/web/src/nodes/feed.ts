/**
 * The nodes of one cluster, kept current: by the event stream where the API has one, else read again and
 * again. Lists are built aside and shown whole. It may be stopped and started: the picture stays meanwhile.
 */
import { address, api } from '@/api/client'
import { asApiError, type ApiError } from '@/api/problem'
import type { Node, NodePage } from '@/api/types'

export type Source = { kind: 'starting' } | { kind: 'stream' } | { kind: 'reading'; seconds: number }

export interface Sink {
  nodes(nodes: Map<string, Node>): void
  source(source: Source): void
  problem(problem: ApiError | null): void
}

interface Snapshot {
  first: boolean
  last: boolean
  nodes: Node[]
}

const READ_EVERY = 10
const STREAM_AGAIN = 10_000
const STREAM_FIRST = 1500
const SHOW_EVERY = 150
/** An API that pings does so every 20 s; one that has and no longer does is gone, whatever the browser says. */
const SILENCE = 50_000

export class NodeFeed {
  private nodes = new Map<string, Node>()
  private building: Map<string, Node> | null = null
  private stream: EventSource | null = null
  private showing: ReturnType<typeof setTimeout> | undefined
  private reading: ReturnType<typeof setTimeout> | undefined
  private again: ReturnType<typeof setTimeout> | undefined
  private silence: ReturnType<typeof setTimeout> | undefined
  private pings = false
  private stopped = false
  /** Answers to what an earlier start has asked for are of no account. */
  private run = 0

  constructor(
    private readonly cluster: string,
    private readonly sink: Sink,
  ) {}

  start(): void {
    this.stopped = false
    this.run += 1
    this.sink.source({ kind: 'starting' })
    this.openStream()
    // A stream that answers makes reading needless.
    this.reading = setTimeout(() => void this.read(), STREAM_FIRST)
  }

  stop(): void {
    this.stopped = true
    this.stream?.close()
    this.stream = this.building = null
    for (const timer of [this.showing, this.reading, this.again, this.silence]) clearTimeout(timer)
    this.showing = undefined
  }

  private openStream(): void {
    if (this.stopped) return
    const stream = new EventSource(address('/api/v1/clusters/{cluster}/nodes/events', { path: { cluster: this.cluster } }))
    this.stream = stream
    const on = <T>(name: string, handle: (data: T) => void) =>
      stream.addEventListener(name, (event) => {
        if (stream !== this.stream) return
        this.heard()
        handle(JSON.parse((event as MessageEvent<string>).data) as T)
      })
    stream.addEventListener('ping', () => {
      this.pings = true
      this.heard()
    })
    on<Snapshot>('snapshot', (part) => this.snapshot(part))
    on<Node>('upsert', (node) => this.change((nodes) => nodes.set(node.name, node)))
    on<{ name: string }>('delete', ({ name }) => this.change((nodes) => nodes.delete(name)))
    stream.onerror = () => {
      if (stream !== this.stream) return
      clearTimeout(this.silence)
      // While it is CONNECTING the browser tries again by itself.
      if (stream.readyState === EventSource.CLOSED) {
        this.again = setTimeout(() => this.openStream(), STREAM_AGAIN)
        this.stream = null
        void this.read()
      } else if (this.reading === undefined) void this.read()
    }
  }

  private heard(): void {
    clearTimeout(this.silence)
    if (!this.pings || this.stopped) return
    this.silence = setTimeout(() => {
      this.stream?.close()
      this.openStream()
      void this.read()
    }, SILENCE)
  }

  private snapshot(part: Snapshot): void {
    if (part.first) this.building = new Map()
    if (!this.building) return
    for (const node of part.nodes) this.building.set(node.name, node)
    if (!part.last) return
    this.nodes = this.building
    this.building = null
    clearTimeout(this.reading)
    this.reading = undefined
    this.sink.source({ kind: 'stream' })
    this.sink.problem(null)
    this.show()
  }

  private change(apply: (nodes: Map<string, Node>) => void): void {
    if (this.building) apply(this.building)
    apply(this.nodes)
    this.showing ??= setTimeout(() => this.show(), SHOW_EVERY)
  }

  private show(): void {
    clearTimeout(this.showing)
    this.showing = undefined
    if (!this.stopped) this.sink.nodes(new Map(this.nodes))
  }

  private async read(): Promise<void> {
    clearTimeout(this.reading)
    this.reading = setTimeout(() => void this.read(), READ_EVERY * 1000)
    const { run } = this
    const late = () => this.stopped || run !== this.run || this.reading === undefined
    try {
      const read = new Map<string, Node>()
      let next: string | null = null
      do {
        const page: NodePage = await api.get('/api/v1/clusters/{cluster}/nodes', {
          path: { cluster: this.cluster },
          query: { limit: 2000, continue: next },
        })
        for (const node of page.nodes) read.set(node.name, node)
        next = page.continue ?? null
      } while (next !== null)
      // The stream was faster: it is the newer one.
      if (late()) return
      this.nodes = read
      this.sink.source({ kind: 'reading', seconds: READ_EVERY })
      this.sink.problem(null)
      this.show()
    } catch (error) {
      if (!late()) this.sink.problem(asApiError(error))
    }
  }
}
