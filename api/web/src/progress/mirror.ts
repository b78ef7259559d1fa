/**
 * One task as this browser knows it. Pure: no sockets, no clocks, no Vue.
 *
 *   empty ──snapshot (all pages) or a whole read──▶ exact at seq ──step──▶ exact at a higher seq ──▶ ended
 *
 * Between calls the items are exactly those of `seq`. What does not fit is answered, not guessed: a step
 * that leaves a hole is `gap` (subscribe again with the cursor), one of another history is `lost`
 * (subscribe again without), one already known is `stale`. Only a status that the server sent ends a task.
 */
import type { Epoch, NamedItem, Progress, SnapshotFrame, StepFrame, TaskHead } from './frames'
import { FINAL } from './frames'

export type Verdict = 'applied' | 'partial' | 'stale' | 'gap' | 'lost'

/** What `GET /tasks/{id}` and `/items?after_seq=` said together. */
export interface Reading {
  /** What was asked for: the items that changed after it are here. */
  after: number
  /** Where the items stand. */
  seq: number
  head: TaskHead
  items: (NamedItem & { seq: number })[]
}

export class Mirror {
  head: TaskHead | null = null
  items: NamedItem[] = []
  /** -1: nothing is known yet. */
  seq = -1
  epoch: Epoch | null = null
  /** The server has said how it ended. */
  ended = false
  private cursorText: string | null = null
  private staged: { key: string; page: number; items: NamedItem[] } | null = null

  constructor(readonly id: string) {}

  /** Where to resume, if the relay has given a place that is still true. */
  get cursor(): string | null {
    return this.cursorText
  }

  /** Forgets its place, not its picture: that stays on the screen until a better one is whole. */
  forgetPlace(): void {
    this.cursorText = null
    this.epoch = null
    this.seq = -1
    this.staged = null
    this.ended = false
  }

  /** A page of a snapshot. It counts once the last page is there. */
  snapshot(frame: SnapshotFrame): Verdict {
    const key = `${frame.epoch}:${frame.seq}`
    if (frame.page === 0) {
      this.staged = { key, page: 0, items: [] }
    } else if (this.staged?.key !== key || this.staged.page !== frame.page - 1) {
      this.staged = null
      return 'lost'
    }
    const staged = this.staged!
    staged.page = frame.page
    staged.items.push(...frame.items)
    if (!frame.last) return 'partial'
    this.staged = null
    if (frame.epoch === this.epoch && frame.seq < this.seq) return 'stale'
    this.items = []
    for (const item of staged.items) this.items[item.ordinal] = { ...item }
    this.head = frame.task
    this.place(frame.epoch, frame.seq, frame.cursor)
    return 'applied'
  }

  /** A step, or the last one. */
  step(frame: StepFrame): Verdict {
    if (this.seq < 0) return 'lost'
    // A place that was found by reading has no epoch; the relay continues it as its own.
    if (this.epoch !== null && frame.epoch !== this.epoch) return 'lost'
    const closing = frame.type === 'complete'
    if (frame.seq < this.seq || (frame.seq === this.seq && (this.ended || !closing))) return 'stale'
    if (frame.prev > this.seq) return 'gap'
    // Overlap is harmless: items carry their latest state as of seq.
    for (const change of frame.items) {
      const known = this.items[change.ordinal]
      if (!known) return 'lost'
      this.items[change.ordinal] = { ...change, node: known.node }
    }
    this.advance(frame)
    this.place(frame.epoch, frame.seq, frame.cursor)
    return 'applied'
  }

  /** The answer of a read over HTTP. */
  read(reading: Reading): Verdict {
    if (reading.after >= 0 && reading.after > this.seq) return 'gap'
    // Sequences only rise; one that fell belongs to another history.
    if (reading.seq < this.seq) return reading.after < 0 ? 'stale' : 'lost'
    if (reading.after < 0) {
      this.items = []
      for (const { ordinal, node, status, message } of reading.items) {
        this.items[ordinal] = { ordinal, node, status, message: message ?? null }
      }
    } else {
      for (const { ordinal, node, status, message, seq } of reading.items) {
        if (seq > this.seq) this.items[ordinal] = { ordinal, node, status, message: message ?? null }
      }
    }
    this.head = reading.head
    const cursor = this.epoch === null ? null : `${this.epoch}:${reading.seq}`
    this.place(this.epoch, reading.seq, cursor)
    return 'applied'
  }

  private advance(frame: StepFrame): void {
    const { status, current, total, percent, counts, error } = frame
    const progress: Progress = { status, current, total, percent, counts, error: error ?? null }
    const at = new Date(frame.published_us / 1000).toISOString()
    const head = this.head!
    const started = head.started_at ?? (status === 'queued' ? null : at)
    const completed = head.completed_at ?? (FINAL.has(status) && frame.seq > this.seq ? at : null)
    this.head = { ...head, ...progress, seq: frame.seq, started_at: started, completed_at: completed, updated_at: at }
  }

  private place(epoch: Epoch | null, seq: number, cursor: string | null): void {
    this.epoch = epoch
    this.seq = seq
    this.cursorText = cursor
    this.ended = this.head !== null && FINAL.has(this.head.status)
  }
}
