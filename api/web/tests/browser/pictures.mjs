// Pictures of every page and state, in both languages and both themes, to be looked at: tests/browser/out/pictures.
// With each goes the audit: words that are cut, text that does not stand out.
//
//   npm run pictures                 all
//   npm run pictures -- zh-dark      one of en-light, en-dark, zh-light, zh-dark
//   npm run pictures -- drain        states whose names contain the word
//   npm run pictures -- --readme     those in docs
import { mkdir, writeFile } from 'node:fs/promises'
import { audit } from './audit.mjs'
import { PASSWORD } from './demo.mjs'
import { prepare } from './prepare.mjs'
import { states } from './states.mjs'
import { World } from './world.mjs'

const LOOKS = ['en-light', 'en-dark', 'zh-light', 'zh-dark']
/** State and look of each picture in the README files. */
const README = { 'nodes-selected': 'en-light', preview: 'en-light', failure: 'en-dark', 'nodes-open': 'zh-dark', 'drain-preview': 'zh-light', running: 'en-light', tasks: 'en-light' }
const QUALITY = 78

const words = process.argv.slice(2).filter((word) => !word.startsWith('--'))
const readme = process.argv.includes('--readme')
const out = new URL('./out/pictures/', import.meta.url).pathname
const docs = new URL('../../docs/', import.meta.url).pathname
await mkdir(out, { recursive: true })
await mkdir(docs, { recursive: true })

const looks = words.filter((word) => LOOKS.includes(word))
const names = words.filter((word) => !LOOKS.includes(word))
const wanted = Object.entries(states).filter(([name]) => (readme ? name in README : !names.length || names.some((word) => name.includes(word))))

let faults = 0
const world = await World.start(out, '--nodes', '200')
try {
  const { admin } = world
  await admin.signIn('admin', PASSWORD)
  const known = await prepare(world)
  const recorder = await admin.page.context().newCDPSession(admin.page)
  for (const look of readme ? LOOKS : looks.length ? looks : LOOKS) {
    const [language, theme] = look.split('-')
    const mine = wanted.filter(([name]) => !readme || README[name] === look)
    for (const [name, state] of mine) {
      await admin.page.evaluate(([language, theme]) => {
        localStorage.setItem('knm.language', language)
        localStorage.setItem('knm.theme', theme)
      }, [language, theme])
      await admin.page.setViewportSize({ width: 1440, height: 860 })
      await state(world, known)
      await admin.page.mouse.move(700, 855)
      await admin.page.waitForTimeout(250)
      for (const fault of await audit(admin.page)) {
        faults += 1
        console.log(`  ${look} ${name}: ${fault}`)
      }
      await admin.shot(`${name}.${look}`)
      if (readme) {
        const { data } = await recorder.send('Page.captureScreenshot', { format: 'webp', quality: QUALITY })
        await writeFile(`${docs}${name}.webp`, Buffer.from(data, 'base64'))
      }
      await world.admin.page.unrouteAll({ behavior: 'ignoreErrors' })
    }
    console.log(`${look}: ${mine.length} pictures`)
  }
} finally {
  await world.stop()
}
console.log(faults ? `${faults} faults` : 'Nothing is cut, everything can be read.')
process.exit(faults ? 1 : 0)
