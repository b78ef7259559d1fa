/** What differs between the keys before and after, as lines of a diff: + added, ~ changed, − removed. */
export interface Change {
  kind: 'added' | 'changed' | 'removed'
  key: string
  text: string
}

type Keys = Record<string, unknown> | null | undefined

function word(value: unknown): string {
  if (value === null || value === undefined) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export function changesOf(before: Keys, after: Keys): Change[] {
  const keys = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].sort()
  return keys.flatMap((key): Change[] => {
    const [was, is] = [before?.[key] ?? null, after?.[key] ?? null]
    const [from, to] = [word(was), word(is)]
    if (from === to && (was === null) === (is === null)) return []
    if (was === null) return [{ kind: 'added', key, text: to ? `+ ${key}=${to}` : `+ ${key}` }]
    if (is === null) return [{ kind: 'removed', key, text: from ? `− ${key}=${from}` : `− ${key}` }]
    return [{ kind: 'changed', key, text: `~ ${key} ${from} → ${to}` }]
  })
}
