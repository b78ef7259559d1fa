import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Task } from '@/api/types'
import { ACTIONS, EFFECTS, newDraft, submission, type Draft } from '@/operation/draft'
import { draftOf } from '@/operation/fromTask'
import { dangerOf, roleFor } from '@/tasks/rights'

const word = fc.stringMatching(/^[a-z][a-z0-9]{0,7}$/)
const amount = fc.oneof(fc.constant(''), fc.integer({ min: 1, max: 9 }).map(String), fc.constant('25%'))
const some = (max: number) => fc.option(fc.integer({ min: 1, max }), { nil: null })

/** Whatever a form can hold, of fields that the action has. */
const drafts: fc.Arbitrary<Draft> = fc.record({
  action: fc.constantFrom(...ACTIONS), reason: word, overwrite: fc.boolean(), allowProtected: fc.boolean(),
  pairs: fc.uniqueArray(fc.record({ key: word, value: fc.oneof(word, fc.constant('')) }), { minLength: 1, maxLength: 3, selector: (pair) => pair.key }),
  taints: fc.array(fc.record({ key: word, value: word, effect: fc.constantFrom(...EFFECTS) }), { minLength: 1, maxLength: 3 }),
  remove: fc.uniqueArray(word, { maxLength: 3 }), effect: fc.option(fc.constantFrom(...EFFECTS), { nil: null }),
  drain: fc.record({
    ignoreDaemonsets: fc.boolean(), deleteEmptydir: fc.boolean(), force: fc.boolean(), disableEviction: fc.boolean(),
    grace: fc.option(fc.nat(100), { nil: null }), timeout: some(900), skipWait: some(60), podSelector: fc.constantFrom('', 'app=web'),
  }),
  options: fc.record({
    concurrency: some(20), maxFailures: fc.option(fc.nat(5), { nil: null }), dryRun: fc.boolean(), maxUnavailable: amount, waves: amount,
    uncordonOnFailure: fc.boolean(), notAfter: fc.constant(''),
  }),
}).map(({ effect, ...held }) => ({
  ...newDraft(held.action, 'east', ['a', 'b']), ...held,
  remove: held.action === 'taint' && effect ? held.remove.map((key) => `${key}:${effect}`) : held.remove,
}))

describe('a task as the draft that it came from', () => {
  it('asks for the same again, of whatever node', () => {
    fc.assert(fc.property(drafts, (draft) => {
      const asked = submission(draft)
      const task = { ...asked, cluster: 'east', reason: draft.reason } as unknown as Task
      expect(submission(draftOf(task, ['c'])!)).toEqual({ ...asked, nodes: { names: ['c'] } })
    }))
  })

  it('forgets when it was to end', () => {
    const draft = newDraft('label', 'c', ['a'])
    draft.pairs = [{ key: 'k', value: '' }]
    const task = { ...submission(draft), options: { not_after: '2026-01-01T00:00:00Z' } } as unknown as Task
    expect(submission(draftOf(task, ['a'])!).options).toEqual({})
  })

  it('is none of a revert, which follows from another task', () => {
    expect(draftOf({ action: 'revert', cluster: 'c', params: {}, options: {}, reason: '' }, [])).toBeNull()
    expect(roleFor({ action: 'revert', cluster: 'c', params: {}, options: {}, reason: '' })).toBeNull()
  })

  it('needs the role that its parameters need', () => {
    const role = (action: string, params: object) => roleFor({ action, cluster: 'c', params, options: { dry_run: true }, reason: '' } as unknown as Task)
    expect(role('label', { set: { a: 'b' } })).toBe('operator')
    expect(role('label', { set: { a: 'b' }, allow_protected: true })).toBe('admin')
    expect(role('taint', { set: [{ key: 'a', value: '', effect: 'NoSchedule' }] })).toBe('operator')
    expect(role('taint', { set: [{ key: 'a', value: '', effect: 'NoExecute' }] })).toBe('admin')
    expect(role('drain', {})).toBe('admin')
    expect(role('cordon', {})).toBe('operator')
  })

  it('is as dangerous to do again, or to take back, as what that does to pods', () => {
    const of = (action: string, params: object, options: object = {}) => {
      const task = { action, cluster: 'c', params, options, reason: '' } as unknown as Task
      return [dangerOf(task, 'retry'), dangerOf(task, 'revert')]
    }
    const taint = (effect: string | null) => ({ key: 'a', value: '', effect })
    expect(of('label', { set: { a: 'b' } })).toEqual([null, null])
    expect(of('label', { set: { a: 'b' }, allow_protected: true })).toEqual(['force', 'force'])
    expect(of('drain', {})).toEqual(['drain', null])
    expect(of('drain', {}, { dry_run: true })).toEqual([null, null])
    expect(of('taint', { set: [taint('NoSchedule')] })).toEqual([null, null])
    expect(of('taint', { set: [taint('NoExecute')] })).toEqual(['evict', 'evict'])
    // To remove one is harmless; to give it back ends pods.
    expect(of('taint', { remove: [taint('NoExecute')] })).toEqual([null, 'evict'])
    expect(of('taint', { remove: [taint(null)] })).toEqual([null, 'evict'])
    expect(of('revert', { keys: 'taints' })).toEqual(['evict', 'evict'])
    expect(of('revert', { keys: 'labels' })).toEqual([null, null])
  })
})
