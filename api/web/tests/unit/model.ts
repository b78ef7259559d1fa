/** A server that keeps a task's rows and sequence numbers as the real one does. */
import type { ItemStatus, SnapshotFrame, StepFrame, TaskHead, TaskStatus } from '@/progress/frames'
import type { Reading } from '@/progress/mirror'

const AT = '2026-01-02T03:04:05Z'
const PAGE = 3
/** Its one task. */
export const TASK = '01980abc-0000-7000-8000-000000000001'

export class Model {
  epoch = 'e1'
  seq = 1
  status: TaskStatus = 'running'
  items: { ordinal: number; node: string; status: ItemStatus; message: string | null; seq: number }[]

  constructor(size: number) {
    this.items = Array.from({ length: size }, (_, ordinal) => ({
      ordinal, node: `node-${ordinal}`, status: 'pending', message: null, seq: 1,
    }))
  }

  counts() {
    const of = (status: ItemStatus) => this.items.filter((item) => item.status === status).length
    return {
      total: this.items.length, pending: of('pending'), running: of('running'), succeeded: of('succeeded'),
      failed: of('failed'), skipped: of('skipped'), cancelled: of('cancelled'),
    }
  }

  progress() {
    const counts = this.counts()
    const current = counts.total - counts.pending - counts.running
    return { status: this.status, current, total: counts.total, percent: (100 * current) / counts.total, counts }
  }

  head(): TaskHead {
    return { ...this.progress(), id: TASK, user_id: 'u', cluster: 'c', action: 'label', reason: '', seq: this.seq, created_at: AT, updated_at: AT }
  }

  change(ordinal: number, status: ItemStatus, message: string | null): void {
    if (this.status !== 'running') return
    const item = this.items[ordinal % this.items.length]!
    this.seq += 1
    Object.assign(item, { status, message, seq: this.seq })
  }

  end(): void {
    if (this.status !== 'running') return
    this.seq += 1
    for (const item of this.items) {
      if (item.status === 'pending' || item.status === 'running') Object.assign(item, { status: 'succeeded', seq: this.seq })
    }
    this.status = this.items.some((item) => item.status === 'failed') ? 'failed' : 'completed'
  }

  /** Another history: some of what was committed is gone. */
  failover(): void {
    this.epoch += "'"
    this.seq = Math.max(1, this.seq - 3)
    this.status = 'running'
    for (const item of this.items) {
      if (item.seq > this.seq) Object.assign(item, { status: 'pending', message: null, seq: this.seq })
    }
  }

  step(prev: number): StepFrame {
    const items = this.items.filter((item) => item.seq > prev).map(({ ordinal, status, message }) => ({ ordinal, status, message }))
    const type = this.status === 'running' ? 'progress' : 'complete'
    return { type, task_id: TASK, epoch: this.epoch, prev, seq: this.seq, cursor: `${this.epoch}:${this.seq}`, published_us: 1e15, items, ...this.progress() }
  }

  snapshot(): SnapshotFrame[] {
    const pages = Math.max(1, Math.ceil(this.items.length / PAGE))
    return Array.from({ length: pages }, (_, page) => ({
      type: 'snapshot', task_id: TASK, epoch: this.epoch, seq: this.seq, cursor: `${this.epoch}:${this.seq}`, page,
      last: page === pages - 1, task: this.head(),
      items: this.items.slice(page * PAGE, (page + 1) * PAGE).map(({ seq: _, ...item }) => ({ ...item })),
    }))
  }

  reading(after: number): Reading {
    return { after, seq: this.seq, head: this.head(), items: this.items.filter((item) => item.seq > after).map((item) => ({ ...item })) }
  }
}
