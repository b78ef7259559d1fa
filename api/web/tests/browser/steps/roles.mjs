// Who may what, and what they are told.
import assert from 'node:assert/strict'

export default {
  async 'a viewer sees everything and is offered nothing'(world) {
    const viewer = await world.user('viewer')
    await viewer.select(1, 2)
    await viewer.bar.getByText('Changing nodes needs the role operator').waitFor()
    assert.equal(await viewer.bar.getByRole('button', { name: /^(Label|Annotate|Taint|Cordon|Uncordon|Drain)$/ }).count(), 0)
    await viewer.page.getByRole('button', { name: 'node-0001' }).click()
    const drawer = viewer.page.locator('.el-drawer')
    await drawer.getByText('Conditions').waitFor()
    assert.equal(await drawer.getByRole('button', { name: 'Label', exact: true }).count(), 0)
    await viewer.shot('viewer')
    await viewer.open('/tasks')
    await viewer.page.locator('[role=row] a').first().click()
    await viewer.panel.locator('[role=listitem]').first().waitFor()
    assert.equal(await viewer.panel.getByRole('button', { name: /Retry|Revert|Pause|Cancel/ }).count(), 0)
    await viewer.page.context().close()
  },

  async 'an operator is told which role a drain needs, and what is not theirs to stop'(world) {
    const operator = await world.user('operator')
    await operator.select(30, 31)
    const drain = operator.bar.getByRole('button', { name: 'Drain', exact: true })
    assert(await drain.isDisabled())
    assert.equal(await drain.getAttribute('title'), 'needs the role administrator')
    await operator.begin('Taint')
    await operator.drawer.locator('.effect').click()
    const evicting = operator.page.getByRole('option', { name: 'NoExecute' })
    assert.equal(await evicting.getAttribute('aria-disabled'), 'true')
    await operator.page.keyboard.press('Escape')

    await world.slow(1000)
    const { admin } = world
    await admin.select(30, 41)
    await admin.labelInTurn('whose', 12)
    await operator.open(`/tasks/${admin.url.searchParams.get('task')}`)
    await operator.panel.locator('[role=listitem]').first().waitFor()
    assert.equal(await operator.panel.getByRole('button', { name: /Pause|Cancel/ }).count(), 0)
    await world.quick()
    await admin.status('completed')
    await operator.page.context().close()
  },

  async 'a right that is taken away meanwhile is named'(world) {
    const operator = await world.user('operator')
    operator.expected = [/status of 403/]
    await operator.select(30, 31)
    await operator.begin('Label')
    await operator.setPair('too', 'late')
    await operator.preview('2 will change')
    world.sql("UPDATE users SET role = 'viewer' WHERE username = 'operator'")
    await operator.start.click()
    const note = operator.drawer.locator('[role=alert]')
    await note.getByText('Not allowed').waitFor()
    await note.getByText(/needs the role operator/).waitFor()
    await operator.shot('forbidden')
    world.sql("UPDATE users SET role = 'operator' WHERE username = 'operator'")
    await operator.start.click()
    await operator.status('completed')
    await operator.page.context().close()
  },
}
