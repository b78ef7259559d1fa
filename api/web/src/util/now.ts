import { onScopeDispose, ref, type Ref } from 'vue'

/** The time, as often as something on the screen needs it. */
export function useNow(every: number): Ref<number> {
  const now = ref(Date.now())
  const timer = setInterval(() => (now.value = Date.now()), every)
  onScopeDispose(() => clearInterval(timer))
  return now
}
