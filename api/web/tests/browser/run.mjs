// The web UI in a browser, against a demo of its own. Screenshots are kept in tests/browser/out.
//
//   node tests/browser/run.mjs             everything
//   node tests/browser/run.mjs WORD...     steps whose names contain one of the words; "measure": five thousand nodes
import { mkdir } from 'node:fs/promises'
import { PASSWORD } from './demo.mjs'
import { measure } from './measure.mjs'
import access from './steps/access.mjs'
import door from './steps/door.mjs'
import faults from './steps/faults.mjs'
import look from './steps/look.mjs'
import nodes from './steps/nodes.mjs'
import operations from './steps/operations.mjs'
import roles from './steps/roles.mjs'
import { World } from './world.mjs'

const out = new URL('./out/', import.meta.url).pathname
const only = process.argv.slice(2)
const steps = Object.entries({ ...door, ...operations, ...nodes, ...roles, ...access, ...faults, ...look })
const wanted = steps.filter(([name]) => !only.length || only.some((word) => name.includes(word)))
await mkdir(out, { recursive: true })

let failed = 0
async function play(name, job) {
  const began = Date.now()
  try {
    await job()
    console.log(`  ok ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failed += 1
    console.log(`  FAILED ${name}\n${error.stack ?? error}`)
    return false
  }
  return true
}

if (wanted.length) {
  const world = await World.start(out, '--nodes', '60')
  try {
    if (wanted[0][0] !== Object.keys(door)[0]) await world.admin.signIn('admin', PASSWORD)
    for (const [name, step] of wanted) {
      const well = await play(name, () => step(world))
      if (!well) for (const [i, window] of world.windows.entries()) await window.shot(`failed-${failed}-${i}`).catch(() => undefined)
      await world.calm()
    }
    await play('nothing else was complained about in any console', () => {
      if (world.complaints.length) throw new Error(world.complaints.join('\n'))
    })
  } finally {
    await world.stop()
  }
}
if (!only.length || only.includes('measure')) await play('five thousand nodes', () => measure(out))
console.log(failed ? `${failed} failed` : 'All is well in the browser.')
process.exit(failed ? 1 : 0)
