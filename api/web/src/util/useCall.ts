/** A request that somebody waits for: whether it is under way, and what came of the last one. */
import { computed, ref, shallowRef } from 'vue'
import { asApiError, type ApiError } from '@/api/problem'

export function useCall() {
  const busy = ref(false)
  const problem = shallowRef<ApiError | null>(null)
  const faults = computed(() => new Map(problem.value?.faults.map((fault) => [fault.field, fault.message])))
  /** A problem that no field has caused. */
  const trouble = computed(() => (faults.value.size ? null : problem.value))

  /** undefined: it did not work, and `problem` says why. */
  async function run<T>(call: () => Promise<T>): Promise<T | undefined> {
    busy.value = true
    try {
      const answer = await call()
      problem.value = null
      return answer
    } catch (error) {
      problem.value = asApiError(error)
      return undefined
    } finally {
      busy.value = false
    }
  }

  return { busy, problem, faults, trouble, run }
}
