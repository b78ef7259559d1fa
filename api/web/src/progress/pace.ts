/** How fast a task goes: ended nodes a second over the last half minute. */
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

  /** null: not known yet. */
  rate(now: number): number | null {
    const first = this.samples[0]
    const last = this.samples[this.samples.length - 1]
    if (!first || !last || last.ended === first.ended) return null
    const seconds = (now - first.at) / 1000
    return seconds > 0 ? (last.ended - first.ended) / seconds : null
  }
}
