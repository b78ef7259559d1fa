/** Completes the requirement of a selector that is being typed: keys, then the values of a key. */

/** Whole texts to choose from. */
export function completions(text: string, keys: readonly string[], values: (key: string) => readonly string[], most = 50): string[] {
  const start = lastRequirement(text)
  const part = text.slice(start).trimStart()
  const before = text.slice(0, text.length - part.length)
  const set = /^(\S+)\s+(?:in|notin)\s*\((?:[^()]*,)?\s*([^(),]*)$/.exec(part)
  const equal = /^([^=!\s]+)\s*(?:==|=|!=)\s*(\S*)$/.exec(part)
  const [, key, typed] = set ?? equal ?? []
  if (key !== undefined && typed !== undefined) {
    const kept = before + part.slice(0, part.length - typed.length)
    return values(key).filter((value) => value.startsWith(typed)).slice(0, most).map((value) => kept + value)
  }
  // Inside of parentheses, or after them, no key can come.
  if (/[\s(=]/.test(part.replace(/^!\s*/, ''))) return []
  const [not = ''] = /^!\s*/.exec(part) ?? []
  return keys.filter((name) => name.includes(part.slice(not.length))).slice(0, most).map((name) => before + not + name)
}

/** After the last comma that is in no parentheses. */
function lastRequirement(text: string): number {
  let [at, depth] = [0, 0]
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (text[i] === ',' && depth <= 0) at = i + 1
  }
  return at
}
