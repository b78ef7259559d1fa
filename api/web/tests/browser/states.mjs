// The states that the pictures show, and how one gets there. By data- attributes and order, not by words:
// these are in another language each time.
import { nodeName } from './window.mjs'

const COUNT = { timeout: 30_000 }

const table = (admin) => admin.page.locator('[role=row] .name').first().waitFor()
const nodesPage = async ({ admin }, query = '') => {
  await admin.open(`/nodes${query}`)
  await table(admin)
}
const pick = async ({ admin }, from, to) => {
  await nodesPage({ admin })
  for (let i = from; i <= to; i++) await admin.page.locator('[role=row]', { hasText: nodeName(i) }).locator('input[type=checkbox]').click()
  await admin.bar.waitFor()
}
const form = async (world, action, from = 1, to = 6) => {
  await pick(world, from, to)
  await world.admin.bar.locator(`[data-action=${action}]`).click()
  await world.admin.drawer.locator('form').waitFor()
}
const checked = ({ admin }) => admin.drawer.locator('footer .el-button--primary:not(.is-disabled)').waitFor(COUNT)
const inputs = ({ admin }) => admin.drawer.locator('form input')
const task = async ({ admin }, id) => {
  await admin.open(`/nodes?task=${id}`)
  await admin.panel.locator('[role=listitem]').first().waitFor()
}
const problem = (status, detail) => ({ status, contentType: 'application/problem+json', body: JSON.stringify({ type: 'about:blank', title: 'Problem', status, code: 'x', detail, request_id: '01980000-0000-7000-8000-0000000000ab' }) })

export const states = {
  async 'sign-in'(world) {
    const { page } = world.admin
    await page.route('**/api/v1/auth/me', (route) => route.fulfill(problem(401, 'nobody is signed in')))
    await world.admin.open('/')
    await page.locator('input[name=username]').waitFor()
  },
  async 'sign-in-refused'(world) {
    await states['sign-in'](world)
    const { page } = world.admin
    await page.locator('input[name=username]').fill('admin')
    await page.locator('input[name=password]').fill('wrong')
    await page.locator('button[type=submit]').click()
    await page.locator('[role=alert]').waitFor()
  },
  async unreachable(world) {
    await world.admin.page.route('**/api/v1/meta', (route) => route.abort())
    await world.admin.open('/')
    await world.admin.page.locator('[role=alert]').waitFor()
  },
  'nodes': (world) => nodesPage(world),
  async 'nodes-selected'(world) {
    await pick(world, 1, 6)
    await world.admin.page.locator('.filters input').first().fill('zone-b')
    await world.admin.page.waitForFunction(() => Number(document.querySelector('[data-shown]').dataset.shown) < 200)
  },
  'nodes-bad-selector': (world) => nodesPage(world, '?selector=zone+in+(a&cordoned=1'),
  'nodes-none-match': (world) => world.admin.open('/nodes?q=nothing-like-it').then(() => world.admin.page.locator('.empty h2').waitFor()),
  async 'nodes-columns'(world) {
    await nodesPage(world)
    await world.admin.page.locator('[data-columns]').click()
  },
  async 'nodes-completion'(world) {
    await nodesPage(world)
    await world.admin.page.locator('.selector input').click()
    await world.admin.page.locator('.el-autocomplete-suggestion li').first().waitFor()
  },
  async 'nodes-open'(world) {
    await nodesPage(world, '?node=node-0009')
    await world.admin.page.locator('.condition').first().waitFor()
  },
  async 'node-history'(world) {
    await nodesPage(world, '?node=node-0003')
    const entry = world.admin.page.locator('.entry').last()
    await entry.waitFor()
    await entry.scrollIntoViewIfNeeded()
  },
  async 'no-cluster'(world) {
    await world.admin.page.route('**/api/v1/clusters', (route) => route.fulfill({ json: { clusters: [] } }))
    await world.admin.open('/nodes')
    await world.admin.page.locator('.note h2').waitFor()
  },
  async 'cluster-stale'(world) {
    await world.admin.page.route('**/api/v1/clusters', (route) => route.fulfill({ json: { clusters: [
      { name: 'default', default: true, state: 'stale', nodes: 200, error: 'dial tcp 10.0.0.1:6443: connect: connection refused' }, { name: 'staging-eu-west-1', default: false, state: 'live', nodes: 31 },
    ] } }))
    await nodesPage(world)
    await world.admin.page.locator('.switcher').click()
    await world.admin.page.locator('.el-select-dropdown__item').first().waitFor()
  },
  async 'cluster-missing'(world) {
    await world.admin.open('/nodes?cluster=prod-west')
    await world.admin.page.locator('[data-missing]').waitFor()
  },
  clusters: (world) => world.admin.open('/clusters').then(() => world.admin.page.locator('[role=row] .name').first().waitFor()),
  async 'clusters-new'(world) {
    await states.clusters(world)
    await world.admin.page.locator('[data-new]').click()
    await world.admin.page.locator('.el-drawer form').first().waitFor()
  },
  async 'clusters-open'(world) {
    await states.clusters(world)
    await world.admin.page.locator('[role=row] .name').first().click()
    await world.admin.page.locator('.el-drawer form').first().waitFor()
  },
  async frozen(world) {
    await world.admin.page.route('**/api/v1/clusters', async (route) => {
      const { clusters } = await (await route.fetch()).json()
      const freeze = { cluster: 'default', reason: 'network maintenance, CHG-311', username: 'ada', since: '2026-01-02T03:04:05Z' }
      await route.fulfill({ json: { clusters: clusters.map((cluster) => ({ ...cluster, freezes: [freeze] })) } })
    })
    await nodesPage(world)
    await world.admin.page.locator('[data-freeze]').waitFor()
  },
  async offline(world, known) {
    await task(world, known.paused)
    await world.admin.page.routeWebSocket(/progress\/ws/, (socket) => socket.close())
    await world.admin.page.reload()
    await world.admin.panel.locator('[role=listitem]').first().waitFor()
    await world.admin.page.route('**/api/v1/**', (route) => route.abort())
    await world.admin.page.locator('header [data-state=offline]').waitFor()
  },
  'label-empty': (world) => form(world, 'label'),
  async label(world) {
    await form(world, 'label')
    await inputs(world).nth(0).fill('example.com/cost-center')
    await inputs(world).nth(1).fill('4712')
    await world.admin.page.keyboard.press('Tab')
    await world.admin.drawer.locator('[data-options]').click()
    await checked(world)
  },
  async 'label-refused'(world) {
    await form(world, 'label')
    await inputs(world).nth(0).fill('not a key')
    await world.admin.page.keyboard.press('Tab')
    await world.admin.drawer.locator('.fault').first().waitFor()
  },
  async annotate(world) {
    await form(world, 'annotate')
    await inputs(world).nth(0).fill('example.com/runbook')
    await world.admin.page.locator('.el-autocomplete-suggestion li').first().waitFor()
  },
  async taint(world) {
    await form(world, 'taint')
    await inputs(world).nth(0).fill('dedicated')
    await inputs(world).nth(1).fill('gpu')
    await world.admin.page.keyboard.press('Tab')
    await checked(world)
  },
  'cordon': (world) => form(world, 'cordon').then(() => checked(world)),
  'uncordon': (world) => form(world, 'uncordon', 9, 12).then(() => checked(world)),
  async drain(world) {
    await form(world, 'drain', 30, 33)
    await world.admin.drawer.locator('.el-switch').nth(1).click()
    await world.admin.drawer.locator('[data-options]').click()
    await checked(world)
  },
  async preview(world) {
    await form(world, 'label')
    await inputs(world).nth(0).fill('team')
    await inputs(world).nth(1).fill('platform')
    await checked(world)
    await world.admin.drawer.locator('footer .el-button--primary').click()
    await world.admin.drawer.locator('.nodes .node').first().waitFor()
  },
  async 'drain-preview'(world) {
    await form(world, 'drain', 30, 35)
    await world.admin.drawer.locator('.el-switch').nth(1).click()
    await checked(world)
    await world.admin.drawer.locator('footer .el-button--primary').click()
    await world.admin.page.locator('[data-confirm]').waitFor()
  },
  async 'no-execute'(world) {
    await form(world, 'taint', 30, 35)
    await inputs(world).nth(0).fill('evacuate')
    await world.admin.page.keyboard.press('Tab')
    await world.admin.drawer.locator('.effect').click()
    await world.admin.page.locator('.el-select-dropdown__item:visible').last().click()
    await checked(world)
    await world.admin.drawer.locator('footer .el-button--primary').click()
    await world.admin.page.locator('[data-confirm]').waitFor()
  },
  async 'retry-drain'(world, known) {
    await task(world, known.cancelled)
    await world.admin.panel.locator('.el-button--primary').click()
    await world.admin.page.locator('[data-confirm]').waitFor()
  },
  async 'preview-forbidden'(world) {
    await world.admin.page.route('**/api/v1/tasks', (route) => (route.request().method() === 'POST' ? route.fulfill(problem(403, 'label needs the role operator; mia is viewer')) : route.fallback()))
    await states.preview(world)
    await world.admin.drawer.locator('footer .el-button--primary').click()
    await world.admin.drawer.locator('[role=alert]').waitFor()
  },
  'running': (world, known) => task(world, known.running),
  'paused': (world, known) => task(world, known.paused),
  'failure': (world, known) => task(world, known.failed),
  async 'failure-whole'(world, known) {
    await task(world, known.failed)
    await world.admin.panel.locator('[data-status=failed] button').first().click()
  },
  'completed': (world, known) => task(world, known.completed),
  'cancelled': (world, known) => task(world, known.cancelled),
  async tray(world) {
    await nodesPage(world)
    await world.admin.page.locator('.tray').click()
    await world.admin.page.locator('.list .line').first().waitFor()
  },
  async 'user-menu'(world) {
    await nodesPage(world)
    await world.admin.page.locator('.who').click()
  },
  'tasks': (world) => world.admin.open('/tasks').then(() => world.admin.page.locator('[role=row] a').first().waitFor()),
  'tasks-none': (world) => world.admin.open('/tasks?status=queued').then(() => world.admin.page.locator('.empty h2').waitFor()),
  'task': (world, known) => world.admin.open(`/tasks/${known.failed}`).then(() => world.admin.panel.locator('[role=listitem]').first().waitFor()),
  'task-running': (world, known) => world.admin.open(`/tasks/${known.running}`).then(() => world.admin.panel.locator('[role=listitem]').first().waitFor()),
  'task-gone': (world) => world.admin.open('/tasks/01980000-0000-7000-8000-000000000000').then(() => world.admin.page.locator('[role=alert]').waitFor()),
  async account(world) {
    await world.admin.page.evaluate(async () => {
      const { tokens } = await (await fetch('/api/v1/auth/tokens')).json()
      const make = (body) => fetch('/api/v1/auth/tokens', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
      if (!tokens.length) for (const [name, role, days] of [['nightly labels', 'operator', 90], ['grafana', 'viewer', 366]]) await make({ name, role, expires_in_days: days })
    })
    await world.admin.open('/account')
    await world.admin.page.locator('[role=row] button').first().waitFor()
    await world.admin.page.locator('[data-new]').click()
  },
  users: (world) => world.admin.open('/users').then(() => world.admin.page.locator('[role=row] .name').first().waitFor()),
  async 'users-new'(world) {
    await states.users(world)
    await world.admin.page.locator('[data-new]').click()
    await world.admin.page.locator('.el-drawer .el-switch').click()
  },
  async 'users-edit'(world) {
    await states.users(world)
    await world.admin.page.locator('[role=row] .name').last().click()
    await world.admin.page.locator('.el-drawer form').waitFor()
  },
  async audit(world) {
    await world.admin.open('/audit')
    await world.admin.page.locator('[role=row] button').nth(1).click()
  },
  async 'session-lost'(world) {
    await form(world, 'label')
    await world.admin.page.route('**/api/v1/tasks/preview', (route) => route.fulfill(problem(401, 'the session has ended')))
    await inputs(world).nth(0).fill('kept')
    await world.admin.page.locator('.door').waitFor()
  },
  async narrow(world) {
    await world.admin.page.setViewportSize({ width: 1024, height: 700 })
    await pick(world, 1, 4)
  },
  async 'narrow-form'(world) {
    await world.admin.page.setViewportSize({ width: 640, height: 860 })
    await states.drain(world)
  },
}
