import { watch } from 'vue'
import { useSession } from '@/session'

/** Does again what was refused because nobody was signed in, once somebody is. */
export function onReturn(load: () => unknown): void {
  const session = useSession()
  watch(() => session.live, (live) => live && void load())
}
