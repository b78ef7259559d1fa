import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { AMISS_PAUSE, ANSWER, Connection, GRACE, POLL, type Link, type SocketLike } from '@/progress/connection'

class Socket implements SocketLike {
  readyState = 1
  onmessage: SocketLike['onmessage'] = null
  onclose: SocketLike['onclose'] = null
  sent: string[] = []
  send(text: string) { this.sent.push(text) }
  closed = 0
  close() { this.closed += 1; this.onclose?.({ code: 1000 }) }
  says(frame: object) { this.onmessage?.({ data: JSON.stringify(frame) }) }
  hello(ping?: number) { this.says({ type: 'hello', version: 1, pod: 'p', release: '0', epoch: 'e', mode: 'live', ping_interval_ms: ping }) }
  lists() { this.says({ type: 'tasks', full: true, tasks: [] }) }
  get asked() { return this.sent.filter((text) => text.includes('watch_tasks')).length }
}

describe('the way to the relay', () => {
  let sockets: Socket[]
  let links: Link[]
  let polls: number
  let reachable: boolean
  let possible: boolean
  let rounds: number[]
  let connection: Connection
  const kind = () => links[links.length - 1]!.kind

  beforeEach(() => {
    vi.useFakeTimers()
    sockets = []
    links = []
    polls = 0
    reachable = possible = true
    rounds = []
    connection = new Connection({
      round: (milliseconds) => rounds.push(milliseconds),
      open: () => { if (!possible) throw new DOMException('an insecure WebSocket', 'SecurityError'); const socket = new Socket(); sockets.push(socket); return socket },
      poll: () => { polls += 1; return reachable ? Promise.resolve(true) : Promise.reject(new Error('away')) },
      frame: () => undefined,
      link: (link) => links.push(link),
      greet: () => [{ type: 'watch_tasks' }, { type: 'subscribe', task_id: 't', cursor: 'e:5' }],
    }, () => 0.5)
    connection.start()
  })
  afterEach(() => { connection.stop(); vi.useRealTimers() })

  it('asks for everything again on each connection, and does not read meanwhile', async () => {
    sockets[0]!.hello()
    expect(sockets[0]!.sent.map((text) => JSON.parse(text).type)).toEqual(['watch_tasks', 'subscribe'])
    await vi.advanceTimersByTimeAsync(60_000)
    expect([polls, kind()]).toEqual([0, 'open'])
    sockets[0]!.onclose!({ code: 1006 })
    await vi.advanceTimersByTimeAsync(500)
    sockets[1]!.hello()
    expect(sockets[1]!.sent).toHaveLength(2)
    expect(polls).toBe(0)
  })

  it('says nothing over a socket that is closing', () => {
    sockets[0]!.hello()
    sockets[0]!.readyState = 2
    expect([connection.send({ type: 'watch_tasks' }), sockets[0]!.sent.length]).toEqual([false, 2])
  })

  it('reads over HTTP while there is no socket, and stops when there is one', async () => {
    await vi.advanceTimersByTimeAsync(GRACE + POLL * 2 + 10)
    expect(polls).toBe(3)
    expect(kind()).toBe('reading')
    sockets[sockets.length - 1]!.hello()
    await vi.advanceTimersByTimeAsync(POLL * 3)
    expect([polls, kind()]).toEqual([3, 'open'])
  })

  it('says offline when the API is away, too, and recovers', async () => {
    reachable = false
    await vi.advanceTimersByTimeAsync(GRACE + 10)
    expect(kind()).toBe('offline')
    reachable = true
    await vi.advanceTimersByTimeAsync(POLL)
    expect(kind()).toBe('reading')
  })

  it('comes back when the relay says it may', async () => {
    sockets[0]!.hello()
    sockets[0]!.says({ type: 'goodbye', reason: 'stopping', reconnect_after_ms: 4000 })
    sockets[0]!.onclose!({ code: 1012 })
    await vi.advanceTimersByTimeAsync(3900)
    expect(sockets).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(200)
    expect(sockets).toHaveLength(2)
  })

  it('waits longer and longer, but not for ever', async () => {
    const opened: number[] = []
    for (let i = 0; i < 12; i++) {
      const before = sockets.length
      sockets[before - 1]!.onclose!({ code: 1006 })
      let waited = 0
      while (sockets.length === before) { await vi.advanceTimersByTimeAsync(250); waited += 250 }
      opened.push(waited)
    }
    expect(opened[0]).toBe(250)
    expect(Math.max(...opened)).toBeLessThanOrEqual(15_000)
    expect([...opened].sort((a, b) => a - b)).toEqual(opened)
  })

  it('does not try again after a session has ended or a fault of its own', async () => {
    sockets[0]!.hello()
    sockets[0]!.onclose!({ code: 4401 })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([sockets.length, kind(), polls]).toEqual([1, 'signed_out', 0])
    connection.start()
    sockets[1]!.hello()
    sockets[1]!.onclose!({ code: 1009 })
    await vi.advanceTimersByTimeAsync(10 * 60_000)
    expect(sockets).toHaveLength(2)
    expect(kind()).toBe('reading')
  })

  it('lets a relay be that has taken something amiss, and comes back after long', async () => {
    sockets[0]!.hello()
    sockets[0]!.onclose!({ code: 1008 })
    await vi.advanceTimersByTimeAsync(AMISS_PAUSE - 1)
    expect([sockets.length, kind()]).toEqual([1, 'reading'])
    await vi.advanceTimersByTimeAsync(1)
    sockets[1]!.hello()
    expect(kind()).toBe('open')
  })

  it('asks when it has been quiet, and gives up what does not answer', async () => {
    const socket = sockets[0]!
    socket.hello(20_000)
    socket.lists()
    // Soon after the first list, to time the way; then only when nothing has come for as long as pings are apart.
    await vi.advanceTimersByTimeAsync(1000)
    expect(socket.asked).toBe(2)
    await vi.advanceTimersByTimeAsync(30)
    socket.lists()
    expect(rounds).toEqual([30])
    for (let i = 0; i < 4; i++) {
      await vi.advanceTimersByTimeAsync(15_000)
      socket.says({ type: 'tasks', full: false, tasks: [] })
    }
    expect([socket.asked, kind()]).toEqual([2, 'open'])
    await vi.advanceTimersByTimeAsync(20_000)
    expect([socket.asked, kind()]).toEqual([3, 'open'])
    await vi.advanceTimersByTimeAsync(ANSWER)
    expect(kind()).toBe('connecting')
    await vi.advanceTimersByTimeAsync(250)
    sockets[1]!.hello(20_000)
    expect(kind()).toBe('open')
    // What the dead one still has to say is of no account.
    expect(socket.onmessage).toBeNull()
  })

  it('asks at once when the network is back', async () => {
    sockets[0]!.hello(20_000)
    sockets[0]!.lists()
    await vi.advanceTimersByTimeAsync(1000)
    sockets[0]!.lists()
    connection.hurry()
    connection.hurry()
    expect(sockets[0]!.asked).toBe(3)
    sockets[0]!.lists()
    await vi.advanceTimersByTimeAsync(ANSWER + 1000)
    expect(kind()).toBe('open')
    connection.hurry()
    await vi.advanceTimersByTimeAsync(ANSWER)
    expect(kind()).toBe('connecting')
  })

  it('expects no answer of a relay that has not had the list yet', async () => {
    sockets[0]!.hello(20_000)
    await vi.advanceTimersByTimeAsync(120_000)
    expect([sockets.length, kind()]).toEqual([1, 'open'])
  })

  it('gives up a socket that is not greeted, and tries another', async () => {
    await vi.advanceTimersByTimeAsync(ANSWER - 1)
    expect([sockets.length, sockets[0]!.closed]).toEqual([1, 0])
    await vi.advanceTimersByTimeAsync(1)
    expect(sockets[0]!.closed).toBe(1)
    await vi.advanceTimersByTimeAsync(250)
    sockets[1]!.hello()
    await vi.advanceTimersByTimeAsync(ANSWER * 3)
    expect([sockets.length, kind()]).toEqual([2, 'open'])
  })

  it('does not wait for a socket from before the network was back', async () => {
    connection.hurry()
    expect([sockets.length, sockets[0]!.closed]).toEqual([2, 1])
    sockets[1]!.hello()
    expect(kind()).toBe('open')
    // Nor was a second attempt left behind.
    await vi.advanceTimersByTimeAsync(60_000)
    expect(sockets).toHaveLength(2)
  })

  it('reads when no socket can even be made, and takes one when it can', async () => {
    connection.stop()
    expect(kind()).toBe('signed_out')
    possible = false
    connection.start()
    await vi.advanceTimersByTimeAsync(GRACE + 10)
    expect(kind()).toBe('reading')
    possible = true
    await vi.advanceTimersByTimeAsync(20_000)
    sockets[sockets.length - 1]!.hello()
    expect(kind()).toBe('open')
  })

  it('does not hurry to a relay that says hello and goes', async () => {
    for (let i = 0; i < 6; i++) {
      sockets[sockets.length - 1]!.hello()
      sockets[sockets.length - 1]!.onclose!({ code: 1006 })
      const had = sockets.length
      while (sockets.length === had) await vi.advanceTimersByTimeAsync(250)
    }
    const before = sockets.length
    sockets[before - 1]!.onclose!({ code: 1006 })
    await vi.advanceTimersByTimeAsync(10_000)
    expect(sockets).toHaveLength(before)
    await vi.advanceTimersByTimeAsync(10_000)
    sockets[before]!.hello()
    await vi.advanceTimersByTimeAsync(11_000)
    sockets[before]!.onclose!({ code: 1006 })
    await vi.advanceTimersByTimeAsync(250)
    expect(sockets).toHaveLength(before + 2)
  })

  it('shows the mode of the relay', () => {
    sockets[0]!.hello()
    sockets[0]!.says({ type: 'mode', mode: 'polling', since: '2026-01-01T00:00:00Z', reason: 'listener lost', poll_interval_ms: 10_000 })
    expect(links[links.length - 1]).toMatchObject({ kind: 'open', mode: 'polling', intervalMs: 10_000 })
  })
})
