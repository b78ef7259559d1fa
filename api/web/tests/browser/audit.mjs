// What a person would see at once on a screenshot, and nobody looks at every one: words that are cut
// without a way to the whole, and text that does not stand out from what is behind it.

/** WCAG 2.1, success criterion 1.4.3: text of this size. */
const LEAST_CONTRAST = 4.5

export function audit(page) {
  // Transitions have to be over, or colours are those of the way.
  return page.evaluate(async (least) => {
    await Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined)))
    const parse = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number)
      return { r, g, b, a }
    }
    const over = (front, back) => {
      const mix = (x, y) => x * front.a + y * (1 - front.a)
      return { r: mix(front.r, back.r), g: mix(front.g, back.g), b: mix(front.b, back.b), a: 1 }
    }
    const light = ({ r, g, b }) => {
      const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
      return 0.2126 * x + 0.7152 * y + 0.0722 * z
    }
    const behind = (element) => {
      const layers = []
      for (let at = element; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor)
        if (colour.a > 0) layers.push(colour)
        if (colour.a === 1) break
      }
      return layers.reverse().reduce((back, front) => over(front, back), { r: 255, g: 255, b: 255, a: 1 })
    }
    const faults = []
    for (const element of document.querySelectorAll('body *')) {
      const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join(' ').trim()
      const box = element.getBoundingClientRect()
      const style = getComputedStyle(element)
      if (!text || box.width < 2 || box.height < 2 || style.visibility !== 'visible' || element.closest('[aria-hidden=true], :disabled, .is-disabled, noscript')) continue
      if (box.right < 0 || box.bottom < 0 || box.left > innerWidth || box.top > innerHeight) continue
      const cut = style.overflowX !== 'visible' && element.scrollWidth > element.clientWidth + 1
      if (cut && !element.closest('[title]:not([title=""])')) faults.push(`cut: ${text.slice(0, 60)}`)
      // Words that leave the window or the box that clips them.
      if (box.right > innerWidth + 1 && style.position !== 'fixed' && !element.closest('[role=table]')) faults.push(`outside: ${text.slice(0, 60)}`)
      const [back, fore] = [behind(element), parse(style.color)]
      const opacity = (() => { let all = 1; for (let at = element; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity); return all })()
      const [a, b] = [light(over({ ...fore, a: fore.a * opacity }, back)), light(back)].sort((x, y) => y - x)
      const contrast = (a + 0.05) / (b + 0.05)
      if (contrast < least) faults.push(`${contrast.toFixed(1)}:1 ${text.slice(0, 40)}`)
    }
    return [...new Set(faults)]
  }, LEAST_CONTRAST)
}
