import { describe, expect, it } from 'vitest'
import type { Node } from '@/api/types'
import { chipsOf, fitting } from '@/nodes/chips'
import { COLUMNS, columnsFrom, template } from '@/nodes/columns'
import { completions } from '@/nodes/completion'
import { EMPTY, fromQuery, select, toQuery } from '@/nodes/filter'
import { clicked, ordered, orderFrom, orderText } from '@/nodes/order'
import { parseSelector } from '@/nodes/selector'

function node(name: string, labels: Record<string, string> = {}, more: Partial<Node> = {}): Node {
  return {
    name, uid: name, status: ['Ready'], roles: ['worker'], unschedulable: false, taints: [], labels, annotations: {},
    version: 'v1', resource_version: '1', internal_ip: `10.0.0.${name.length}`, ...more,
  } as Node
}

describe('label selectors', () => {
  it.each([
    ['', {}, true],
    ['a', { a: '' }, true],
    ['!a', { a: '' }, false],
    ['a=1', { a: '1' }, true],
    ['a==1, b!=2', { a: '1' }, true],
    ['b!=2', { b: '2' }, false],
    ['a in (1, 2),c', { a: '2', c: 'x' }, true],
    ['a notin (1,2)', { a: '3' }, true],
    ['a notin (1,2)', {}, true],
    ['a in (1)', {}, false],
    ['topology.kubernetes.io/zone in (a,b)', { 'topology.kubernetes.io/zone': 'b' }, true],
    ['a=', { a: '' }, true],
  ] as [string, Record<string, string>, boolean][])('%s', (text, labels, matches) => {
    expect(parseSelector(text)(labels)).toBe(matches)
  })

  it.each(['a b', 'a in 1', '=x', 'a=b c', 'a,,b', 'a in (x y)', 'a in (', '-a'])('refuses %s', (text) => {
    expect(() => parseSelector(text)).toThrow(/not a label/)
  })
})

describe('the order', () => {
  const nodes = [
    node('a', {}, { version: 'v1.9.0', created_at: '2026-01-03T00:00:00Z' }),
    node('b', {}, { version: 'v1.36.2', created_at: '2026-01-01T00:00:00Z', unschedulable: true }),
    node('c', {}, { version: 'v1.36.2', created_at: '2026-01-02T00:00:00Z', status: ['NotReady'] }),
  ].map((n, i) => ({ ...n, internal_ip: ['10.0.0.10', '10.0.0.9', '9.0.0.1'][i]! }))
  const names = (sort: string) => ordered(nodes, orderFrom(sort)).map((n) => n.name).join('')

  it('is by a column, and by name where that is the same', () => {
    expect(['name', '-name', 'status', '-status', 'version', '-version', 'age', '-age', 'ip', '-ip'].map(names)).toEqual(['abc', 'cba', 'cba', 'abc', 'abc', 'bca', 'acb', 'bca', 'cba', 'abc'])
  })

  it('is in the URL, where anything else means by name', () => {
    for (const text of ['-name', 'age', '-age']) expect(orderText(orderFrom(text))).toBe(text)
    for (const text of ['name', 'labels', '-labels', 'x', '', undefined, ['age']]) expect(orderText(orderFrom(text))).toBeUndefined()
  })

  it('goes up, down and back', () => {
    const [up, down] = [clicked(orderFrom(undefined), 'age'), clicked(orderFrom('age'), 'age')]
    expect([up, down, clicked(down, 'age')].map(orderText)).toEqual(['age', '-age', undefined])
  })
})

describe('the filter', () => {
  const nodes = [
    node('one', { zone: 'a' }),
    node('two', { zone: 'b' }, { unschedulable: true, status: ['Ready', 'SchedulingDisabled'] }),
    node('three', {}, { status: ['NotReady'], roles: ['control-plane'], taints: [{ key: 'gpu', value: '', effect: 'NoSchedule' }] }),
  ]
  const names = (change: object) => select(nodes, { ...EMPTY, ...change }).nodes.map((n) => n.name)

  it('lets through what every condition lets through', () => {
    expect(names({})).toEqual(['one', 'two', 'three'])
    expect(names({ cordoned: true })).toEqual(['two'])
    expect(names({ notReady: true })).toEqual(['three'])
    expect(names({ ready: true, schedulable: true })).toEqual(['one'])
    expect(names({ role: 'control-plane' })).toEqual(['three'])
    expect(names({ taint: 'gpu', tainted: true })).toEqual(['three'])
    expect(names({ q: 'ZONE=a' })).toEqual(['one'])
    expect(names({ q: '10.0.0.5 three' })).toEqual(['three'])
    expect(names({ selector: 'zone in (a,b)', q: 't' })).toEqual(['two'])
  })

  it('says what is wrong with a selector and does not hide everything because of it', () => {
    const result = select(nodes, { ...EMPTY, selector: 'a b' })
    expect(result.fault).toContain('"a b"')
    expect(result.nodes).toHaveLength(3)
  })

  it('is reproduced by its URL', () => {
    const filter = { ...EMPTY, q: 'x y', selector: 'a in (b)', cordoned: true, role: 'worker' }
    expect(fromQuery(toQuery(filter))).toEqual(filter)
    expect(fromQuery({ q: ['a', 'b'], ready: 'yes' })).toEqual(EMPTY)
  })

  it('takes little of the processor for five thousand nodes', () => {
    const many = Array.from({ length: 5000 }, (_, i) => node(`node-${i}`, { zone: `z${i % 3}`, rack: `r${i % 40}` }))
    select(many, { ...EMPTY, q: 'warm' })
    const start = process.cpuUsage()
    select(many, { ...EMPTY, q: 'node-4', selector: 'zone in (z1,z2),rack!=r3' })
    expect(process.cpuUsage(start).user / 1000).toBeLessThan(200)
  })
})

describe('completion', () => {
  const keys = ['team', 'topology.kubernetes.io/zone', 'zone']
  const values = (key: string) => (key === 'zone' ? ['a', 'b', 'bb'] : [])
  it.each([
    ['', ['team', 'topology.kubernetes.io/zone', 'zone']],
    ['zo', ['topology.kubernetes.io/zone', 'zone']],
    ['!tea', ['!team']],
    ['team=x, zon', ['team=x, topology.kubernetes.io/zone', 'team=x, zone']],
    ['zone=b', ['zone=b', 'zone=bb']],
    ['zone!=a', ['zone!=a']],
    ['team, zone == ', ['team, zone == a', 'team, zone == b', 'team, zone == bb']],
    ['zone in (', ['zone in (a', 'zone in (b', 'zone in (bb']],
    ['zone notin (a,b', ['zone notin (a,b', 'zone notin (a,bb']],
    ['zone in (a, b', ['zone in (a, b', 'zone in (a, bb']],
    ['zone in (a,b),tea', ['zone in (a,b),team']],
    ['zone in (a,b)', []],
    ['zone in', []],
  ] as [string, string[]][])('of %j', (text, found) => {
    expect(completions(text, keys, values)).toEqual(found)
  })
})

describe('columns', () => {
  it('are those of the URL, in their own order, and all without one', () => {
    expect(columnsFrom(undefined)).toEqual(COLUMNS)
    expect(columnsFrom('age,status,nonsense')).toEqual(['status', 'age'])
    expect(columnsFrom('')).toEqual([])
    expect(template(columnsFrom('age')).split(' ')).toHaveLength(4)
  })
})

describe('chips', () => {
  it('leave out what every node has, put one\'s own labels first, and keep everything for the tooltip', () => {
    const chips = chipsOf(node('n', { 'kubernetes.io/hostname': 'n', 'topology.kubernetes.io/zone': 'a', team: 'infra', empty: '' }, { taints: [{ key: 'gpu', value: 'yes', effect: 'NoSchedule' }] }))
    expect([chips.labels, chips.taints, chips.count]).toEqual([['team=infra', 'empty', 'zone=a'], ['gpu=yes:NoSchedule'], 4])
    expect(chips.allLabels).toContain('topology.kubernetes.io/zone=a')
  })


  it('are shown whole, as many as there is room for, and one in any case', () => {
    const labels = ['team=platform', 'zone=zone-b', 'region=region-1']
    expect([undefined, 0, 200, 260, 400].map((room) => fitting(labels, room).length)).toEqual([3, 1, 1, 2, 3])
    expect(fitting([], 400)).toEqual([])
  })
})
