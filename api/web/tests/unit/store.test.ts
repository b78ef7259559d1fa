/**
 * The store with its connection and its reader, against a relay and an API that are made of one model: sockets
 * are cut, frames lost, histories changed, the relay away for long; what is shown ends as the rows do.
 */
import fc from 'fast-check'
import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClientFrame, ItemStatus, ServerFrame } from '@/progress/frames'
import { useProgress } from '@/progress/store'
import { useSession } from '@/session'
import { Model } from './model'

class Network {
  relayUp = true
  apiUp = true
  /** What the API answers for one path instead, by its beginning. */
  refusals = new Map<string, number>()
  sockets: Socket[] = []
  heard: ClientFrame[] = []
  sent = 0
  constructor(readonly model: Model) {}

  get socket() { return this.sockets.find((socket) => socket.open) }

  /** What has changed since the last delivery; lost: the browser never sees it. */
  deliver(lost: boolean): void {
    const frame = this.model.step(Math.min(this.sent, this.model.seq))
    this.sent = this.model.seq
    if (!lost && frame.seq > frame.prev) this.socket?.says(frame)
  }

  answer(url: string): Response {
    const { pathname, searchParams } = new URL(url, 'http://knm.test')
    const json = (body: object) => new Response(JSON.stringify(body), { status: 200, headers: { 'content-type': 'application/json' } })
    const refused = this.refusals.get(pathname)
    if (refused) return new Response(JSON.stringify({ detail: `refused with ${refused}`, status: refused }), { status: refused, headers: { 'content-type': 'application/problem+json' } })
    if (pathname === '/api/v1/tasks') return json({ tasks: [this.model.head()] })
    if (pathname === '/api/v1/tasks/t') return json(this.model.head())
    const after = Number(searchParams.get('after_seq') ?? -1)
    const { items, seq } = this.model.reading(after)
    return json({ items, seq })
  }
}

let network: Network

class Socket {
  onmessage: ((event: { data: string }) => void) | null = null
  onclose: ((event: { code: number }) => void) | null = null
  open = false
  constructor() {
    network.sockets.push(this)
    setTimeout(() => {
      if (!network.relayUp) return this.end(1006)
      this.open = true
      this.says({ type: 'hello', version: 1, pod: 'pod-a', release: '0', epoch: network.model.epoch, mode: 'live', ping_interval_ms: 20_000 })
    }, 5)
  }
  says(frame: ServerFrame) { this.onmessage?.({ data: JSON.stringify(frame) }) }
  send(text: string) {
    const frame = JSON.parse(text) as ClientFrame
    network.heard.push(frame)
    if (frame.type !== 'subscribe') return
    const { model } = network
    const [epoch, seq] = [frame.cursor?.split(':')[0], Number(frame.cursor?.split(':')[1])]
    network.sent = model.seq
    if (epoch === model.epoch && seq <= model.seq) this.says(model.step(seq))
    else for (const page of model.snapshot()) this.says(page)
  }
  end(code: number) { this.open = false; this.onclose?.({ code }) }
  close() { this.open = false }
}

const shown = () => {
  const { mirror } = useProgress().follow('t')
  useProgress().unfollow('t')
  return { items: mirror.items, head: mirror.head, seq: mirror.seq }
}
const rows = () => network.model.items.map(({ seq: _, ...item }) => item)

describe('what is shown of a task', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    setActivePinia(createPinia())
    vi.stubGlobal('location', { origin: 'http://knm.test', assign: () => undefined })
    vi.stubGlobal('WebSocket', Socket)
    vi.stubGlobal('fetch', (url: string) => (network.apiUp ? Promise.resolve(network.answer(url)) : Promise.reject(new TypeError('away'))))
  })
  afterEach(() => {
    useProgress().stop()
    vi.unstubAllGlobals()
    vi.useRealTimers()
  })

  async function begin(size: number): Promise<void> {
    network = new Network(new Model(size))
    setActivePinia(createPinia())
    useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
    useProgress().start()
    useProgress().follow('t')
    await vi.advanceTimersByTimeAsync(200)
  }

  it('ends as the rows do, whatever became of the network', async () => {
    const status = fc.constantFrom<ItemStatus>('running', 'succeeded', 'failed', 'skipped')
    const event = fc.oneof(
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('change' as const), ordinal: fc.nat(12), status }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('deliver' as const), lost: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('cut' as const, 'relay' as const, 'api' as const, 'time' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('failover' as const) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 8 }), fc.array(event, { maxLength: 40 }), async (size, events) => {
        await begin(size)
        for (const now of events) {
          if (now.kind === 'change') network.model.change(now.ordinal, now.status, null)
          if (now.kind === 'deliver') network.deliver(now.lost)
          if (now.kind === 'cut') network.socket?.end(1006)
          if (now.kind === 'api') network.apiUp = !network.apiUp
          if (now.kind === 'time') await vi.advanceTimersByTimeAsync(4000)
          if (now.kind === 'relay') {
            network.relayUp = !network.relayUp
            if (!network.relayUp) network.socket?.end(1012)
          }
          if (now.kind === 'failover') {
            network.model.failover()
            network.sent = 0
            network.socket?.says({ type: 'resync', epoch: network.model.epoch, reason: 'epoch' })
            if (network.socket) for (const page of network.model.snapshot()) network.socket.says(page)
          }
          await vi.advanceTimersByTimeAsync(10)
        }
        network.relayUp = network.apiUp = true
        network.model.end()
        await vi.advanceTimersByTimeAsync(20_000)
        network.deliver(false)
        await vi.advanceTimersByTimeAsync(200)
        expect(useProgress().link.kind).toBe('open')
        expect(shown()).toMatchObject({ items: rows(), seq: network.model.seq, head: network.model.progress() })
        useProgress().stop()
      }),
      { numRuns: 150 },
    )
  })

  it('is asked for again from where it stands after a gap, and whole after a loss', async () => {
    await begin(4)
    const subscriptions = () => network.heard.filter((frame) => frame.type === 'subscribe').map((frame) => frame.cursor)
    expect(subscriptions()).toEqual([undefined])
    network.model.change(0, 'succeeded', null)
    network.deliver(true)
    network.model.change(1, 'succeeded', null)
    network.deliver(false)
    expect(subscriptions()).toEqual([undefined, 'e1:1'])
    expect(shown().items).toEqual(rows())
    network.socket!.says({ ...network.model.step(2), epoch: 'another' })
    expect(subscriptions()).toEqual([undefined, 'e1:1', undefined])
  })

  it('says why a task cannot be followed, and asks again when the relay was at fault', async () => {
    await begin(2)
    network.socket!.says({ type: 'error', code: 'internal', message: 'try again', task_id: 't' })
    expect(network.heard.filter((frame) => frame.type === 'subscribe')).toHaveLength(2)
    const entry = useProgress().follow('t')
    expect(entry.error.value).toBeNull()
    network.socket!.says({ type: 'error', code: 'unknown_task', message: 'there is no such task', task_id: 't' })
    expect(entry.error.value).toBe('there is no such task')
  })

  it('is not gone because of a hiccup, and is whole once it can be had', async () => {
    network = new Network(new Model(2))
    network.relayUp = false
    network.refusals.set('/api/v1/tasks/t/items', 503)
    setActivePinia(createPinia())
    useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
    useProgress().start()
    const entry = useProgress().follow('t')
    await vi.advanceTimersByTimeAsync(200)
    expect([entry.error.value, entry.mirror.head]).toEqual([null, null])
    network.refusals.set('/api/v1/tasks/t/items', 404)
    await vi.advanceTimersByTimeAsync(5000)
    expect(entry.error.value).toBe('refused with 404')
    network.refusals.clear()
    network.relayUp = true
    await vi.advanceTimersByTimeAsync(20_000)
    expect(entry.error.value).toBeNull()
    expect(entry.mirror.items).toEqual(rows())
  })

  it('is read although another one cannot be', async () => {
    network = new Network(new Model(2))
    network.relayUp = false
    network.refusals.set('/api/v1/tasks/gone/items', 404)
    setActivePinia(createPinia())
    useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
    useProgress().start()
    const gone = useProgress().follow('gone')
    const entry = useProgress().follow('t')
    await vi.advanceTimersByTimeAsync(2000)
    network.model.end()
    await vi.advanceTimersByTimeAsync(4000)
    expect([gone.error.value, entry.mirror.ended]).toEqual(['refused with 404', true])
  })

  it('is in the tray only when it is one\'s own, and has its name either way', async () => {
    await begin(2)
    useSession().user = { id: 'another', username: 'ada', role: 'admin' } as never
    network.model.change(0, 'succeeded', null)
    network.deliver(false)
    await vi.advanceTimersByTimeAsync(200)
    network.socket!.says({ type: 'tasks', full: true, tasks: [] })
    expect([useProgress().sorted, useProgress().head('t')?.total]).toEqual([[], 2])
    useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
    network.model.change(1, 'succeeded', null)
    network.deliver(false)
    await vi.advanceTimersByTimeAsync(200)
    expect(useProgress().sorted.map((task) => task.current)).toEqual([2])
  })

  it('is asked for once, however many frames do not fit', async () => {
    await begin(4)
    const { socket } = network
    const before = network.heard.length
    // The relay takes its time with the answer.
    const send = vi.spyOn(socket!, 'send').mockImplementation((text) => void network.heard.push(JSON.parse(text) as ClientFrame))
    for (let i = 0; i < 300; i++) socket!.says({ ...network.model.step(1), epoch: 'another', seq: 2 + i, prev: 1 + i })
    expect(network.heard.length - before).toBe(1)
    send.mockRestore()
    await vi.advanceTimersByTimeAsync(6000)
    socket!.says({ ...network.model.step(1), epoch: 'another', seq: 400, prev: 399 })
    expect(shown().items).toEqual(rows())
  })

  it('does not believe a relay that says the session is over when the API does not', async () => {
    await begin(2)
    network.socket!.end(4401)
    expect(useProgress().link.kind).toBe('signed_out')
    await vi.advanceTimersByTimeAsync(6000)
    expect(useProgress().link.kind).toBe('open')
  })
})
