// What there is to be seen on the pictures: tasks in every state, nodes in most.
import { nodeName } from './window.mjs'

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
