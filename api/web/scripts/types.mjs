// Writes the types that others decide on: src/api/schema.ts from the OpenAPI document, src/progress/protocol.ts
// from the relay's JSON Schemas. Tests of the programs hold both sources to the code.
// With --check it writes nothing and fails when a file is not current.
import { readFile, writeFile } from 'node:fs/promises'
import openapiTS, { astToString } from 'openapi-typescript'

const at = (path) => new URL(path, import.meta.url)
const json = async (path) => JSON.parse(await readFile(at(path), 'utf8'))

async function openapi() {
  const text = await readFile(at('../../tests/server/snapshots/server__description__openapi.snap'), 'utf8')
  const document = JSON.parse(text.slice(text.indexOf('\n---\n') + 5))
  for (const path of Object.values(document.paths)) {
    // Not unique, and not needed: paths name operations.
    for (const operation of Object.values(path)) delete operation.operationId
  }
  return document
}

/** JSON Schema as a part of an OpenAPI document. */
function adapted(schema) {
  if (Array.isArray(schema)) return schema.map(adapted)
  if (typeof schema !== 'object' || schema === null) return schema
  const { $ref, $defs: _defs, $schema: _dialect, ...rest } = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, adapted(value)]))
  if ($ref === undefined) return rest
  const reference = { $ref: $ref.replace('#/$defs/', '#/components/schemas/') }
  // Beside a reference only words are safe: what says more is another part of the whole.
  return rest.properties ? { allOf: [reference, rest] } : { ...rest, ...reference }
}

async function protocol() {
  const sources = await Promise.all(['server', 'client'].map((side) => json(`../../../relay/protocol/${side}.schema.json`)))
  const schemas = Object.assign({}, ...sources.map((source) => ({ ...source.$defs, [source.title]: source })))
  return { openapi: '3.1.0', info: { title: 'relay', version: '1' }, paths: {}, components: { schemas: adapted(schemas) } }
}

const files = [
  { target: '../src/api/schema.ts', from: 'the OpenAPI document', document: await openapi() },
  { target: '../src/progress/protocol.ts', from: "the relay's JSON Schemas", document: await protocol() },
]
let stale = false
for (const { target, from, document } of files) {
  const made = `// Made by \`npm run types\` from ${from}. Do not edit.\n\n${astToString(await openapiTS(document, { alphabetize: true }))}`
  const name = target.slice(3)
  if (made === (await readFile(at(target), 'utf8').catch(() => ''))) {
    console.log(`${name} is current.`)
  } else if (process.argv.includes('--check')) {
    console.error(`${name} is not current: run \`npm run types\` and commit it.`)
    stale = true
  } else {
    await writeFile(at(target), made)
    console.log(`${name} was written.`)
  }
}
process.exit(stale ? 1 : 0)
