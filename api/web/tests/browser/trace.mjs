// How long the page's main thread has worked, task by task, by its own CPU clock: what else the machine
// does meanwhile stretches the time on the wall, not this.

const CATEGORIES = ['disabled-by-default-devtools.timeline', 'blink.user_timing', '__metadata']

/** Runs `job` and returns the tasks of the main thread: when they began (µs), how long on the wall and of CPU (ms). */
export async function traced(page, job) {
  const session = await page.context().newCDPSession(page)
  const events = []
  session.on('Tracing.dataCollected', ({ value }) => events.push(...value))
  const over = new Promise((resolve) => session.once('Tracing.tracingComplete', resolve))
  await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: CATEGORIES, excludedCategories: ['*'] } })
  await job()
  await session.send('Tracing.end')
  await over
  await session.detach()
  const marks = events.filter((event) => event.cat?.includes('blink.user_timing') && event.name.startsWith('knm-'))
  // Marks are made by the page, so they name its process and thread.
  const { pid, tid } = marks[0]
  // Each task once: Chromium also tells of `ThreadControllerImpl::RunTask`, with this one inside.
  const tasks = events
    .filter((event) => event.pid === pid && event.tid === tid && event.ph === 'X' && event.name === 'RunTask')
    .map((event) => ({ at: event.ts, wall: event.dur / 1000, cpu: (event.tdur ?? event.dur) / 1000 }))
  return { tasks, marks: marks.map(({ name, ts }) => ({ name, at: ts })) }
}

/** The tasks between one mark and the next. */
export function between({ tasks, marks }, name) {
  const i = marks.findIndex((mark) => mark.name === name)
  const [from, until] = [marks[i].at, marks[i + 1]?.at ?? Infinity]
  return tasks.filter((task) => task.at + task.wall * 1000 > from && task.at < until)
}
