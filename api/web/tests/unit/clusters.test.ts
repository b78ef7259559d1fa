import { describe, expect, it } from 'vitest'
import { pick } from '@/clusters'

const list = [{ name: 'east', default: true }, { name: 'west', default: false }]

describe('the cluster that is looked at', () => {
  it('is the one that the URL names, or none: never another', () => {
    expect(pick(list, 'west', 'east')).toEqual({ current: 'west', missing: null })
    expect(pick(list, 'prod-west', 'east')).toEqual({ current: null, missing: 'prod-west' })
  })

  it('is without one in the URL that of before, else the default', () => {
    expect(pick(list, undefined, 'west').current).toBe('west')
    expect(pick(list, undefined, 'gone').current).toBe('east')
    expect(pick([list[1]!], undefined, null).current).toBe('west')
  })

  it('is not known before the list is, and then nothing is missing', () => {
    expect(pick([], 'west', 'west')).toEqual({ current: null, missing: null })
  })
})
