// Writes src/api/schema.ts from the OpenAPI document that the API's own snapshot test holds to the code.
// With --check it writes nothing and fails when the file is not current.
import { readFile, writeFile } from 'node:fs/promises'
import openapiTS, { astToString } from 'openapi-typescript'

const snapshot = new URL('../../tests/server/snapshots/server__description__openapi.snap', import.meta.url)
const target = new URL('../src/api/schema.ts', import.meta.url)
const header = '// Made by `npm run types` from the OpenAPI document. Do not edit.\n\n'

const text = await readFile(snapshot, 'utf8')
const document = JSON.parse(text.slice(text.indexOf('\n---\n') + 5))
for (const path of Object.values(document.paths)) {
  // Not unique, and not needed: paths name operations.
  for (const operation of Object.values(path)) delete operation.operationId
}
const made = header + astToString(await openapiTS(document, { alphabetize: true }))
const present = await readFile(target, 'utf8').catch(() => '')
if (made === present) {
  console.log('src/api/schema.ts is current.')
} else if (process.argv.includes('--check')) {
  console.error('src/api/schema.ts is not current: run `npm run types` and commit it.')
  process.exit(1)
} else {
  await writeFile(target, made)
  console.log('src/api/schema.ts was written.')
}
