/** How fast a task goes: nodes that were worked on and are done, a second, over the last half minute. */
import type { Counts } from '@/api/types'
import { FINAL, type TaskHead } from './frames'

const WINDOW = 30_000

export class Pace {
  private samples: { at: number; ended: number }[] = []

  at(now: number, ended: number): void {
    const last = this.samples[this.samples.length - 1]
    if (last && ended < last.ended) this.samples = []
    if (last?.ended === ended) return
    this.samples.push({ at: now, ended })
    while (this.samples.length > 2 && this.samples[0]!.at < now - WINDOW) this.samples.shift()
  }

  /** The task stands still: how long it does says nothing of how fast it goes. */
  rest(): void {
    this.samples = []
  }

  /** null: not known yet. */
  rate(now: number): number | null {
    const first = this.samples[0]
    const last = this.samples[this.samples.length - 1]
    if (!first || !last || last.ended === first.ended) return null
    const seconds = (now - first.at) / 1000
    return seconds > 0 ? (last.ended - first.ended) / seconds : null
  }
}

/** Nodes that were worked on and are done: cancelled ones end all at once, and nobody has done anything to them. */
export function worked(counts: Counts): number {
  return counts.succeeded + counts.failed + counts.skipped
}

/** Nodes a second: at the moment, or of a task that has ended over all of its time; null: there is none to speak of. */
export function rateOf(head: Pick<TaskHead, 'status' | 'counts'>, pace: Pace, elapsed: number | null, now: number): number | null {
  if (head.status === 'running') return pace.rate(now)
  if (!FINAL.has(head.status) || head.status === 'cancelled' || !elapsed || elapsed < 0) return null
  return (worked(head.counts) * 1000) / elapsed
}
