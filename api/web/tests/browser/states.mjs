// The states that the pictures show, and how one gets there. By data- attributes and order, not by words:
// these are in another language each time.
import { nodeName } from './window.mjs'

const COUNT = { timeout: 30_000 }

/** Tasks in every state, nodes in most. */
export async function prepare(world) {
  const { admin } = world
  const post = (body, path = '') => admin.page.evaluate(async ([path, body]) => {
    const answer = await fetch(`/api/v1/tasks${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(await answer.text())
    return answer.json()
  }, [path, body])
  const nodes = (from, to) => ({ names: Array.from({ length: to - from + 1 }, (_, i) => nodeName(from + i)) })
  const submit = async (action, from, to, params, more = {}) => (await post({ action, nodes: nodes(from, to), params, ...more })).id
  const until = async (id, test) => {
    for (;;) {
      const task = await (await admin.page.request.get(`${admin.origin}/api/v1/tasks/${id}`)).json()
      if (test(task)) return task
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const done = (id) => until(id, (task) => task.completed_at)

  const { conditions } = (await (await fetch(`${world.demo.sim}/api/v1/nodes/node-0007`)).json()).status
  for (const number of [7, 14]) {
    await world.sim('PATCH', `/sim/nodes/${nodeName(number)}`, { status: { conditions: conditions.map((c) => (c.type === 'Ready' ? { ...c, status: 'False', reason: 'KubeletNotReady', message: 'container runtime is down' } : c)) } })
  }
  await world.sim('POST', '/sim/workloads', { name: 'front', namespace: 'shop', kind: 'ReplicaSet', replicas: 9, nodes: [20, 21, 22].map(nodeName), labels: { app: 'front' } })
  await world.sim('POST', '/sim/budgets', { name: 'front', namespace: 'shop', labels: { app: 'front' }, min_available: 9 })
  await world.sim('POST', '/sim/workloads', { name: 'basket', namespace: 'shop', kind: 'ReplicaSet', replicas: 6, nodes: [30, 31].map(nodeName), labels: { app: 'basket' } })
  await world.sim('POST', '/sim/budgets', { name: 'basket', namespace: 'shop', labels: { app: 'basket' }, min_available: 6 })

  const known = {}
  known.completed = await submit('label', 1, 37, { set: { team: 'infra', 'example.com/cost-center': '4711' } }, { reason: 'new owners' })
  await done(known.completed)
  await done(await submit('taint', 2, 6, { set: [{ key: 'dedicated', value: 'gpu', effect: 'NoSchedule' }] }, { reason: 'GPU pool' }))
  await done(await submit('cordon', 9, 12, {}, { reason: 'disk swap, INC-2041' }))
  await done(await submit('annotate', 1, 3, { set: { 'example.com/runbook': 'https://wiki.example.com/nodes' } }))
  await world.sim('POST', '/sim/faults', { name: 'node-0003', resource: 'nodes', verbs: ['patch'], action: { status: { code: 403, message: 'admission webhook "labels.example.com" denied the request: the key team is managed elsewhere' } } })
    .catch(() => world.refuse('node-0003'))
  await world.refuse('node-0017')
  known.failed = await submit('label', 1, 37, { set: { team: 'platform' }, remove: ['example.com/cost-center'] }, { reason: 'handover' })
  await done(known.failed)
  await world.quick()
  known.cancelled = await submit('drain', 20, 22, { ignore_daemonsets: true, delete_emptydir_data: true }, { reason: 'kernel update', options: { concurrency: 1 } })
  await until(known.cancelled, (task) => task.counts.running > 0)
  await post(undefined, `/${known.cancelled}/cancel`)
  await done(known.cancelled)
  await world.slow(2000)
  known.paused = await submit('annotate', 40, 60, { set: { 'example.com/seen': 'yes' } }, { options: { concurrency: 2 } })
  await until(known.paused, (task) => task.counts.succeeded > 3)
  await post(undefined, `/${known.paused}/pause`)
  await until(known.paused, (task) => task.status === 'paused')
  await world.quick()
  // One that goes on for as long as pictures are taken.
  known.running = await submit('drain', 20, 24, { ignore_daemonsets: true, delete_emptydir_data: true }, { reason: 'kernel update' })
  await until(known.running, (task) => task.counts.running > 0)
  return known
}

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
