/**
 * What does the owner's page do in the browser besides? Times in the person's own zone, and buttons that copy. This function is sent
 * as text, so it uses nothing from outside itself.
 */

/** Shows each `time` in the zone and language of the browser, and makes buttons with `data-copy` copy the text of that element. */
export function comfort(): void {
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
