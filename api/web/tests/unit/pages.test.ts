import { describe, expect, it, vi } from 'vitest'
import { ApiError } from '@/api/problem'
import { PATIENCE, usePages, type Ask, type Page } from '@/util/usePages'

interface Row { id: number; status: string }

/** Newest first, with the cursor of a real API: the last id of the page before. */
class Server {
  rows: Row[]
  asks: Ask<number>[] = []
  /** Lets answers go out only when the test says so. */
  gate: Promise<void> | null = null
  filter = (_: Row) => true
  constructor(ids: number[]) { this.rows = ids.map((id) => ({ id, status: 'running' })) }
  add(...ids: number[]) { this.rows = [...ids.map((id) => ({ id, status: 'running' })), ...this.rows] }
  set(id: number, status: string) { this.rows = this.rows.map((row) => (row.id === id ? { id, status } : row)) }
  read = async (ask: Ask<number>): Promise<Page<Row, number>> => {
    this.asks.push(ask)
    const rest = this.rows.filter((row) => this.filter(row) && (ask.cursor === null || row.id < ask.cursor))
    const rows = rest.slice(0, ask.limit)
    if (this.gate) await this.gate
    return { rows, next: rest.length > rows.length ? rows[rows.length - 1]!.id : null }
  }
}

const list = (server: Server, size = 3, most = 4) => {
  const pages = usePages<Row, number>(size, most, server.read)
  return { ...pages, ids: () => pages.rows.value.map((row) => row.id) }
}
const held = (server: Server) => {
  let open = () => undefined as void
  server.gate = new Promise((resolve) => { open = resolve })
  return () => { server.gate = null; open() }
}

describe('a list in pages', () => {
  it('lets go of what has left the filter, and of what was pushed off the end', async () => {
    const server = new Server([6, 5, 4, 3])
    server.filter = (row) => row.status === 'running'
    const { ids, again, poll } = list(server)
    await again()
    expect(ids()).toEqual([6, 5, 4])
    server.set(4, 'completed')
    server.set(5, 'completed')
    await poll()
    expect(ids()).toEqual([6, 3])
    server.add(10, 9, 8, 7)
    await poll()
    expect(ids()).toEqual([10, 9, 8])
  })

  it('reads older pages again as well, as many as were asked for', async () => {
    const server = new Server([9, 8, 7, 6, 5, 4, 3, 2, 1])
    const { rows, ids, next, again, older, poll } = list(server)
    await again()
    await older()
    expect([ids(), next.value]).toEqual([[9, 8, 7, 6, 5, 4], 4])
    server.set(5, 'completed')
    server.add(10)
    server.asks = []
    await poll()
    // In as few requests as the API allows.
    expect(server.asks.map(({ cursor, limit }) => [cursor, limit])).toEqual([[null, 4], [7, 2]])
    expect([ids(), next.value]).toEqual([[10, 9, 8, 7, 6, 5], 5])
    expect(rows.value.find((row) => row.id === 5)?.status).toBe('completed')
    await older()
    await older()
    expect([ids(), next.value]).toEqual([[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], null])
  })

  it('loads the next page once, however often it is asked for', async () => {
    const server = new Server([9, 8, 7, 6, 5, 4, 3])
    const { ids, growing, again, older, poll } = list(server)
    await again()
    const open = held(server)
    const both = [older(), older(), poll()]
    expect([growing.value, server.asks.length]).toEqual([true, 2])
    open()
    await Promise.all(both)
    expect([ids(), growing.value]).toEqual([[9, 8, 7, 6, 5, 4], false])
  })

  it('shows no row twice, whatever the API says', async () => {
    const server = new Server([3, 2, 1])
    const pages = usePages<Row, number>(2, 4, async (ask) => ({ ...(await server.read({ ...ask, cursor: null })), next: 2 }))
    await pages.again()
    await pages.older()
    expect(pages.rows.value.map((row) => row.id)).toEqual([3, 2])
  })

  it('begins anew with another filter: no cursor and no late answer of the one before', async () => {
    const server = new Server([9, 8, 7, 6, 5, 4])
    const { ids, next, loaded, again, older, anew } = list(server)
    await again()
    const open = held(server)
    const late = older()
    server.filter = (row) => row.id < 6
    server.gate = null
    const fresh = anew()
    expect([ids(), next.value, loaded.value]).toEqual([[], null, false])
    open()
    await Promise.all([late, fresh])
    expect([ids(), next.value]).toEqual([[5, 4], null])
    expect(server.asks[1]!.signal.aborted).toBe(true)
  })

  it('says what went wrong and keeps what it has; a read that hangs does not end all others', async () => {
    vi.useFakeTimers()
    let fail = false
    const server = new Server([2, 1])
    const { ids, problem, again, poll } = (() => {
      const pages = usePages<Row, number>(3, 4, (ask) => (fail ? Promise.reject(new ApiError(503, null, 'away')) : server.read(ask)))
      return { ...pages, ids: () => pages.rows.value.map((row) => row.id) }
    })()
    await again()
    fail = true
    await poll()
    expect([ids(), problem.value?.status]).toEqual([[2, 1], 503])
    fail = false
    server.gate = new Promise(() => undefined)
    void poll()
    server.gate = null
    server.add(3)
    await poll()
    expect(ids()).toEqual([2, 1])
    await vi.advanceTimersByTimeAsync(PATIENCE)
    await poll()
    expect([ids(), problem.value]).toEqual([[3, 2, 1], null])
    vi.useRealTimers()
  })
})
