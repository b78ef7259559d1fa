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
