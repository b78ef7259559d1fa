/** A task's id as the API and the relay write it: others would take it for another one, or for no message at all. */
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/

/** null: no task has such an id. */
export function taskIdOf(text: string): string | null {
  const id = text.trim().toLowerCase()
  return UUID.test(id) ? id : null
}
