/** How many chips a cell has room for, without cutting any but the first. */

/** Of the monospace face at 12 px; a chip's padding and the gap after it; what "+12" takes. */
const [LETTER, AROUND, REST] = [7.3, 16, 32]

/** From the first on, whole ones; at least one. `room` in pixels; without it, three. */
export function fitting(texts: readonly string[], room: number | undefined): string[] {
  if (room === undefined) return texts.slice(0, 3)
  let left = room - REST
  let count = 0
  for (const text of texts) {
    left -= text.length * LETTER + AROUND
    if (left < 0 && count > 0) break
    count += 1
  }
  return texts.slice(0, count)
}
