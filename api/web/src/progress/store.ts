/** Tasks as this window follows them: mirrors fed by the connection, shown at most ten times a second. */
import { defineStore } from 'pinia'
import { computed, ref, shallowReactive, shallowRef, triggerRef } from 'vue'
import { asApiError } from '@/api/problem'
import { useSession } from '@/session'
import { taskIdOf } from '@/tasks/ids'
import { Connection, type Link } from './connection'
import { FINAL, type ClientFrame, type ServerFrame, type TaskHead } from './frames'
import { Latency } from './latency'
import { Mirror, type Verdict } from './mirror'
import { Pace, worked } from './pace'
import { readTask, readTasks } from './reader'

export interface Followed {
  mirror: Mirror
  pace: Pace
  followers: number
  /** Rises with every change that is to be shown. */
  version: ReturnType<typeof ref<number>>
  /** Why it cannot be followed. */
  error: ReturnType<typeof ref<string | null>>
  /** When it was asked for anew; 0: nothing is under way. What does not fit meanwhile was sent before. */
  asked: number
}

const SHOW_EVERY = 100
const DOUBT = 5000
/** After this long without it, it is asked for once more. */
const ASK_AGAIN = 5000

export const useProgress = defineStore('progress', () => {
  const link = shallowRef<Link>({ kind: 'connecting' })
  const followed = shallowReactive(new Map<string, Followed>())
  const tasks = shallowRef(new Map<string, TaskHead>())
  const latencies = new Latency()
  const dirty = new Set<Followed>()
  let showing: ReturnType<typeof setTimeout> | undefined
  /** There has been a connection before. */
  let greeted = false

  const connection = new Connection({
    open: () => new WebSocket(relayAddress()) as never,
    poll,
    frame: receive,
    link: (now) => {
      if (now.kind !== 'open') latencies.forget()
      link.value = now
    },
    refused: () => void doubt(),
    greet: () => {
      // While it was away, another tab may have signed in as somebody else.
      if (greeted) void useSession().confirm()
      greeted = true
      for (const entry of followed.values()) entry.asked = 0
      return [{ type: 'watch_tasks' }, ...[...followed.values()].map(subscription)]
    },
    round: (milliseconds) => latencies.round(milliseconds),
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
      note([...dirty].flatMap(({ mirror }) => mirror.head ?? []))
      dirty.clear()
    }, SHOW_EVERY)
  }

  const mine = (head: TaskHead) => head.user_id === useSession().user?.id

  /** Asks for a task where its frames do not fit: once, however many do not. */
  function ask(entry: Followed): void {
    if (entry.asked && Date.now() - entry.asked < ASK_AGAIN) return
    entry.asked = Date.now()
    if (!connection.send(subscription(entry))) entry.asked = 0
  }

  function settle(entry: Followed, verdict: Verdict): void {
    if (verdict === 'applied') {
      entry.asked = 0
      entry.error.value = null
      const head = entry.mirror.head
      if (head?.status === 'running') entry.pace.at(Date.now(), worked(head.counts))
      else entry.pace.rest()
      show(entry)
    } else if (verdict === 'gap') {
      ask(entry)
    } else if (verdict === 'lost') {
      entry.mirror.forgetPlace()
      ask(entry)
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
        if (frame.items.length > 0) latencies.at(clock(), frame.published_us / 1000)
        return settle(entry, entry.mirror.step(frame))
      }
      case 'tasks':
        if (frame.full) tasks.value = new Map(frame.tasks.map((head) => [head.id, head]))
        else note(frame.tasks)
        return
      case 'resync':
        for (const entry of followed.values()) {
          entry.mirror.forgetPlace()
          entry.asked = 0
        }
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

  const clock = () => performance.timeOrigin + performance.now()

  /** One's own tasks are kept for the tray; others' are only looked at. */
  function note(heads: TaskHead[]): void {
    const own = heads.filter((head) => mine(head) && (tasks.value.get(head.id)?.seq ?? -1) <= head.seq)
    for (const head of own) tasks.value.set(head.id, head)
    if (own.length) triggerRef(tasks)
  }

  /** Until the socket is back: what has been read is older than what it says. */
  async function poll(): Promise<boolean> {
    let whole = true
    const late = () => link.value.kind === 'open'
    try {
      const read = await readTasks()
      if (late()) return true
      tasks.value = new Map(read.map((head) => [head.id, head]))
      for (const entry of [...followed.values()]) {
        if (entry.mirror.ended) continue
        const reading = await readTask(entry.mirror.id, entry.mirror.seq).catch((error: unknown) => refused(entry, error))
        if (late()) return true
        if (reading) settle(entry, entry.mirror.read(reading))
        // One that may not be read is not waited for; one that the API could not read is.
        else if (entry.error.value === null) whole = false
      }
      return whole
    } catch {
      // An API that answers without what it was asked for is no better than none.
      return false
    }
  }

  /** What is said of this task alone keeps no other from being read; a hiccup says nothing of it. */
  function refused(entry: Followed, error: unknown): null {
    const problem = asApiError(error)
    if (problem.unreachable) throw problem
    if (problem.status === 403 || problem.status === 404) entry.error.value = problem.message
    return null
  }

  function follow(id: string): Followed {
    let entry = followed.get(id)
    if (!entry) {
      entry = { mirror: new Mirror(id), pace: new Pace(), followers: 0, version: ref(0), error: ref(null), asked: 0 }
      // The relay ends the whole connection over messages that it cannot read.
      if (taskIdOf(id) !== id) {
        entry.error.value = id
        return entry
      }
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
      if (!asApiError(error).unreachable) refused(entry, error)
    }
  }

  /** A task as it stands, whosever it is, if anything is known of it here. */
  function head(id: string): TaskHead | null {
    const entry = followed.get(id)
    void entry?.version.value
    return entry?.mirror.head ?? tasks.value.get(id) ?? null
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
    link, tasks, sorted, active, head, follow, unfollow, note,
    /** How long a change takes to here at the moment, in milliseconds, if that is known. */
    latency: () => latencies.value(clock()),
    start: () => connection.start(),
    stop: () => connection.stop(),
    hurry: () => connection.hurry(),
  }
})
