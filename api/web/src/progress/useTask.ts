/** Follows a task for as long as a component shows it. */
import { computed, onScopeDispose } from 'vue'
import type { ItemStatus, NamedItem } from './frames'
import { useProgress } from './store'

/** Failures first, then what is happening, then what went well. */
export const ORDER: ItemStatus[] = ['failed', 'running', 'skipped', 'cancelled', 'succeeded', 'pending']

export function useTask(id: string) {
  const progress = useProgress()
  const entry = progress.follow(id)
  onScopeDispose(() => progress.unfollow(id))

  const head = computed(() => progress.head(id))
  const items = computed<NamedItem[]>(() => {
    void entry.version.value
    return sortItems(entry.mirror.items)
  })
  const known = computed(() => {
    void entry.version.value
    return entry.mirror.head !== null
  })
  return { head, items, known, error: entry.error, pace: entry.pace }
}

export function sortItems(items: readonly NamedItem[]): NamedItem[] {
  const groups = new Map<ItemStatus, NamedItem[]>(ORDER.map((status) => [status, []]))
  for (const item of items) if (item) groups.get(item.status)?.push(item)
  return [...groups.values()].flat()
}
