/** Tasks as this window follows them: mirrors fed by the connection, shown at most ten times a second. */
import { defineStore } from 'pinia'
import { computed, ref, shallowReactive, shallowRef, triggerRef } from 'vue'
import { asApiError } from '@/api/problem'
import { useSession } from '@/session'
import { Connection, type Link } from './connection'
import { FINAL, type ClientFrame, type ServerFrame, type TaskHead } from './frames'
import { Mirror, type Verdict } from './mirror'
import { Pace } from './pace'
import { readTask, readTasks } from './reader'

export interface Followed {
  mirror: Mirror
  pace: Pace
  followers: number
  /** Rises with every change that is to be shown. */
  version: ReturnType<typeof ref<number>>
  /** Why it cannot be followed. */
  error: ReturnType<typeof ref<string | null>>
}

const SHOW_EVERY = 100
const SAMPLES = 32
const DOUBT = 5000

export const useProgress = defineStore('progress', () => {
  const link = shallowRef<Link>({ kind: 'connecting' })
  const followed = shallowReactive(new Map<string, Followed>())
  const tasks = shallowRef(new Map<string, TaskHead>())
  const latencies: number[] = []
  const latency = ref<number | null>(null)
  const dirty = new Set<Followed>()
  let showing: ReturnType<typeof setTimeout> | undefined

  const connection = new Connection({
    open: () => new WebSocket(relayAddress()) as never,
    poll,
    frame: receive,
    link: (now) => {
      link.value = now
      if (now.kind === 'signed_out') void doubt()
    },
    greet: () => [{ type: 'watch_tasks' }, ...[...followed.values()].map(subscription)],
  })

  /** The relay says that the session is over. Where the API does not, there is another try. */
  async function doubt(): Promise<void> {
    const session = useSession()
    await session.confirm()
    setTimeout(() => session.live && connection.start(), DOUBT)
  }

  function relayAddress(): string {
    const base = useSession().meta?.relay_url ?? location.origin
    return `${base.replace(/^http/, 'ws').replace(/\/+$/, '')}/api/v1/progress/ws`
  }

  function subscription(entry: Followed): ClientFrame {
    const { id, cursor } = entry.mirror
    return cursor ? { type: 'subscribe', task_id: id, cursor } : { type: 'subscribe', task_id: id }
  }

  function show(entry: Followed): void {
    dirty.add(entry)
    showing ??= setTimeout(() => {
      showing = undefined
      for (const changed of dirty) changed.version.value = (changed.version.value ?? 0) + 1
      dirty.clear()
    }, SHOW_EVERY)
  }

  function settle(entry: Followed, verdict: Verdict): void {
    if (verdict === 'applied') {
      const head = entry.mirror.head
      if (head) {
        entry.pace.at(Date.now(), head.current)
        note([head])
      }
      show(entry)
    } else if (verdict === 'gap') {
      connection.send(subscription(entry))
    } else if (verdict === 'lost') {
      entry.mirror.forgetPlace()
      connection.send(subscription(entry))
    }
  }

  function receive(frame: ServerFrame): void {
    switch (frame.type) {
      case 'snapshot':
      case 'progress':
      case 'complete': {
        const entry = followed.get(frame.task_id)
        if (!entry) return
        if (frame.type === 'snapshot') return settle(entry, entry.mirror.snapshot(frame))
        if (frame.items.length > 0) measure(frame.published_us)
        return settle(entry, entry.mirror.step(frame))
      }
      case 'tasks':
        if (frame.full) tasks.value = new Map()
        return note(frame.tasks)
      case 'resync':
        for (const entry of followed.values()) entry.mirror.forgetPlace()
        return
      case 'error': {
        const entry = frame.task_id ? followed.get(frame.task_id) : undefined
        if (!entry) return
        if (frame.code === 'internal') connection.send(subscription(entry))
        else entry.error.value = frame.message
        return
      }
    }
  }

  /** From the commit's time to now; meaningful only where both clocks agree, else there is no number. */
  function measure(publishedMicros: number): void {
    const took = performance.timeOrigin + performance.now() - publishedMicros / 1000
    if (took < 0 || took > 5000) return
    latencies.push(took)
    if (latencies.length > SAMPLES) latencies.shift()
    latency.value = [...latencies].sort((a, b) => a - b)[latencies.length >> 1] ?? null
  }

  function note(heads: TaskHead[]): void {
    for (const head of heads) tasks.value.set(head.id, head)
    triggerRef(tasks)
  }

  async function poll(): Promise<boolean> {
    try {
      tasks.value = new Map((await readTasks()).map((head) => [head.id, head]))
      for (const entry of followed.values()) {
        if (!entry.mirror.ended) settle(entry, entry.mirror.read(await readTask(entry.mirror.id, entry.mirror.seq)))
      }
      return true
    } catch (error) {
      // An answer, whatever it says, is a way to the API.
      return !asApiError(error).unreachable
    }
  }

  function follow(id: string): Followed {
    let entry = followed.get(id)
    if (!entry) {
      entry = { mirror: new Mirror(id), pace: new Pace(), followers: 0, version: ref(0), error: ref(null) }
      followed.set(id, entry)
      if (!connection.send(subscription(entry))) void first(entry)
    }
    entry.followers += 1
    return entry
  }

  /** Does not wait for a connection to show what is there. */
  async function first(entry: Followed): Promise<void> {
    try {
      const reading = await readTask(entry.mirror.id, -1)
      if (entry.mirror.seq < 0) settle(entry, entry.mirror.read(reading))
    } catch (error) {
      const problem = asApiError(error)
      if (!problem.unreachable) entry.error.value = problem.message
    }
  }

  function unfollow(id: string): void {
    const entry = followed.get(id)
    if (!entry) return
    entry.followers -= 1
    if (entry.followers > 0) return
    followed.delete(id)
    connection.send({ type: 'unsubscribe', task_id: id })
  }

  const sorted = computed(() => [...tasks.value.values()].sort((a, b) => (a.id < b.id ? 1 : -1)))
  const active = computed(() => sorted.value.filter((task) => !FINAL.has(task.status)))

  return {
    link, latency, tasks, sorted, active, follow, unfollow, note,
    start: () => connection.start(),
    stop: () => connection.stop(),
    hurry: () => connection.hurry(),
  }
})
