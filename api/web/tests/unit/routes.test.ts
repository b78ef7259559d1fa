import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { routes } from '@/routes'

describe('the pages', () => {
  it('are all given out by the api when somebody goes to them by their URL', () => {
    const source = readFileSync(new URL('../../../src/routes/ui.rs', import.meta.url), 'utf8')
    const served = /PAGES: \[&str; \d+\] =\s*\[([^\]]*)\]/.exec(source)![1]!.match(/\/[\w/{}]*/g)!.map((path) => path.replace(/\{(\w+)\}/g, ':$1'))
    const known = routes.map((route) => route.path).filter((path) => path !== '/' && !path.includes('*'))
    expect(known.filter((path) => !served.includes(path))).toEqual([])
    expect(known).toContain('/tasks/:id')
  })
})
