import { describe, expect, it } from 'vitest'
import { taskIdOf } from '@/tasks/ids'

describe("a task's id", () => {
  it('is written as the relay writes it, or is none', () => {
    const id = '01980abc-def0-7000-8000-00000000000a'
    for (const same of [id, id.toUpperCase(), ` ${id}\n`]) expect(taskIdOf(same)).toBe(id)
    for (const none of ['', 'x', id.slice(1), `${id}0`, id.replaceAll('-', ''), `{${id}}`, `urn:uuid:${id}`, id.replace('a', 'g')]) expect(taskIdOf(none), none).toBeNull()
  })
})
