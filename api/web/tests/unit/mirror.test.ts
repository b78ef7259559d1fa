/**
 * Whatever the network does to them, the frames of a task lead to the one picture that the server has.
 * A random network drops, repeats and
 * reorders frames, cuts connections, merges steps, fails over to another history and is replaced by reading.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ItemStatus, SnapshotFrame, StepFrame } from '@/progress/frames'
import { Mirror, type Verdict } from '@/progress/mirror'
import { Model } from './model'

/** What the store does with a verdict, and the relay with a subscription. */
function subscribe(mirror: Mirror, model: Model): (SnapshotFrame | StepFrame)[] {
  const cursor = mirror.cursor
  if (cursor) {
    const [epoch, seq] = [cursor.slice(0, cursor.lastIndexOf(':')), Number(cursor.slice(cursor.lastIndexOf(':') + 1))]
    if (epoch === model.epoch && seq <= model.seq) return [model.step(seq)]
  }
  return model.snapshot()
}

function take(mirror: Mirror, frame: SnapshotFrame | StepFrame): Verdict {
  return frame.type === 'snapshot' ? mirror.snapshot(frame) : mirror.step(frame)
}

function feed(mirror: Mirror, model: Model, frames: (SnapshotFrame | StepFrame)[]): void {
  for (const frame of frames) {
    const before = mirror.seq
    const epoch = mirror.epoch
    const verdict = take(mirror, frame)
    if (verdict === 'applied' && mirror.epoch === epoch) expect(mirror.seq).toBeGreaterThanOrEqual(before)
    if (verdict === 'lost') mirror.forgetPlace()
    if (verdict === 'lost' || verdict === 'gap') return feed(mirror, model, subscribe(mirror, model))
  }
}

function same(mirror: Mirror, model: Model): void {
  expect(mirror.items).toEqual(model.items.map(({ seq: _, ...item }) => item))
  expect(mirror.seq).toBe(model.seq)
  expect(mirror.head).toMatchObject(model.progress())
  expect(mirror.ended).toBe(model.status !== 'running')
}

const status = fc.constantFrom<ItemStatus>('running', 'succeeded', 'failed', 'skipped')
const event = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('change' as const), ordinal: fc.nat(20), status, message: fc.option(fc.string()) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('deliver' as const), times: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('drop' as const, 'old' as const, 'cut' as const, 'read' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('torn' as const, 'failover' as const, 'end' as const) }) },
)

describe('the mirror of a task', () => {
  it('ends as the server does, whatever happened in between', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.array(event, { maxLength: 80 }), (size, events) => {
        const model = new Model(size)
        const mirror = new Mirror('t')
        const past: (SnapshotFrame | StepFrame)[] = []
        let sent = 0
        for (const now of events) {
          switch (now.kind) {
            case 'change': model.change(now.ordinal, now.status, now.message); break
            case 'end': model.end(); break
            case 'drop': sent = model.seq; break
            case 'deliver': {
              const frame = model.step(Math.min(sent, model.seq))
              if (frame.seq === frame.prev) break
              past.push(frame)
              for (let i = 0; i < now.times; i++) feed(mirror, model, [frame])
              sent = model.seq
              break
            }
            case 'old': if (past.length > 0) feed(mirror, model, [past[past.length >> 1]!]); break
            case 'cut': feed(mirror, model, subscribe(mirror, model)); sent = model.seq; break
            case 'torn': feed(mirror, model, model.snapshot().slice(0, -1)); break
            case 'failover': model.failover(); mirror.forgetPlace(); past.length = 0; sent = 0; break
            case 'read': {
              const verdict = mirror.read(model.reading(mirror.seq))
              if (verdict === 'lost') {
                mirror.forgetPlace()
                mirror.read(model.reading(-1))
              }
              break
            }
          }
        }
        model.end()
        feed(mirror, model, subscribe(mirror, model))
        same(mirror, model)
      }),
      { numRuns: 2000 },
    )
  })

  it('is the same by reading alone', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10 }), fc.array(event, { maxLength: 60 }), (size, events) => {
        const model = new Model(size)
        const mirror = new Mirror('t')
        for (const now of events) {
          if (now.kind === 'change') model.change(now.ordinal, now.status, now.message)
          if (now.kind === 'end') model.end()
          if (now.kind === 'read' || now.kind === 'cut') {
            mirror.read(model.reading(mirror.seq))
            same(mirror, model)
          }
        }
        mirror.read(model.reading(mirror.seq))
        same(mirror, model)
      }),
    )
  })

  it('says what is wrong with a frame that does not fit', () => {
    const model = new Model(4)
    const mirror = new Mirror('t')
    expect(mirror.step(model.step(0))).toBe('lost')
    const pages = model.snapshot()
    expect(pages.map((page) => mirror.snapshot(page))).toEqual(['partial', 'applied'])
    expect(mirror.snapshot(pages[1]!)).toBe('lost')
    model.change(0, 'succeeded', null)
    const early = model.step(1)
    model.change(1, 'failed', 'no')
    expect(mirror.step(model.step(2))).toBe('gap')
    expect(mirror.step(early)).toBe('applied')
    expect(mirror.step(early)).toBe('stale')
    // Overlapping what is known already.
    expect(mirror.step(model.step(1))).toBe('applied')
    same(mirror, model)
    model.epoch = 'other'
    expect(mirror.step(model.step(3))).toBe('lost')
  })

  it('is ended by the status that the server sends, and by nothing else', () => {
    const model = new Model(2)
    const mirror = new Mirror('t')
    for (const page of model.snapshot()) mirror.snapshot(page)
    for (const ordinal of [0, 1]) model.change(ordinal, 'succeeded', null)
    mirror.step(model.step(1))
    expect(mirror.head!.current).toBe(2)
    expect(mirror.ended).toBe(false)
    model.end()
    mirror.step(model.step(3))
    expect(mirror.ended).toBe(true)
  })
})
