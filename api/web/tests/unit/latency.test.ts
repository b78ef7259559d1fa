import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Latency } from '@/progress/latency'

describe('how long a change takes', () => {
  it('is the same whatever the two clocks say', () => {
    fc.assert(fc.property(fc.integer({ min: -3_600_000, max: 3_600_000 }), fc.array(fc.integer({ min: 5, max: 40 }), { minLength: 1, maxLength: 40 }), (ahead, delays) => {
      const latency = new Latency()
      latency.round(10)
      delays.forEach((delay, i) => latency.at(1e12 + i * 100 + delay + ahead, 1e12 + i * 100))
      const now = 1e12 + delays.length * 100 + ahead
      expect(latency.value(now)).toBeGreaterThanOrEqual(5)
      expect(latency.value(now)).toBeLessThanOrEqual(40)
    }))
  })

  it('is half of the way there and back, and what it took more than the quickest', () => {
    const latency = new Latency()
    latency.at(1000, 500)
    expect(latency.value(1000)).toBeNull()
    latency.round(30)
    latency.round(8)
    expect(latency.value(1000)).toBe(4)
    for (const took of [700, 700, 501]) latency.at(2000 + took, 2000)
    expect(latency.value(3000)).toBe(204)
  })

  it('is not known any more when nothing has come for long, or by another way', () => {
    const latency = new Latency()
    latency.round(8)
    latency.at(1000, 500)
    expect(latency.value(60_000)).toBe(4)
    expect(latency.value(62_000)).toBeNull()
    latency.at(62_000, 61_000)
    latency.forget()
    expect(latency.value(62_000)).toBeNull()
  })
})
