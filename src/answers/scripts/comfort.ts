/**
 * What do pages with forms do in the browser besides? Times in the person's own zone, buttons that copy, and forms that a double click
 * sends once. This function is sent as text, so it uses nothing from outside itself.
 */

/**
 * Shows each `time` in the zone and language of the browser, makes buttons with `data-copy` copy the text of that element, and sends
 * no form again within seconds: the second of two requests would read that its code was used.
 */
export function comfort(): void {
  const SEND_AGAIN_MS = 5000
  for (const form of document.forms) {
    let sentAt = -SEND_AGAIN_MS
    form.addEventListener('submit', (event) => {
      if (event.timeStamp - sentAt < SEND_AGAIN_MS) event.preventDefault()
      else sentAt = event.timeStamp
    })
  }
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' })
  for (const time of document.querySelectorAll('time')) {
    const date = new Date(time.dateTime)
    if (Number.isNaN(date.getTime())) continue
    time.title = time.textContent ?? ''
    time.textContent = format.format(date)
  }
  for (const button of document.querySelectorAll<HTMLButtonElement>('button[data-copy]')) {
    const source = document.getElementById(button.dataset['copy'] ?? '')
    if (source === null || !('clipboard' in navigator)) continue
    button.hidden = false
    button.addEventListener('click', () => {
      void navigator.clipboard.writeText(source.textContent ?? '').then(
        () => (button.textContent = 'Copied'),
        () => (button.textContent = 'Select the text, and copy it by hand'),
      )
    })
  }
}
