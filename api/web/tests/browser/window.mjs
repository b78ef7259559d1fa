// A window of somebody who is signed in: what they can do on the page, in their words.
import { watch } from './browser.mjs'

export const WAIT = 30_000

export class Window {
  /** Complaints of the page that a step is about. */
  expected = []
  /** Whoever comes without a session is told so. */
  static ALWAYS = [/status of 401/]

  constructor(page, origin, out) {
    this.page = page
    this.origin = origin
    this.out = out
    page.setDefaultTimeout(WAIT)
    this.complaints = watch(page, origin, (text) => [...Window.ALWAYS, ...this.expected].some((pattern) => pattern.test(text)))
  }

  get drawer() { return this.page.locator('.operation') }
  get panel() { return this.page.locator('[data-task]') }
  get bar() { return this.page.locator('[data-bar=selection]') }
  get url() { return new URL(this.page.url()) }

  async open(path) {
    await this.page.goto(this.origin + path)
  }

  async signIn(user, password) {
    await this.open('/')
    await this.page.locator('input[name=username]').fill(user)
    await this.page.locator('input[name=password]').fill(password)
    await this.page.locator('button[type=submit]').click()
    await this.page.locator('[role=table]').waitFor()
  }

  /** Opens the nodes and ticks those from one number to another. */
  async select(from, to) {
    await this.open('/nodes')
    await this.page.locator('[role=row] .name').first().waitFor()
    for (let i = from; i <= to; i++) await this.tick(i)
  }

  async tick(number) {
    await this.page.getByLabel(`Select ${nodeName(number)}`, { exact: true }).click()
  }

  async begin(action) {
    await this.bar.getByRole('button', { name: action, exact: true }).click()
  }

  field(label) {
    return this.drawer.getByLabel(label, { exact: true }).first()
  }

  async setPair(key, value) {
    await this.field('key').fill(key)
    await this.field('value').fill(value)
  }

  /** Chooses from a list that opens: its input lies under what it shows. */
  async choose(label, option, where = this.page) {
    await where.locator('.el-select', { has: this.page.getByLabel(label, { exact: true }) }).first().click()
    await this.page.getByRole('option', { name: option, exact: true }).click()
  }

  /** Turns a switch of the form. */
  async turn(label) {
    await this.drawer.locator('.el-switch', { has: this.page.getByLabel(label, { exact: true }) }).click()
  }

  /** Goes on to the preview once the API has said what it would come to. */
  async preview(sum) {
    await this.drawer.getByText(sum).first().waitFor()
    await this.drawer.getByRole('button', { name: 'Preview', exact: true }).click()
  }

  get start() { return this.drawer.getByRole('button', { name: 'Start', exact: true }) }

  /** The same, one node after the other: with `World.slow` there is time to look. */
  async labelInTurn(key, nodes) {
    await this.begin('Label')
    await this.field('key').fill(key)
    await this.drawer.getByText('Options').click()
    await this.field('Nodes at a time').fill('1')
    await this.preview(`${nodes} will change`)
    await this.start.click()
    await this.status('running')
  }

  /** The label job from the selection to the running task. */
  async label(key, value, nodes) {
    await this.begin('Label')
    await this.setPair(key, value)
    await this.preview(`${nodes} will change`)
    await this.start.click()
  }

  async status(word) {
    await this.page.locator(`[data-task] .status[data-status="${word}"]`).first().waitFor()
  }

  /** How the task ended, whichever way. */
  async count(name) {
    return Number(await this.page.locator(`[data-count="${name}"] b`).textContent({ timeout: 2000 }).catch(() => '0'))
  }

  async until(name, least) {
    await this.page.waitForFunction(([count, wanted]) => Number(document.querySelector(`[data-count="${count}"] b`)?.textContent) >= wanted, [name, least])
  }

  /** Waits until the drawer shows another task than this one. */
  async otherTask(id) {
    await this.page.waitForURL((url) => url.searchParams.has('task') && url.searchParams.get('task') !== id)
  }

  /** How many nodes a label selector finds, by the API. */
  async matched(selector) {
    const answer = await this.page.request.get(`${this.origin}/api/v1/clusters/default/nodes?label_selector=${encodeURIComponent(selector)}`)
    return (await answer.json()).matched
  }

  async node(number) {
    const answer = await this.page.request.get(`${this.origin}/api/v1/clusters/default/nodes/${nodeName(number)}`)
    return (await answer.json()).node
  }

  shot(name) {
    return this.page.screenshot({ path: `${this.out}${name}.png` })
  }
}

export const nodeName = (number) => `node-${String(number).padStart(4, '0')}`
