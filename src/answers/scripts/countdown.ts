/**
 * What does the page of too many requests do in the browser? It counts down, and then goes on by itself or offers a button. This
 * function is sent as text, so it uses nothing from outside itself.
 */

/** Counts the seconds of `data-seconds` down in the text of `#again`, a link or button that is useless before. */
export function countdown(): void {
  const again = document.querySelector<HTMLElement>('#again')
  if (again === null) return
  const label = again.textContent
  const repeats = again.hasAttribute('data-repeats')
  const endsAt = performance.now() + Number(again.dataset['seconds']) * 1000
  again.setAttribute('aria-disabled', 'true')
  again.addEventListener('click', (event) => {
    if (again.getAttribute('aria-disabled') === 'true') event.preventDefault()
    else if (!repeats) {
      event.preventDefault()
      history.back()
    }
  })
  const timer = setInterval(tick, 250)
  tick()

  function tick() {
    const seconds = Math.ceil((endsAt - performance.now()) / 1000)
    if (seconds > 0) {
      if (again !== null) again.textContent = `${label} in ${seconds} s`
      return
    }
    clearInterval(timer)
    again?.removeAttribute('aria-disabled')
    if (again !== null) again.textContent = label
    if (repeats) location.reload()
  }
}
