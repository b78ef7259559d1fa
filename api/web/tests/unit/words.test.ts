import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import en from '@/i18n/en'
import zh from '@/i18n/zh'
import { age, clock } from '@/util/time'
import type { TaskHead } from '@/progress/frames'
import { Pace, rateOf } from '@/progress/pace'

type Tree = { [key: string]: string | Tree }
const flat = (tree: Tree, path = ''): [string, string][] =>
  Object.entries(tree).flatMap(([key, value]) => (typeof value === 'string' ? [[path + key, value] as [string, string]] : flat(value, `${path}${key}.`)))
const holes = (text: string) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort()

/** Keys as the sources name them: whole, or with a part that is known only later. */
function named(): { whole: Set<string>; patterns: RegExp[] } {
  const folder = new URL('../../src/', import.meta.url)
  const whole = new Set<string>()
  const patterns: RegExp[] = []
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(vue|ts)$/.test(file) || file.startsWith('i18n')) continue
    const text = readFileSync(new URL(file, folder), 'utf8')
    for (const [, key] of text.matchAll(/(?:'|keypath=")([a-z]\w*(?:\.\w+)+)['"]/g)) whole.add(key!)
    for (const [, key] of text.matchAll(/`((?:[\w.]|\$\{[^}]*\})+)`/g)) {
      if (key!.includes('${') && key!.includes('.')) patterns.push(new RegExp(`^${key!.replaceAll('.', '\\.').replace(/\$\{[^}]*\}/g, '\\w+')}$`))
    }
  }
  return { whole, patterns }
}

describe('the words', () => {
  it('are there when they are used, and used when they are there', () => {
    const { whole, patterns } = named()
    const present = flat(en as unknown as Tree).map(([key]) => key)
    const sections = new Set(Object.keys(en))
    expect([...whole].filter((key) => sections.has(key.split('.')[0]!) && !present.includes(key))).toEqual([])
    expect(present.filter((key) => !whole.has(key) && !patterns.some((pattern) => pattern.test(key)))).toEqual([])
  })

  it('say the same in both languages, with the same numbers in them', () => {
    const chinese = new Map(flat(zh as unknown as Tree))
    for (const [key, text] of flat(en as unknown as Tree)) {
      expect(chinese.get(key), key).toBeTruthy()
      expect(holes(chinese.get(key)!), key).toEqual(holes(text))
    }
    expect(chinese.size).toBe(flat(en as unknown as Tree).length)
  })
})

describe('times', () => {
  it('are as long as they need to be', () => {
    expect([clock(0), clock(61_000), clock(3_723_000), clock(-5)]).toEqual(['00:00', '01:01', '1:02:03', '00:00'])
    const now = Date.parse('2026-01-10T00:00:00Z')
    expect(['2026-01-09T23:59:01Z', '2026-01-09T23:00:00Z', '2026-01-09T00:00:00Z', '2026-01-01T00:00:00Z'].map((t) => age(t, now))).toEqual(['59s', '60m', '24h', '9d'])
  })
  it('make a rate of what has ended, and begin anew when a task does', () => {
    const pace = new Pace()
    expect(pace.rate(0)).toBeNull()
    for (let s = 0; s <= 10; s++) pace.at(s * 1000, s * 3)
    expect(pace.rate(10_000)).toBeCloseTo(3)
    pace.at(11_000, 0)
    expect(pace.rate(11_000)).toBeNull()
  })
  it('make a rate of work, not of what a cancel has spared, and none of a task that stands still', () => {
    const counts = { total: 100, pending: 0, running: 0, succeeded: 18, failed: 2, skipped: 0, cancelled: 80 }
    const pace = new Pace()
    for (let s = 0; s <= 10; s++) pace.at(s * 1000, s * 3)
    const rate = (status: TaskHead['status'], elapsed: number | null) => rateOf({ status, counts }, pace, elapsed, 10_000)
    expect(rate('running', 10_000)).toBeCloseTo(3)
    expect(['queued', 'paused', 'cancelled'].map((status) => rate(status as TaskHead['status'], 10_000))).toEqual([null, null, null])
    expect([rate('failed', 10_000), rate('failed', 0), rate('failed', null)]).toEqual([2, null, null])
    // How long it was paused is not how long it takes.
    pace.rest()
    pace.at(600_000, 30)
    expect(pace.rate(600_000)).toBeNull()
    pace.at(601_000, 33)
    expect(pace.rate(601_000)).toBeCloseTo(3)
  })
})
