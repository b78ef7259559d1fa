/** A window without a relay: what is read over HTTP, and what is said of it. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { useProgress } from '@/progress/store'
import { TASK } from './model'
import { network, rows, stub, unstub, window } from './network'

const OTHER = '01980abc-0000-7000-8000-000000000002'

describe('a task that is read', () => {
  beforeEach(stub)
  afterEach(unstub)

  it('is not gone because of a hiccup, and is whole once it can be had', async () => {
    window(2, { relayUp: false })
    network.refusals.set(`/api/v1/tasks/${TASK}/items`, 503)
    const entry = useProgress().follow(TASK)
    await vi.advanceTimersByTimeAsync(200)
    expect([entry.error.value, entry.mirror.head]).toEqual([null, null])
    network.refusals.set(`/api/v1/tasks/${TASK}/items`, 404)
    await vi.advanceTimersByTimeAsync(5000)
    expect(entry.error.value).toBe('refused with 404')
    network.refusals.clear()
    network.relayUp = true
    await vi.advanceTimersByTimeAsync(20_000)
    expect(entry.error.value).toBeNull()
    expect(entry.mirror.items).toEqual(rows())
  })

  it('is read although another one cannot be', async () => {
    window(2, { relayUp: false })
    network.refusals.set(`/api/v1/tasks/${OTHER}/items`, 404)
    const gone = useProgress().follow(OTHER)
    const entry = useProgress().follow(TASK)
    await vi.advanceTimersByTimeAsync(2000)
    network.model.end()
    await vi.advanceTimersByTimeAsync(4000)
    expect([gone.error.value, entry.mirror.ended]).toEqual(['refused with 404', true])
  })

  it('is not said to be read while the API answers that it cannot', async () => {
    window(2, { relayUp: false })
    useProgress().follow(TASK)
    await vi.advanceTimersByTimeAsync(4000)
    expect(useProgress().link.kind).toBe('reading')
    for (const path of ['/api/v1/tasks', `/api/v1/tasks/${TASK}/items`]) {
      network.refusals.set(path, 503)
      await vi.advanceTimersByTimeAsync(3100)
      expect([path, useProgress().link.kind]).toEqual([path, 'offline'])
      network.refusals.clear()
      await vi.advanceTimersByTimeAsync(3100)
      expect(useProgress().link.kind).toBe('reading')
    }
    // What may not be read by this user leaves nothing to wait for.
    network.refusals.set(`/api/v1/tasks/${TASK}/items`, 404)
    await vi.advanceTimersByTimeAsync(3100)
    expect(useProgress().link.kind).toBe('reading')
  })

  it('is read again after a read that was never answered', async () => {
    vi.spyOn(AbortSignal, 'timeout').mockImplementation((milliseconds) => {
      const controller = new AbortController()
      setTimeout(() => controller.abort(new DOMException('too long', 'TimeoutError')), milliseconds)
      return controller.signal
    })
    window(2, { relayUp: false })
    let silent = true
    vi.stubGlobal('fetch', (url: string, { signal }: RequestInit) => (silent
      ? new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)))
      : Promise.resolve(network.answer(url))))
    const entry = useProgress().follow(TASK)
    await vi.advanceTimersByTimeAsync(12_000)
    expect(useProgress().link.kind).toBe('offline')
    silent = false
    await vi.advanceTimersByTimeAsync(4000)
    expect([useProgress().link.kind, entry.mirror.items]).toEqual(['reading', rows()])
  })
})
