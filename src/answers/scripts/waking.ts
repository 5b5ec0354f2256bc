/**
 * What does the page of a service that does not answer do in the browser? It asks until the service is up, and then goes on by
 * itself. This function is sent as text, so it uses nothing from outside itself.
 */

/** Asks `/_gateway/ready` about the service that `#waking` names, and reloads the page when it is up. */
export function waking(): void {
  const PATIENCE_MS = 60_000
  const FAST_MS = 3000
  /** Where the requests of a session count against the ten of its address, only a few a minute are left for this page. */
  const SLOW_MS = 10_000
  const status = document.querySelector<HTMLElement>('#waking')
  const service = status?.dataset['service'] ?? ''
  const begun = Date.now()
  setTimeout(() => void ask(), FAST_MS) // not at once: a service that accepts and then breaks off would be asked in a loop

  async function ask() {
    let pauseMs = SLOW_MS
    try {
      const answer = await fetch('/_gateway/ready', { cache: 'no-store' })
      if (answer.headers.get('ratelimit-policy')?.startsWith('"session"') === true)
        pauseMs = FAST_MS
      const { services } = (await answer.json()) as { services?: Record<string, unknown> }
      if (services?.[service] === 'up') {
        location.reload()
        return
      }
    } catch {
      // The gateway itself restarts, or the network is away: the next try tells.
    }
    if (Date.now() - begun > PATIENCE_MS) {
      for (const one of document.querySelectorAll<HTMLElement>('[data-late]')) one.hidden = false
    }
    setTimeout(() => void ask(), pauseMs)
  }
}
