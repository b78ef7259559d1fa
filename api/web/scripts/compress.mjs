// Beside each file of dist that gains by it, FILE.br and FILE.gz: the api serves them as they are.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

const dist = new URL('../dist', import.meta.url).pathname
const text = /\.(html|js|css|svg|json|txt)$/
const most = 0.9
const files = await readdir(dist, { recursive: true, withFileTypes: true })

for (const file of files.filter((f) => f.isFile() && text.test(f.name))) {
  const path = join(file.parentPath, file.name)
  const bytes = await readFile(path)
  const made = {
    br: await promisify(brotliCompress)(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    }),
    gz: await promisify(gzip)(bytes, { level: 9 }),
  }
  for (const [ending, packed] of Object.entries(made)) {
    if (packed.length < bytes.length * most) await writeFile(`${path}.${ending}`, packed)
  }
}
