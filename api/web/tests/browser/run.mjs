// The main job in a browser, against a demo. Screenshots are kept in tests/browser/out.
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { launch, signIn, watch } from './browser.mjs'
import { PASSWORD, killContainer, sim, startDemo } from './demo.mjs'
import { measure } from './measure.mjs'

const out = new URL('./out/', import.meta.url).pathname
await mkdir(out, { recursive: true })
const WAIT = 30_000
const only = process.argv.slice(2)

const demo = await startDemo('--nodes', '60')
const [a, b] = demo.pods
const context = await launch({ locale: 'en-US' })
const page = context.pages()[0] ?? (await context.newPage())
page.setDefaultTimeout(WAIT)
// A refused request is in the console whatever a page does; refusals are what some steps are about.
const complaints = watch(page, a.url, (text) => /status of (401|422|409)/.test(text))
const panel = () => page.locator('[data-task]')
const drawer = page.locator('.operation')
const status = (word, where = page) => where.locator(`[data-task] [data-status="${word}"]`).first().waitFor({ timeout: WAIT })
const count = async (name, where = page) => Number(await where.locator(`[data-count="${name}"] b`).textContent({ timeout: 2000 }).catch(() => '0'))
const shot = (name) => page.screenshot({ path: `${out}${name}.png` })

async function select(from, to) {
  await page.goto(`${a.url}/nodes`)
  await page.locator('[role=row] .name').first().waitFor()
  for (let i = from; i <= to; i++) await page.getByLabel(`Select node-${String(i).padStart(4, '0')}`, { exact: true }).click()
}
async function begin(action) {
  await page.locator('[data-bar=selection]').getByRole('button', { name: action, exact: true }).click()
}
async function label(key, value) {
  await begin('Label')
  await drawer.getByLabel('key', { exact: true }).first().fill(key)
  await drawer.getByLabel('value', { exact: true }).first().fill(value)
  await drawer.getByText('will change', { exact: false }).first().waitFor()
  await drawer.getByRole('button', { name: 'Preview', exact: true }).click()
}
const start = () => drawer.getByRole('button', { name: 'Start', exact: true }).click()
const labelled = async (key) => {
  const answer = await page.request.get(`${a.url}/api/v1/clusters/default/nodes?label_selector=${key}`)
  return (await answer.json()).matched
}

const steps = {
  async 'a wrong password is refused, the right one opens the door'() {
    const loaded = []
    page.on('response', (response) => loaded.push(response))
    await page.goto(a.url)
    await page.locator('input[name=username]').fill('admin')
    await page.locator('input[name=password]').fill('wrong')
    await page.locator('button[type=submit]').click()
    await page.locator('[role=alert]').waitFor()
    await signIn(page, a.url, 'admin', PASSWORD)
    const sizes = await Promise.all(loaded.filter((r) => !r.url().includes('/api/')).map((r) => r.request().sizes().then((s) => Math.max(0, s.responseBodySize)).catch(() => 0)))
    page.removeAllListeners('response')
    const total = sizes.reduce((sum, size) => sum + size, 0)
    console.log(`    first load: ${Math.round(total / 1024)} KB as sent`)
    assert(total > 0 && total < 400 * 1024)
  },

  async 'ten nodes are labelled, one fails and is shown first, is retried, and all is taken back'() {
    await sim(demo, 'POST', '/sim/faults', { name: 'node-0003', resource: 'nodes', verbs: ['patch'], action: { status: { code: 403 } } })
    await select(1, 10)
    await page.getByText('10 of 60 selected').waitFor()
    await label('browser-test', 'one')
    await page.getByText('10 will change').waitFor()
    await shot('preview')
    await start()
    await status('failed')
    assert.deepEqual([await count('succeeded'), await count('failed')], [9, 1])
    const first = panel().locator('[role=listitem]').first()
    assert.equal(await first.getAttribute('data-node'), 'node-0003')
    assert.equal(await panel().locator('[role=listitem]').count(), 10)
    await shot('failure')
    const failed = new URL(page.url()).searchParams.get('task')
    await sim(demo, 'DELETE', '/sim/faults')
    await panel().getByRole('button', { name: /Retry 1 failed/ }).click()
    await page.waitForURL((url) => url.searchParams.get('task') !== failed)
    await status('completed')
    assert.equal(await count('succeeded'), 1)
    assert.equal(await labelled('browser-test'), 10)
    await page.goto(`${a.url}/tasks/${failed}`)
    await panel().getByRole('button', { name: /Revert/ }).click()
    await page.waitForURL((url) => url.searchParams.has('task'))
    await drawer.locator('[data-status=completed]').first().waitFor()
    assert.equal(await labelled('browser-test'), 1)
  },

  async 'what the API refuses is shown at the field'() {
    await select(1, 2)
    await begin('Label')
    await drawer.getByLabel('key', { exact: true }).first().fill('not a key')
    await drawer.getByText(/name part must consist of/).waitFor()
    assert(await drawer.getByRole('button', { name: 'Preview', exact: true }).isDisabled())
    await shot('refused')
  },

  async 'a session that ends in the middle is renewed without losing the drawer'() {
    await select(1, 3)
    await begin('Label')
    await drawer.getByLabel('key', { exact: true }).first().fill('kept')
    await context.clearCookies()
    await drawer.getByLabel('value', { exact: true }).first().fill('yes')
    await page.getByText('Your session has ended').waitFor()
    await shot('session-lost')
    await page.locator('input[name=password]').fill(PASSWORD)
    await page.locator('.door button[type=submit]').click()
    await page.getByText('Your session has ended').waitFor({ state: 'detached' })
    assert.equal(await drawer.getByLabel('key', { exact: true }).first().inputValue(), 'kept')
    await page.getByText('3 of 60 selected').waitFor()
  },

  async 'a drain needs its number typed, waits for a budget by name, and is cancelled'() {
    await sim(demo, 'POST', '/sim/workloads', { name: 'held', namespace: 'browser', kind: 'ReplicaSet', replicas: 2, nodes: ['node-0020'], labels: { app: 'held' } })
    await sim(demo, 'POST', '/sim/budgets', { name: 'held', namespace: 'browser', labels: { app: 'held' }, min_available: 2 })
    await select(20, 20)
    await begin('Drain')
    await drawer.locator('.el-switch', { has: page.getByLabel('Delete emptyDir data') }).click()
    await drawer.getByText(/1 will change/).waitFor()
    await drawer.getByRole('button', { name: 'Preview', exact: true }).click()
    await drawer.getByText('browser/held: allows 0 now').waitFor()
    const go = drawer.getByRole('button', { name: 'Start', exact: true })
    assert(await go.isDisabled())
    await shot('drain-preview')
    await page.locator('[data-confirm]').fill('1')
    await go.click()
    await panel().getByText(/waiting for budget browser\/held/).first().waitFor()
    await shot('drain-waiting')
    await panel().getByRole('button', { name: /Cancel task/ }).click()
    await status('cancelled')
    await shot('drain-cancelled')
  },

  async 'the relay dies in the middle: the page says so, resumes, and ends with exact counts'() {
    await sim(demo, 'POST', '/sim/faults', { resource: 'nodes', verbs: ['patch'], latency_ms: 700 })
    await select(1, 40)
    await begin('Label')
    await drawer.getByLabel('key', { exact: true }).first().fill('survives')
    await drawer.getByText('Options').click()
    await drawer.getByLabel('Nodes at a time').fill('4')
    await drawer.getByText(/40 will change/).waitFor()
    await drawer.getByRole('button', { name: 'Preview', exact: true }).click()
    await start()
    await status('running')
    await page.waitForFunction(() => Number(document.querySelector('[data-count=succeeded] b')?.textContent) >= 4)
    const second = await context.newPage()
    await second.goto(page.url().replace(a.url, b.url))
    await killContainer(demo, 'knm-relay', 'pod-a')
    await page.locator('[data-task] [data-state]:not([data-state=live])').waitFor()
    await shot('relay-killed')
    await page.locator('[data-task] [data-state=live]').waitFor()
    await panel().getByRole('button', { name: /Pause/ }).click()
    await status('paused')
    await panel().getByRole('button', { name: /Resume/ }).click()
    await status('completed')
    assert.equal(await count('succeeded'), 40)
    await status('completed', second)
    assert.equal(await count('succeeded', second), 40)
    await second.close()
    await sim(demo, 'DELETE', '/sim/faults')
    await page.reload()
    await status('completed')
    assert.equal(await count('succeeded'), 40)
    assert.equal(await labelled('survives'), 40)
  },

  async 'without any WebSocket the page reads and still ends'() {
    await sim(demo, 'POST', '/sim/faults', { resource: 'nodes', verbs: ['patch'], latency_ms: 900 })
    await page.routeWebSocket(/progress\/ws/, (socket) => socket.close())
    await select(1, 12)
    await label('polled', 'yes')
    await start()
    await page.locator('[data-task] [data-state=reading]').waitFor()
    await shot('polling')
    await status('completed')
    assert.equal(await count('succeeded'), 12)
    await sim(demo, 'DELETE', '/sim/faults')
    await page.unrouteAll()
  },

  async 'closing the drawer sends the task to the tray, and the tray brings it back'() {
    await page.goto(`${a.url}/nodes`)
    await page.locator('.tray').click()
    await page.locator('.list .line').first().click()
    await page.waitForURL(/task=/)
    await status('completed')
    await page.keyboard.press('Escape')
    await page.waitForURL((url) => !url.searchParams.has('task'))
  },

  async 'the language and the theme are switched, and stay'() {
    await page.getByLabel('Language').click()
    await page.getByRole('link', { name: '节点' }).waitFor()
    await page.getByLabel('浅色或深色').click()
    await page.reload()
    await page.getByRole('link', { name: '节点' }).waitFor()
    assert(await page.evaluate(() => document.documentElement.classList.contains('dark')))
    await shot('chinese-dark')
    await page.getByLabel('语言').click()
  },
}

let failed = 0
try {
  for (const [name, step] of Object.entries(steps)) {
    if (only.length && name !== Object.keys(steps)[0] && !only.some((word) => name.includes(word))) continue
    const began = Date.now()
    try {
      await step()
      console.log(`  ok ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
    } catch (error) {
      failed += 1
      await shot(`failed-${failed}`).catch(() => undefined)
      await sim(demo, 'DELETE', '/sim/faults').catch(() => undefined)
      await page.unrouteAll().catch(() => undefined)
      console.log(`  FAILED ${name}\n${error.stack ?? error}`)
    }
  }
  // Connections that a killed relay or this test has closed are in the console, too.
  const real = complaints.filter((text) => !/WebSocket connection to|ERR_|status of 50[234]/.test(text))
  if (real.length) {
    failed += 1
    console.log(`  FAILED without complaints in the console\n${real.join('\n')}`)
  }
} finally {
  await context.close()
  await demo.stop()
}
if (!only.length || only.includes('measure')) failed += await measure(out)
console.log(failed ? `${failed} failed` : 'All is well in the browser.')
process.exit(failed ? 1 : 0)
