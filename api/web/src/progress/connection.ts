/**
 * The way to the relay: one WebSocket for everything that this window follows.
 *
 *   Connecting ──hello──▶ Open ──closed──▶ Waiting ──pause──▶ Connecting
 *                                            │ longer than GRACE: reads over HTTP until Open again
 *
 * Closed by 4401 it waits for somebody to sign in. The codes that mean a fault of ours are not tried again, but for
 * 1008: that is said of too many messages, too, and then it passes.
 *
 * A socket may be dead without being closed (a dropped VPN, a suspended port-forward), and scripts do not see
 * the relay's pings. So whenever it has been quiet for as long as these are apart, the list of tasks is asked for
 * once more, which the relay has in memory; no answer is a lost connection.
 */
import type { ClientFrame, Mode, ServerFrame } from './frames'

export interface SocketLike {
  readonly readyState: number
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: ((event: { code: number }) => void) | null
  send(text: string): void
  close(): void
}

export type Link =
  | { kind: 'connecting' }
  | { kind: 'open'; mode: Mode; since: number; reason: string | null; intervalMs: number | null; pod: string }
  | { kind: 'reading'; since: number; intervalMs: number }
  | { kind: 'offline'; since: number }
  | { kind: 'signed_out' }

export interface Ports {
  open(): SocketLike
  /** Reads everything that is followed over HTTP; false: not all of it could be read. */
  poll(): Promise<boolean>
  frame(frame: ServerFrame): void
  link(link: Link): void
  /** What to ask for on a new connection. */
  greet(): ClientFrame[]
  /** The relay says that nobody is signed in. */
  refused?(): void
  /** How long an answer took, in milliseconds. */
  round?(milliseconds: number): void
}

export const GRACE = 1500
export const POLL = 3000
/** `WebSocket.OPEN`: what is beyond it is on its way out. */
const OPEN = 1
const MAX_PAUSE = 15_000
/** Faults of this client: trying again would only repeat them. */
const HOPELESS = new Set([1002, 1003, 1007, 1009])
/** Wrong messages, or too many: not soon again, or they are the same ones. */
const AMISS = 1008
export const AMISS_PAUSE = 60_000
/** How long an answer may take, `hello` to connecting as well; how soon after the first list the way there and back is timed. */
export const ANSWER = 10_000
const FIRST_PROBE = 1000
/** A relay that says hello and goes is no reason to hurry. */
const STEADY = 10_000

export class Connection {
  private socket: SocketLike | null = null
  private open = false
  private failures = 0
  private announcedPause: number | null = null
  private retry: ReturnType<typeof setTimeout> | undefined
  private poller: ReturnType<typeof setTimeout> | undefined
  private quiet: ReturnType<typeof setTimeout> | undefined
  private answer: ReturnType<typeof setTimeout> | undefined
  private early: ReturnType<typeof setTimeout> | undefined
  private steady: ReturnType<typeof setTimeout> | undefined
  private pingEvery = 0
  /** The relay has given the list on this connection, and can do so again without its database. */
  private listed = false
  private probedAt = 0
  private lostAt = 0
  private stopped = true
  private link: Link = { kind: 'connecting' }

  constructor(
    private readonly ports: Ports,
    private readonly random: () => number = Math.random,
  ) {}

  start(): void {
    if (!this.stopped) return
    this.stopped = false
    this.failures = 0
    this.lostAt = Date.now()
    this.show({ kind: 'connecting' })
    this.pollAfter(GRACE)
    this.connect()
  }

  /** Until somebody is signed in again. */
  stop(): void {
    this.stopped = true
    clearTimeout(this.retry)
    clearTimeout(this.poller)
    this.drop()
    this.show({ kind: 'signed_out' })
  }

  private drop(): void {
    for (const timer of [this.quiet, this.answer, this.early, this.steady]) clearTimeout(timer)
    this.answer = undefined
    const socket = this.socket
    this.socket = null
    this.open = false
    this.listed = false
    this.probedAt = 0
    if (!socket) return
    socket.onclose = null
    socket.onmessage = null
    socket.close()
  }

  /** True when it went out; on a new connection everything is asked for anyway. */
  send(frame: ClientFrame): boolean {
    // One that is closing says so only later.
    if (!this.open || !this.socket || this.socket.readyState > OPEN) return false
    this.socket.send(JSON.stringify(frame))
    return true
  }

  /** For when the browser says that the network is back: tries at once, or whether what is open still lives. */
  hurry(): void {
    if (this.open) return this.probe()
    if (this.stopped) return
    clearTimeout(this.retry)
    // One that was begun without a network may wait for minutes.
    this.drop()
    this.connect()
  }

  private connect(): void {
    let socket: SocketLike
    try {
      socket = this.ports.open()
    } catch {
      // An address that no socket can be made for, as ws: on a page of https:.
      return this.closed(1006)
    }
    this.socket = socket
    socket.onmessage = (event) => this.receive(String(event.data))
    socket.onclose = (event) => this.closed(event.code)
    // Browsers wait for minutes where packets are dropped, and for ever where nobody says hello.
    this.answer = setTimeout(() => this.closed(1006), ANSWER)
  }

  private receive(text: string): void {
    let frame: ServerFrame
    try {
      frame = JSON.parse(text) as ServerFrame
    } catch {
      return
    }
    this.heard(frame)
    if (frame.type === 'hello') {
      this.open = true
      this.steady = setTimeout(() => (this.failures = 0), STEADY)
      clearTimeout(this.poller)
      const { mode, pod } = frame
      this.show({ kind: 'open', mode, since: Date.now(), reason: null, intervalMs: null, pod })
      for (const ask of this.ports.greet()) this.send(ask)
    } else if (frame.type === 'mode' && this.link.kind === 'open') {
      const { mode, since, reason, poll_interval_ms: interval } = frame
      const at = Date.parse(since) || Date.now()
      this.show({ ...this.link, mode, since: at, reason: reason ?? null, intervalMs: interval ?? null })
    } else if (frame.type === 'goodbye') {
      this.announcedPause = frame.reconnect_after_ms
    }
    this.ports.frame(frame)
  }

  /** Whatever it is, the connection is not dead. */
  private heard(frame: ServerFrame): void {
    if (frame.type === 'hello') this.pingEvery = frame.ping_interval_ms ?? 0
    clearTimeout(this.quiet)
    clearTimeout(this.answer)
    this.answer = undefined
    if (this.pingEvery > 0) this.quiet = setTimeout(() => this.probe(), this.pingEvery)
    if (frame.type !== 'tasks' || !frame.full) return
    if (this.probedAt) this.ports.round?.(performance.now() - this.probedAt)
    this.probedAt = 0
    if (!this.listed && this.pingEvery > 0) this.early = setTimeout(() => this.probe(), FIRST_PROBE)
    this.listed = true
  }

  private probe(): void {
    if (!this.listed || this.answer !== undefined || !this.send({ type: 'watch_tasks' })) return
    this.probedAt = performance.now()
    this.answer = setTimeout(() => this.closed(1006), ANSWER)
  }

  private closed(code: number): void {
    const was = this.open
    this.drop()
    if (this.stopped) return
    if (was) {
      this.lostAt = Date.now()
      this.pollAfter(this.announcedPause === null ? GRACE : this.announcedPause + GRACE)
    }
    if (code === 4401) {
      this.stop()
      return this.ports.refused?.()
    }
    if (was) this.show({ kind: 'connecting' })
    if (HOPELESS.has(code)) return
    const patience = code === AMISS ? AMISS_PAUSE : Math.min(MAX_PAUSE, 250 * 2 ** Math.min(this.failures, 6))
    const pause = this.announcedPause ?? patience
    this.announcedPause = null
    this.failures += 1
    this.retry = setTimeout(() => this.connect(), pause * (0.75 + this.random() / 2))
  }

  private pollAfter(pause: number): void {
    clearTimeout(this.poller)
    this.poller = setTimeout(() => void this.poll(), pause)
  }

  private async poll(): Promise<void> {
    if (this.open || this.stopped) return
    const reached = await this.ports.poll().catch(() => false)
    if (this.open || this.stopped) return
    this.show(
      reached
        ? { kind: 'reading', since: this.lostAt, intervalMs: POLL }
        : { kind: 'offline', since: this.lostAt },
    )
    this.pollAfter(POLL)
  }

  private show(link: Link): void {
    this.link = link
    this.ports.link(link)
  }
}
