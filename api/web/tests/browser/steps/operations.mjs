// Every operation from the selection to its end, and what follows from a task.
import assert from 'node:assert/strict'

const ended = async (admin, nodes) => {
  await admin.status('completed')
  assert.equal(await admin.count('succeeded'), nodes)
}

export default {
  async 'ten nodes are labelled, two fail and are shown first; one is retried by itself, all are, and all is taken back'(world) {
    const { admin } = world
    await world.refuse('node-0003')
    await world.refuse('node-0005')
    await admin.select(1, 10)
    await admin.page.getByText('10 of 60 selected').waitFor()
    await admin.begin('Label')
    await admin.setPair('browser-test', 'one')
    await admin.preview('10 will change')
    await admin.page.getByText('10 will change').waitFor()
    await admin.shot('preview')
    await admin.start.click()
    await admin.status('failed')
    assert.deepEqual([await admin.count('succeeded'), await admin.count('failed')], [8, 2])
    const items = admin.panel.locator('[role=listitem]')
    assert.deepEqual(await Promise.all([0, 1].map((i) => items.nth(i).getAttribute('data-node'))), ['node-0003', 'node-0005'])
    assert.equal(await items.count(), 10)
    await admin.shot('failure')
    const failed = admin.url.searchParams.get('task')

    await admin.panel.locator('[data-command]').click()
    const names = Array.from({ length: 10 }, (_, i) => `node-${String(i + 1).padStart(4, '0')}`).join(' ')
    assert.equal(await admin.page.evaluate(() => navigator.clipboard.readText()), `kubectl label nodes ${names} browser-test=one --overwrite`)

    await world.quick()
    await admin.panel.getByLabel('Retry node-0003').click()
    await admin.drawer.getByText('1 will change').waitFor()
    await admin.drawer.getByText('+ browser-test=one').waitFor()
    await admin.start.click()
    await admin.otherTask(failed)
    await ended(admin, 1)
    assert.equal(await admin.matched('browser-test'), 9)

    await admin.open(`/nodes?task=${failed}`)
    await admin.panel.getByRole('button', { name: /Retry 2 failed/ }).click()
    await admin.otherTask(failed)
    await ended(admin, 2)
    assert.equal(await admin.matched('browser-test'), 10)

    await admin.open(`/tasks/${failed}`)
    await admin.panel.getByRole('button', { name: /Revert/ }).click()
    await admin.page.waitForURL((url) => url.searchParams.has('task'))
    await admin.drawer.locator('[data-status=completed]').first().waitFor()
    // The two that failed are not the reverted task's own.
    assert.equal(await admin.matched('browser-test'), 2)
  },

  async 'nodes are annotated, tainted, cordoned and uncordoned by their forms'({ admin }) {
    await admin.select(11, 12)
    await admin.begin('Annotate')
    await admin.setPair('example.com/owner', 'a team, with spaces & signs')
    await admin.preview('2 will change')
    await admin.start.click()
    await ended(admin, 2)
    assert.equal((await admin.node(11)).annotations['example.com/owner'], 'a team, with spaces & signs')

    await admin.select(11, 12)
    await admin.begin('Taint')
    await admin.setPair('dedicated', 'gpu')
    await admin.choose('effect', 'PreferNoSchedule', admin.drawer)
    await admin.preview('2 will change')
    await admin.start.click()
    await ended(admin, 2)
    const tainted = (await admin.node(12)).taints.find((taint) => taint.key === 'dedicated')
    assert.deepEqual([tainted.value, tainted.effect], ['gpu', 'PreferNoSchedule'])

    await admin.select(11, 12)
    await admin.begin('Taint')
    await admin.choose('Remove', 'dedicated:PreferNoSchedule', admin.drawer)
    await admin.page.keyboard.press('Escape')
    await admin.preview('2 will change')
    await admin.start.click()
    await ended(admin, 2)
    assert.equal((await admin.node(12)).taints.filter((taint) => taint.key === 'dedicated').length, 0)

    await admin.select(11, 12)
    await admin.begin('Cordon')
    await admin.field('Reason').fill('disk swap')
    await admin.preview('2 will change')
    await admin.start.click()
    await ended(admin, 2)
    assert.equal((await admin.node(11)).unschedulable, true)
    await admin.open('/nodes?cordoned=1')
    await admin.page.locator('[data-shown="2"]').waitFor()

    await admin.select(11, 12)
    await admin.begin('Uncordon')
    await admin.preview('2 will change')
    await admin.start.click()
    await ended(admin, 2)
    assert.equal((await admin.node(11)).unschedulable, false)
  },

  async 'what the API refuses is shown at the field'({ admin }) {
    admin.expected = [/status of 422/]
    const refused = (label) => admin.drawer.locator('.field', { has: admin.page.getByLabel(label, { exact: true }) }).locator('[role=alert]')
    await admin.select(1, 2)
    await admin.begin('Label')
    await admin.field('key').fill('not a key')
    await refused('key').getByText(/name part must consist of/).waitFor()
    assert(await admin.drawer.getByRole('button', { name: 'Preview', exact: true }).isDisabled())
    await admin.shot('refused')
    await admin.field('key').fill('fine')
    await refused('key').waitFor({ state: 'detached' })
    await admin.page.keyboard.press('Escape')

    await admin.begin('Drain')
    await admin.field('Only pods that match').fill('app in (web')
    await refused('Only pods that match').waitFor()
    await admin.field('Only pods that match').fill('')
    await admin.drawer.getByText('Options').click()
    await admin.field('Unavailable at most').fill('0%')
    await refused('Unavailable at most').getByText('must be between 1% and 100%').waitFor()
    await admin.field('Unavailable at most').fill('50%')
    await refused('Unavailable at most').waitFor({ state: 'detached' })
    await admin.field('Not after').fill('2020-01-01T00:00')
    await refused('Not after').waitFor()
    await admin.page.keyboard.press('Escape')
  },

  async 'a drain needs its number typed, waits for a budget by name, and is cancelled'(world) {
    const { admin } = world
    await world.sim('POST', '/sim/workloads', { name: 'held', namespace: 'browser', kind: 'ReplicaSet', replicas: 2, nodes: ['node-0020'], labels: { app: 'held' } })
    await world.sim('POST', '/sim/budgets', { name: 'held', namespace: 'browser', labels: { app: 'held' }, min_available: 2 })
    await admin.select(20, 20)
    await admin.begin('Drain')
    await admin.turn('Delete emptyDir data')
    await admin.preview(/1 will change/)
    await admin.drawer.getByText('browser/held: allows 0 now').waitFor()
    assert(await admin.start.isDisabled())
    await admin.page.locator('[data-confirm]').fill('2')
    assert(await admin.start.isDisabled())
    await admin.shot('drain-preview')
    await admin.page.locator('[data-confirm]').fill('1')
    await admin.start.click()
    await admin.panel.getByText(/waiting for budget browser\/held/).first().waitFor()
    await admin.shot('drain-waiting')
    await admin.panel.getByRole('button', { name: /Cancel task/ }).click()
    await admin.status('cancelled')
    await admin.shot('drain-cancelled')
    // A drain that was cancelled goes through the preview again, with its number to type.
    await admin.panel.getByLabel('Retry node-0020').click()
    await admin.drawer.getByText('browser/held: allows 0 now').waitFor()
    assert(await admin.start.isDisabled())
    await admin.drawer.getByRole('button', { name: 'Back', exact: true }).click()
    assert(await admin.drawer.getByLabel('Delete emptyDir data').isChecked())
    await admin.drawer.getByRole('button', { name: 'Cancel', exact: true }).click()
    await admin.status('cancelled')
  },
}
