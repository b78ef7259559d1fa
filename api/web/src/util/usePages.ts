/** A list that comes in pages: as much as was asked for is shown and read again, nothing else is kept. */
import { onScopeDispose, ref, shallowRef } from 'vue'
import { asApiError, type ApiError } from '@/api/problem'

export interface Ask<C> {
  /** Where the page before ended; null: from the beginning. */
  cursor: C | null
  limit: number
  signal: AbortSignal
}

export interface Page<T, C> {
  rows: T[]
  /** null: there is no more. */
  next: C | null
}

/** What has had no answer for this long is no reason not to ask again. */
export const PATIENCE = 10_000

/** `size` rows a page; the API gives `most` at once. */
export function usePages<T extends { id: string | number }, C>(size: number, most: number, read: (ask: Ask<C>) => Promise<Page<T, C>>) {
  const rows = shallowRef<T[]>([])
  const next = shallowRef<C | null>(null)
  const loaded = ref(false)
  /** One more page is on its way. */
  const growing = ref(false)
  const problem = shallowRef<ApiError | null>(null)
  let pages = 1
  let asked: AbortController | null = null
  let askedAt = 0

  /** Only what was asked for last is shown. */
  async function run(grow: boolean, work: (signal: AbortSignal) => Promise<() => void>): Promise<void> {
    asked?.abort()
    const mine = new AbortController()
    asked = mine
    askedAt = Date.now()
    growing.value = grow
    try {
      const show = await work(mine.signal)
      if (asked !== mine) return
      show()
      problem.value = null
      loaded.value = true
    } catch (error) {
      if (asked === mine) problem.value = asApiError(error)
    }
    if (asked !== mine) return
    asked = null
    growing.value = false
  }

  /** All pages that are shown: a row of any of them may have changed, or belong there no longer. */
  const again = () => run(false, async (signal) => {
    let found: T[] = []
    let cursor: C | null = null
    do {
      const page: Page<T, C> = await read({ cursor, limit: Math.min(most, pages * size - found.length), signal })
      found = joined(found, page.rows)
      cursor = page.next
    } while (cursor !== null && found.length < pages * size)
    return () => {
      rows.value = found
      next.value = cursor
    }
  })

  async function older(): Promise<void> {
    const cursor = next.value
    if (growing.value || cursor === null) return
    await run(true, async (signal) => {
      const page = await read({ cursor, limit: size, signal })
      return () => {
        pages += 1
        rows.value = joined(rows.value, page.rows)
        next.value = page.next
      }
    })
  }

  /** For a look that nobody has asked for: it takes nothing from what somebody has. */
  async function poll(): Promise<void> {
    if (!asked || Date.now() - askedAt >= PATIENCE) await again()
  }

  /** Another list takes the place of this one: nothing of this may lead on in that. */
  function anew(): Promise<void> {
    pages = 1
    rows.value = []
    next.value = null
    loaded.value = false
    problem.value = null
    return again()
  }

  onScopeDispose(() => asked?.abort(), true)
  return { rows, next, loaded, growing, problem, again, older, poll, anew }
}

function joined<T extends { id: string | number }>(before: readonly T[], after: readonly T[]): T[] {
  const known = new Set(before.map((row) => row.id))
  return [...before, ...after.filter((row) => !known.has(row.id))]
}
