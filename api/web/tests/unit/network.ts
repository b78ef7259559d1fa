/** The network of one window, for the store with its connection and its reader. */
import { createPinia, setActivePinia } from 'pinia'
import { vi } from 'vitest'
import type { ClientFrame, ServerFrame } from '@/progress/frames'
import { useProgress } from '@/progress/store'
import { useSession } from '@/session'
import { Model, TASK } from './model'

/** What the browser reaches: a relay and an API, each of which may be away. */
export class Network {
  relayUp = true
  apiUp = true
  /** Whose session the browser has. */
  user = 'u'
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
    if (pathname === '/api/v1/auth/me') return json({ id: this.user })
    if (pathname === '/api/v1/tasks') return json({ tasks: [this.model.head()] })
    if (pathname === `/api/v1/tasks/${TASK}`) return json(this.model.head())
    const after = Number(searchParams.get('after_seq') ?? -1)
    const { items, seq } = this.model.reading(after)
    return json({ items, seq })
  }
}

/** The one that there is at the moment. */
export let network: Network
export let reloads = 0

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

/** Puts it in the place of the browser's own. */
export function stub(): void {
  reloads = 0
  vi.useFakeTimers()
  vi.stubGlobal('location', { origin: 'http://knm.test', reload: () => { reloads += 1 } })
  vi.stubGlobal('WebSocket', Socket)
  vi.stubGlobal('fetch', (url: string) => (network.apiUp ? Promise.resolve(network.answer(url)) : Promise.reject(new TypeError('away'))))
}

export function unstub(): void {
  useProgress().stop()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
  vi.useRealTimers()
}

/** A window of somebody who is signed in, with a task of so many nodes. */
export function window(size: number, change: Partial<Network> = {}): void {
  network = Object.assign(new Network(new Model(size)), change)
  setActivePinia(createPinia())
  useSession().user = { id: 'u', username: 'mia', role: 'admin' } as never
  useProgress().start()
}

export const rows = () => network.model.items.map(({ seq: _, ...item }) => item)
