/**
 * Label selectors as kubectl takes them, for filtering what is on the screen without asking anybody.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
 */
export type Test = (labels: Record<string, string>) => boolean

export class SelectorFault extends Error {}

const KEY = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/

/** Commas outside parentheses. */
function parts(text: string): string[] {
  const found: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (text[i] === ',' && depth === 0) {
      found.push(text.slice(start, i))
      start = i + 1
    }
  }
  found.push(text.slice(start))
  return found.map((part) => part.trim())
}

function key(text: string): string {
  if (!KEY.test(text)) throw new SelectorFault(`${JSON.stringify(text)} is not a label key`)
  return text
}

function value(text: string): string {
  if (!VALUE.test(text)) throw new SelectorFault(`${JSON.stringify(text)} is not a label value`)
  return text
}

function requirement(text: string): Test {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(text)
  if (set) {
    const [name, wanted] = [key(set[1]!), new Set(set[3]!.split(',').map((v) => value(v.trim())))]
    if (set[2] === 'in') return (labels) => name in labels && wanted.has(labels[name]!)
    return (labels) => !(name in labels) || !wanted.has(labels[name]!)
  }
  const equal = /^([^=!\s]+)\s*(==|=|!=)\s*(\S*)$/.exec(text)
  if (equal) {
    const [name, wanted] = [key(equal[1]!), value(equal[3]!)]
    if (equal[2] === '!=') return (labels) => labels[name] !== wanted
    return (labels) => labels[name] === wanted
  }
  if (text.startsWith('!')) {
    const name = key(text.slice(1).trim())
    return (labels) => !(name in labels)
  }
  const name = key(text)
  return (labels) => name in labels
}

export function parseSelector(text: string): Test {
  if (!text.trim()) return () => true
  const tests = parts(text).map(requirement)
  return (labels) => tests.every((test) => test(labels))
}
