/** The operation in the drawer: its draft, what the API says of it, and the way to its task. */
import { defineStore } from 'pinia'
import { computed, reactive, ref, shallowRef, watch } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import { api } from '@/api/client'
import { asApiError, type ApiError } from '@/api/problem'
import type { Preview, Task } from '@/api/types'
import { i18n } from '@/i18n'
import { useNodes } from '@/nodes/store'
import { useProgress } from '@/progress/store'
import { headOf } from '@/progress/reader'
import { useSession } from '@/session'
import { taskIdOf } from '@/tasks/ids'
import { askable, newDraft, placeOf, slips, submission, vanished, type Action, type Draft } from './draft'
import { draftOf } from './fromTask'

/** Long enough for a word to be finished. */
const CHECK_AFTER = 350

/** Pages without TLS have no randomUUID. */
function newKey(): string {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(16).padStart(8, '0')).join('')
}

export const useOperation = defineStore('operation', () => {
  const route = useRoute()
  const router = useRouter()
  const draft = ref<Draft | null>(null)
  const step = ref<'what' | 'preview'>('what')
  const preview = shallowRef<Preview | null>(null)
  const previewedAt = ref<string | null>(null)
  const problem = shallowRef<ApiError | null>(null)
  const checking = ref(false)
  const submitting = ref(false)
  /** Nodes that are no longer in the cluster, and therefore not in the draft either. */
  const gone = ref<string[]>([])
  let timer: ReturnType<typeof setTimeout> | undefined
  let asked: AbortController | null = null
  let key = ''
  /** The task that the draft does again, if all that it has left undone, and the request that this comes to. */
  let again: { id: string; asked: string } | null = null

  /** A task is shown where the URL names one; of what names none it is said that it is not there. */
  const taskId = computed(() => {
    const named = route.query['task']
    return typeof named === 'string' && named ? (taskIdOf(named) ?? named) : null
  })
  const open = computed(() => draft.value !== null || taskId.value !== null)

  const faults = computed(() => {
    const found = new Map<string, string>()
    if (!draft.value) return found
    for (const fault of problem.value?.faults ?? []) {
      const place = placeOf(draft.value, fault.field)
      found.set(place, [found.get(place), fault.message].filter(Boolean).join('; '))
    }
    for (const [place, slip] of slips(draft.value)) found.set(place, i18n.global.t(`op.${slip}`))
    return found
  })

  function begin(action: Action, names: string[]): void {
    const cluster = useNodes().cluster
    if (!cluster) return
    if (taskId.value !== null || route.query['node'] !== undefined) {
      void router.push({ path: route.path, query: { ...route.query, task: undefined, node: undefined } })
    }
    again = null
    gone.value = []
    step.value = 'what'
    draft.value = reactive(newDraft(action, cluster, names))
  }

  /** The same as a task, on some of its nodes, or on all where it has not been done: looked at once more before it starts. */
  function repeat(task: Task, names: string[], all = false): void {
    const same = draftOf(task, names)
    if (!same) return
    step.value = 'preview'
    gone.value = []
    again = all ? { id: task.id, asked: JSON.stringify(submission(same)) } : null
    draft.value = reactive(same)
  }

  // What is typed is checked by the API itself, in its words; the answer is the preview.
  watch(draft, () => {
    clearTimeout(timer)
    asked?.abort()
    preview.value = null
    // A request that differs is another one; the same, sent twice, is one task.
    key = newKey()
    if (!draft.value) return
    checking.value = askable(draft.value)
    if (!checking.value) {
      problem.value = null
      return
    }
    timer = setTimeout(() => void look(), CHECK_AFTER)
  }, { deep: true })

  // What was refused because nobody was signed in is asked again.
  watch(() => useSession().live, (live) => {
    if (live) void look()
  })

  async function look(): Promise<void> {
    if (!draft.value || !askable(draft.value)) return
    clearTimeout(timer)
    asked?.abort()
    const mine = new AbortController()
    asked = mine
    checking.value = true
    try {
      preview.value = await api.post('/api/v1/tasks/preview', { body: submission(draft.value), signal: mine.signal })
      previewedAt.value = new Date().toISOString()
      problem.value = null
    } catch (error) {
      if (mine.signal.aborted) return
      preview.value = null
      const refused = asApiError(error)
      const without = vanished(draft.value.names, refused.faults)
      if (without.length) {
        // The rest can still be done; the change has it asked about again.
        gone.value = [...gone.value, ...without]
        draft.value.names = draft.value.names.filter((name) => !without.includes(name))
        return
      }
      problem.value = refused
    }
    if (asked === mine) checking.value = false
  }

  async function submit(): Promise<void> {
    if (!draft.value) return
    submitting.value = true
    const [mine, body] = [draft.value, submission(draft.value)]
    try {
      const task = again?.asked === JSON.stringify(body)
        ? await api.post('/api/v1/tasks/{id}/retry', { path: { id: again.id }, headers: { 'Idempotency-Key': key } })
        : await api.post('/api/v1/tasks', { body, headers: { 'Idempotency-Key': key } })
      // Whoever has begun something else meanwhile finds the task in the tray.
      if (draft.value !== mine) return useProgress().note([headOf(task)])
      await show(task)
      reset()
    } catch (error) {
      if (draft.value !== mine) return
      problem.value = asApiError(error)
      if (vanished(mine.names, problem.value.faults).length) return void look()
      if (problem.value.faults.length) step.value = 'what'
    } finally {
      submitting.value = false
    }
  }

  /** Retry and revert make a new task, which takes the place of the old one in the drawer. */
  async function follow(id: string, what: 'retry' | 'revert'): Promise<void> {
    await show(await api.post(`/api/v1/tasks/{id}/${what}`, { path: { id } }))
  }

  async function show(task: Task): Promise<void> {
    useProgress().note([headOf(task)])
    await router.push({ path: route.path, query: { ...route.query, task: task.id } })
  }

  function reset(): void {
    clearTimeout(timer)
    asked?.abort()
    again = null
    draft.value = null
    preview.value = null
    problem.value = null
    checking.value = false
  }

  /** What was begun from a task leads back to it. */
  function close(): void {
    if (draft.value) reset()
    else leaveTask()
  }

  function leaveTask(): void {
    if (taskId.value !== null) void router.push({ path: route.path, query: { ...route.query, task: undefined } })
  }

  return { draft, step, preview, previewedAt, problem, faults, checking, submitting, gone, taskId, open, begin, repeat, look, submit, follow, close }
})
