/**
 * How long a change takes from its commit to this window, without trusting that two clocks agree.
 *
 * What a change took by both clocks is off by their difference. The quickest one seen took next to nothing
 * besides the way itself, which is half of the way there and back: what others took more is added to that.
 */
const SAMPLES = 32
const QUICKEST_OF = 256
/** A number older than this says nothing about now. */
const FRESH = 60_000

export class Latency {
  private took: number[] = []
  private way = Infinity
  private last = 0

  /** A change that was written at `published` by the database's clock and came at `now` by this one's; both in ms. */
  at(now: number, published: number): void {
    this.took.push(now - published)
    if (this.took.length > QUICKEST_OF) this.took.shift()
    this.last = now
  }

  /** A question and its answer took this many milliseconds. */
  round(milliseconds: number): void {
    this.way = Math.min(this.way, milliseconds / 2)
  }

  /** Another connection goes another way. */
  forget(): void {
    this.took = []
    this.way = Infinity
  }

  /** The median of the last ones, in milliseconds; null: not known, or no longer. */
  value(now: number): number | null {
    if (!this.took.length || this.way === Infinity || now - this.last > FRESH) return null
    const quickest = Math.min(...this.took)
    const recent = this.took.slice(-SAMPLES).sort((a, b) => a - b)
    return recent[recent.length >> 1]! - quickest + this.way
  }
}
