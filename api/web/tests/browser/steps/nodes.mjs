// The table: what is shown, what is selected, what changes by itself.
import assert from 'node:assert/strict'

const shown = (window) => window.page.locator('[data-shown]').getAttribute('data-shown')
const shows = (window, number) => window.page.locator(`[data-shown="${number}"]`).waitFor()

export default {
  async 'a selection survives every filter, and a view its URL'(world) {
    const { admin } = world
    await admin.select(1, 5)
    await admin.page.getByLabel('name, IP or label').fill('node-000')
    await shows(admin, 9)
    await admin.page.getByText('5 of 60 selected').waitFor()
    await admin.page.getByLabel('name, IP or label').fill('node-004')
    await admin.page.getByText('5 not shown by the filter').waitFor()
    await admin.page.getByRole('button', { name: 'Select all 10 that match' }).click()
    await admin.page.getByText('15 of 60 selected').waitFor()
    await admin.page.getByLabel('selector, as kubectl -l').fill('topology.kubernetes.io/zone in (zone-a')
    await admin.page.getByText(/Not a label selector/).waitFor()
    assert.equal(await shown(admin), '10')
    await admin.page.getByLabel('selector, as kubectl -l').fill('topology.kubernetes.io/zone in (zone-a)')
    await admin.page.getByText(/Not a label selector/).waitFor({ state: 'detached' })
    await admin.page.waitForFunction(() => Number(document.querySelector('[data-shown]').dataset.shown) < 10)
    await admin.page.waitForURL((url) => url.searchParams.get('selector')?.endsWith('(zone-a)'))
    const [view, count] = [admin.page.url(), await shown(admin)]
    const second = await world.second(admin, 1)
    await second.page.goto(view.replace(admin.origin, second.origin))
    await shows(second, count)
    await second.page.close()
    await admin.page.getByLabel('Clear filters').click()
    await shows(admin, 60)
    await admin.page.getByText('15 of 60 selected').waitFor()
    await admin.page.getByLabel('Clear selection').click()
    await admin.bar.waitFor({ state: 'detached' })
  },

  async 'a link to a cluster that is not there shows no other, and the switcher leads to each'(world) {
    const { admin } = world
    const { page } = admin
    admin.expected = [/ERR_FAILED/]
    await page.route('**/api/v1/clusters', async (route) => {
      const { clusters } = await (await route.fetch()).json()
      await route.fulfill({ json: { clusters: [...clusters, { ...clusters[0], name: 'west', default: false, nodes: 1 }] } })
    })
    await page.route('**/api/v1/clusters/west/nodes/events', (route) => route.abort())
    await page.route('**/api/v1/clusters/west/nodes?*', async (route) => {
      const node = await admin.node(3)
      await route.fulfill({ json: { nodes: [{ ...node, name: 'west-0001' }], matched: 1, total: 1 } })
    })
    await admin.open('/nodes?cluster=prod-west&q=node-00')
    const note = page.locator('[data-missing]')
    await note.getByText('There is no cluster prod-west').waitFor()
    assert.equal(await page.locator('[role=table]').count(), 0)
    await admin.shot('cluster-missing')
    await note.getByRole('button', { name: 'west', exact: true }).click()
    await page.getByLabel('Select west-0001').waitFor()
    assert.equal(admin.url.searchParams.get('cluster'), 'west')
    // The way elsewhere and back stays in that cluster.
    await page.getByRole('link', { name: 'Tasks' }).click()
    await page.getByRole('link', { name: 'Nodes' }).click()
    await page.getByLabel('Select west-0001').waitFor()
    await page.locator('.switcher').click()
    await page.getByRole('option', { name: /default/ }).click()
    await shows(admin, 60)
    assert.equal(admin.url.searchParams.get('cluster'), 'default')
    assert.match(await page.title(), /^Nodes · default · /)
  },

  async 'columns are chosen, and a selector is completed inside of parentheses'({ admin }) {
    const { page } = admin
    await admin.open('/nodes')
    await page.locator('[data-head=version]').waitFor()
    await page.locator('[data-columns]').click()
    await page.locator('.el-popper:visible').getByText('Version', { exact: true }).click()
    await page.locator('[data-head=version]').waitFor({ state: 'detached' })
    assert(!admin.url.searchParams.get('columns').includes('version'))
    await page.keyboard.press('Escape')
    const selector = page.getByLabel('selector, as kubectl -l')
    await selector.pressSequentially('topology.kubernetes.io/zone in (zone-a,zo')
    await page.locator('.el-autocomplete-suggestion li', { hasText: 'in (zone-a,zone-b' }).click()
    await selector.press('End')
    await selector.pressSequentially(')')
    await page.waitForURL((url) => url.searchParams.get('selector') === 'topology.kubernetes.io/zone in (zone-a,zone-b)')
    assert(Number(await shown(admin)) > 0)
  },

  async 'a node that fails is seen to, without a reload'(world) {
    const { admin } = world
    await admin.open('/nodes?q=node-0050')
    const row = admin.page.locator('[role=row]', { hasText: 'node-0050' })
    await row.getByText('Ready', { exact: false }).waitFor()
    const { conditions } = (await (await fetch(`${world.demo.sim}/api/v1/nodes/node-0050`)).json()).status
    const set = (status) => world.sim('PATCH', '/sim/nodes/node-0050', { status: { conditions: conditions.map((c) => (c.type === 'Ready' ? { ...c, status } : c)) } })
    await set('False')
    await row.getByText('NotReady').waitFor()
    await admin.page.getByRole('button', { name: /^Not ready\s+1$/ }).waitFor()
    await set('True')
    await row.getByText('NotReady').waitFor({ state: 'detached' })
  },

  async 'two operators: the second sees what the first did'(world) {
    const other = await world.user('operator', 1)
    await other.open('/nodes?node=node-0044')
    await other.page.getByText('No task has touched this node.').waitFor()
    const { admin } = world
    await admin.select(44, 44)
    await admin.label('seen-by', 'both', 1)
    await admin.status('completed')
    const drawer = other.page.locator('.el-drawer')
    await drawer.getByText('+ seen-by=both').waitFor()
    await drawer.getByText('by admin').waitFor()
    await other.shot('node-drawer')
    await other.page.context().close()
  },
}
