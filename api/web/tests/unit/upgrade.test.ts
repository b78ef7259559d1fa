import { describe, expect, it } from 'vitest'
import { mayReload } from '@/upgrade'

class Memory {
  private readonly kept = new Map<string, string>()
  getItem = (key: string) => this.kept.get(key) ?? null
  setItem = (key: string, value: string) => void this.kept.set(key, value)
}

describe('a page whose files are gone', () => {
  it('is loaded anew, but not again and again', () => {
    const memory = new Memory()
    expect([0, 5_000, 59_999, 60_000, 60_001].map((now) => mayReload(memory, now))).toEqual([true, false, false, true, false])
  })

  it('is not loaded anew where nothing can be remembered', () => {
    const refuses = { getItem: () => null, setItem: () => { throw new Error('private window') } }
    expect(mayReload(refuses, 0)).toBe(false)
  })
})
