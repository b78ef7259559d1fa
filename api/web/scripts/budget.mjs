// What a first visit loads, compressed, against the budget: the page, and whatever it names.
import { readFile, stat } from 'node:fs/promises'

const budget = 400 * 1024
const dist = new URL('../dist/', import.meta.url)
const page = await readFile(new URL('index.html', dist), 'utf8')
const named = [...page.matchAll(/(?:src|href)="\/([^"]+\.(?:js|css|svg))"/g)].map((m) => m[1])
let total = 0
for (const name of ['index.html', ...named]) {
  const packed = await stat(new URL(`${name}.gz`, dist)).catch(() => stat(new URL(name, dist)))
  total += packed.size
  console.log(`${String(Math.ceil(packed.size / 1024)).padStart(6)} KB  ${name}`)
}
// Pages are loaded when they are opened; the nodes page is opened first.
console.log(`${String(Math.ceil(total / 1024)).padStart(6)} KB  gzip, of ${budget / 1024} KB`)
if (/<script(?![^>]*\ssrc=)/.test(page)) {
  console.error('index.html has an inline script: the content security policy forbids it')
  process.exit(1)
}
if (total > budget) {
  console.error('The first load is over its budget.')
  process.exit(1)
}
