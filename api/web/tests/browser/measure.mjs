// Five thousand nodes: how long the page works while one scrolls and filters.
//
// The figures are held to the median of a few rounds, in CPU time of the page's main thread: what else the machine
// does is not counted.
import { launch } from './browser.mjs'
import { PASSWORD, startDemo } from './demo.mjs'
import { between, traced } from './trace.mjs'
import { Window } from './window.mjs'

const ROUNDS = 5
/** Milliseconds, to stay under. */
const MOST = 100
const TEXTS = ['node-4', 'node-49', 'zone-b', '10.0.1', '']

/** In the page: scrolls through everything, orders, then filters, with a mark before and after each. */
async function round(texts) {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve))
  const shown = () => document.querySelector('[data-shown]').dataset.shown
  const view = document.querySelector('[role=table]')
  performance.mark('knm-scroll')
  for (let top = 0; top < view.scrollHeight; top += 700) {
    view.scrollTop = top
    await frame()
  }
  performance.mark('knm-scrolled')
  const input = document.querySelector('input[placeholder="name, IP or label"]')
  const walls = []
  for (const [i, text] of texts.entries()) {
    view.scrollTop = 0
    // The frame that this takes is over, and what follows is in a task of its own.
    await frame()
    await new Promise((resolve) => setTimeout(resolve))
    const before = shown()
    const start = performance.now()
    performance.mark(`knm-filter-${i}`)
    input.value = text
    input.dispatchEvent(new Event('input', { bubbles: true }))
    // What is painted is new when the number is; the task of this mark is the one that paints.
    while (shown() === before && performance.now() - start < 5000) await frame()
    performance.mark(`knm-filtered-${i}`)
    walls.push(performance.now() - start)
  }
  // Each ordered by a click on its column's head, of all the nodes.
  for (const column of ['ip', 'age']) {
    const first = () => view.querySelector('.window [role=row] .name').textContent
    const head = document.querySelector(`[data-head=${column}] button`)
    head.click()
    await frame()
    await frame()
    await new Promise((resolve) => setTimeout(resolve))
    const before = first()
    const start = performance.now()
    performance.mark(`knm-order-${column}`)
    head.click()
    while (first() === before && performance.now() - start < 5000) await frame()
    performance.mark(`knm-ordered-${column}`)
    head.click()
    await frame()
  }
  performance.mark('knm-end')
  return { walls, rows: document.querySelectorAll('[role=row]').length }
}

async function measured(page) {
  let seen
  const trace = await traced(page, async () => (seen = await page.evaluate(round, TEXTS)))
  const scrolling = between(trace, 'knm-scroll')
  if (!scrolling.length) throw new Error('the trace has no tasks: is it still RunTask?')
  const sum = (name) => between(trace, name).reduce((total, task) => total + task.cpu, 0)
  const filters = TEXTS.map((_, i) => sum(`knm-filter-${i}`))
  const orders = ['ip', 'age'].map((column) => sum(`knm-order-${column}`))
  return {
    scroll: Math.max(...scrolling.map((task) => task.cpu)), scrollWall: Math.max(...scrolling.map((task) => task.wall)),
    filter: Math.max(...filters), filterWall: Math.max(...seen.walls), order: Math.max(...orders), rows: seen.rows,
  }
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1]

export async function measure(out) {
  const demo = await startDemo('--nodes', '5000', '--pods', '1')
  const context = await launch({ locale: 'en-US' })
  try {
    const window = new Window(context.pages()[0] ?? (await context.newPage()), demo.pods[0].url, out)
    window.expected = [/status of 503/]
    await window.signIn('admin', PASSWORD)
    await window.page.getByText('5000 of 5000').waitFor({ timeout: 60_000 })
    // The first is for warming up.
    const rounds = []
    for (let i = 0; i <= ROUNDS; i++) rounds.push(await measured(window.page))
    rounds.shift()
    const faults = [...window.complaints]
    for (const [name, kind] of [['longest task while scrolling', 'scroll'], ['slowest filter, to the painted rows', 'filter'], ['slowest order by a column', 'order']]) {
      const [cpu, wall] = [kind, `${kind}Wall`].map((of) => median(rounds.map((r) => r[of] ?? NaN)))
      console.log(`    ${name}: ${cpu.toFixed(0)} ms of CPU${Number.isNaN(wall) ? '' : `, ${wall.toFixed(0)} ms on the wall`}; to be under ${MOST} ms`)
      // A slower machine is no fault of the page's; twice as much is.
      if (cpu >= 2 * MOST) faults.push(`${name}: ${cpu.toFixed(0)} ms of CPU, to be under ${MOST}`)
    }
    const { rows } = rounds[0]
    if (rows > 120) faults.push(`${rows} rows exist at a time`)
    await window.shot('five-thousand')
    if (faults.length) throw new Error(faults.join('\n'))
  } finally {
    await context.close()
    await demo.stop()
  }
}
