/**
 * The store with its connection and its reader, against a relay and an API that are made of one model: sockets
 * are cut, frames lost, histories changed, the relay away for long; what is shown ends as the rows do.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClientFrame, ItemStatus } from '@/progress/frames'
import { useProgress } from '@/progress/store'
import { useSession } from '@/session'
import { TASK } from './model'
import { network, reloads, rows, stub, unstub, window } from './network'

const shown = () => {
  const { mirror } = useProgress().follow(TASK)
  useProgress().unfollow(TASK)
  return { items: mirror.items, head: mirror.head, seq: mirror.seq }
}

describe('what is shown of a task', () => {
  beforeEach(stub)
  afterEach(unstub)

  async function begin(size: number): Promise<void> {
    window(size)
    useProgress().follow(TASK)
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
    network.socket!.says({ type: 'error', code: 'internal', message: 'try again', task_id: TASK })
    expect(network.heard.filter((frame) => frame.type === 'subscribe')).toHaveLength(2)
    const entry = useProgress().follow(TASK)
    expect(entry.error.value).toBeNull()
    network.socket!.says({ type: 'error', code: 'unknown_task', message: 'there is no such task', task_id: TASK })
    expect(entry.error.value).toBe('there is no such task')
  })

  it('is in the tray only when it is one\'s own, and has its name either way', async () => {
    await begin(2)
    useSession().user = { id: 'another', username: 'ada', role: 'admin' } as never
    network.model.change(0, 'succeeded', null)
    network.deliver(false)
    await vi.advanceTimersByTimeAsync(200)
    network.socket!.says({ type: 'tasks', full: true, tasks: [] })
    expect([useProgress().sorted, useProgress().head(TASK)?.total]).toEqual([[], 2])
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

  it('is not asked for by what is no id, which would cost the connection', async () => {
    await begin(2)
    const heard = network.heard.length
    for (const id of ['nonsense', TASK.toUpperCase(), `${TASK}0`, 'id:7']) {
      const entry = useProgress().follow(id)
      expect([entry.error.value, entry.mirror.head]).toEqual([id, null])
      useProgress().unfollow(id)
    }
    network.socket!.end(1006)
    await vi.advanceTimersByTimeAsync(1000)
    expect(network.heard.slice(heard).map((frame) => frame.type)).toEqual(['watch_tasks', 'subscribe'])
  })

  it('is left when the connection comes back and the session is another one\'s', async () => {
    await begin(2)
    for (const [user, expected] of [['u', 0], ['another', 1]] as const) {
      network.user = user
      network.socket!.end(1006)
      await vi.advanceTimersByTimeAsync(5000)
      expect([useProgress().link.kind, reloads]).toEqual(['open', expected])
    }
  })

  it('does not believe a relay that says the session is over when the API does not', async () => {
    await begin(2)
    network.socket!.end(4401)
    expect(useProgress().link.kind).toBe('signed_out')
    await vi.advanceTimersByTimeAsync(6000)
    expect(useProgress().link.kind).toBe('open')
  })
})
