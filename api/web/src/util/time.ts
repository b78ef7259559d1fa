/** Times as people read them: in their zone, to the precision that matters. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const two = (n: number) => String(n).padStart(2, '0')
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${two(m)}:${two(s)}`
}

/** How long something took that is over. */
export function duration(milliseconds: number): string {
  return milliseconds < 10_000 ? `${(Math.max(0, milliseconds) / 1000).toFixed(1)} s` : clock(milliseconds)
}

/** An age as kubectl writes it: 41d, 5h, 12m, 30s. */
export function age(from: string | null | undefined, now: number): string {
  if (!from) return ''
  const seconds = Math.max(0, Math.floor((now - Date.parse(from)) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 120 * 60) return `${Math.floor(seconds / 60)}m`
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

export function local(time: string | null | undefined): string {
  if (!time) return ''
  const date = new Date(time)
  const two = (n: number) => String(n).padStart(2, '0')
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
}

export function day(time: string | null | undefined): string {
  return local(time).slice(0, 10)
}

/** For a tooltip: the same moment where everybody agrees on it. */
export function utc(time: string | null | undefined): string {
  return time ? new Date(time).toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC') : ''
}
