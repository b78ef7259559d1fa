import { describe, expect, it } from 'vitest'
import { changesOf } from '@/operation/changes'
import type { Preview } from '@/api/types'
import { complete, danger, evictions, newDraft, placeOf, slips, submission, vanished } from '@/operation/draft'
import { kubectl, quote } from '@/operation/kubectl'

describe('an operation before it is one', () => {
  it('becomes the request that its form shows', () => {
    const draft = newDraft('label', 'east', ['a', 'b'])
    expect(complete(draft)).toBe(false)
    draft.pairs = [{ key: 'team', value: 'infra' }, { key: '', value: 'ignored' }]
    draft.remove = ['old']
    draft.options.maxFailures = 0
    expect(complete(draft)).toBe(true)
    expect(submission(draft)).toEqual({
      action: 'label', cluster: 'east', nodes: { names: ['a', 'b'] }, reason: '',
      params: { set: { team: 'infra' }, remove: ['old'], overwrite: true, allow_protected: false },
      options: { max_failures: 0 },
    })
  })

  it('leaves what it cannot read for the API to refuse', () => {
    const draft = newDraft('drain', 'east', ['a'])
    Object.assign(draft.options, { maxUnavailable: '25%', waves: '5', notAfter: 'soon' })
    expect(submission(draft).options).toEqual({ max_unavailable: '25%', waves: { size: 5 }, not_after: 'soon' })
  })

  it('shows each fault at the field that caused it', () => {
    const label = newDraft('label', 'c', ['a'])
    label.pairs = [{ key: 'ok', value: '' }, { key: 'bad key', value: '' }]
    expect(placeOf(label, 'params.set.bad key')).toBe('pairs.1')
    expect(placeOf(label, 'params.remove[0]')).toBe('remove')
    const taint = newDraft('taint', 'c', ['a'])
    taint.taints = [{ key: '', value: '', effect: 'NoSchedule' }, { key: 'k', value: '', effect: 'x' }]
    expect(placeOf(taint, 'params.set[0].effect')).toBe('taints.1')
    expect(placeOf(taint, 'options.waves.size')).toBe('options.waves')
    expect(placeOf(taint, 'nodes.names[3]')).toBe('nodes.names[3]')
  })

  it('says what it would otherwise leave out', () => {
    const label = newDraft('label', 'c', ['a'])
    label.pairs = [{ key: 'a', value: '1' }, { key: ' a ', value: '2' }, { key: '', value: 'x' }, { key: '', value: '' }]
    expect([...slips(label)]).toEqual([['pairs.1', 'twice'], ['pairs.2', 'keyless']])
    const taint = newDraft('taint', 'c', ['a'])
    taint.taints = [{ key: 'a', value: '1', effect: 'NoSchedule' }, { key: 'a', value: '1', effect: 'NoExecute' }, { key: ' ', value: 'x', effect: 'NoSchedule' }]
    expect([...slips(taint)]).toEqual([['taints.2', 'keyless']])
    expect(slips(newDraft('drain', 'c', ['a'])).size).toBe(0)
  })

  it('knows what needs to be confirmed', () => {
    const drain = newDraft('drain', 'c', ['a'])
    expect(danger(drain)).toBe('drain')
    drain.options.dryRun = true
    expect(danger(drain)).toBeNull()
    const taint = newDraft('taint', 'c', ['a'])
    taint.taints = [{ key: 'k', value: '', effect: 'NoExecute' }]
    expect(danger(taint)).toBe('evict')
    expect(danger(newDraft('cordon', 'c', ['a']))).toBeNull()
  })

  it('goes on without nodes that are gone, as long as nothing else is wrong and some are left', () => {
    const at = (...fields: string[]) => fields.map((field) => ({ field }))
    expect(vanished(['a', 'b', 'c'], at('nodes.names[0]', 'nodes.names[2]'))).toEqual(['a', 'c'])
    expect(vanished(['a', 'b'], at('nodes.names[0]', 'params.set.x'))).toEqual([])
    expect(vanished(['a'], at('nodes.names[0]'))).toEqual([])
    expect(vanished(['a'], [])).toEqual([])
  })

  it('counts the pods that go, and knows when it does not know', () => {
    const node = (result: string, pod_counts?: object) => ({ node: 'n', result, pod_counts })
    const preview = (warnings: string[], nodes: object[], more = {}) => ({ warnings, nodes, ...more }) as unknown as Preview
    const nodes = [node('change', { evict: 3, blocked: 1, stay: 9 }), node('change', { stay: 2 }), node('refused', { evict: 5, refuse: 1 }), node('change')]
    expect(evictions(preview([], nodes))).toEqual({ pods: 4, nodes: 1, known: true })
    expect(evictions(preview(['the pods could not be listed: timeout'], [node('change')])).known).toBe(false)
    expect(evictions(preview([], [node('change')], { pods_known: false })).known).toBe(false)
    expect(evictions(preview(['the pods could not be listed'], [], { pods_known: true })).known).toBe(true)
  })

  it('is written for a shell so that the shell reads the same', () => {
    const draft = newDraft('label', 'c', ['n1'])
    draft.pairs = [{ key: 'team', value: "it's; rm -rf $HOME" }]
    draft.remove = ['old']
    expect(kubectl(draft)).toBe(`# cluster: c\nkubectl label nodes n1 'team=it'\\''s; rm -rf $HOME' old- --overwrite`)
    expect(quote('')).toBe("''")
    const drain = newDraft('drain', 'c', ['n1', 'n2'])
    Object.assign(drain.drain, { force: true, timeout: 30, podSelector: 'app in (a,b)' })
    expect(kubectl(drain)).toBe("# cluster: c\nkubectl drain n1 n2 --ignore-daemonsets --force --timeout=30s '--pod-selector=app in (a,b)'")
  })

  it('says what changes, what is added and what goes', () => {
    const lines = changesOf({ a: 'x', b: 'y', c: null, d: 'same', e: '' }, { a: 'z', b: null, c: '', d: 'same', e: '' })
    expect(lines.map((line) => line.text)).toEqual(['~ a x → z', '− b=y', '+ c'])
  })
})
