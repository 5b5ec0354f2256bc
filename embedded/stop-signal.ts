/** When is a program of this folder to stop? At the first signal; a second one ends it at once. */
import { EXIT } from '../src/process/exit-codes.ts'

/** npm forwards a Ctrl+C that the terminal has already sent to this process, so two signals this close are one. */
const SAME_SIGNAL_MS = 500

/** Resolves on the first signal to stop, also during the start. A later signal ends the process at once. */
export function stopSignal(): {
  readonly wanted: Promise<void>
  readonly signal: AbortSignal
} {
  const { promise, resolve } = Promise.withResolvers<void>()
  const controller = new AbortController()
  let since: number | null = null
  const onSignal = () => {
    if (since === null) {
      since = performance.now()
      controller.abort()
      resolve()
    } else if (performance.now() - since > SAME_SIGNAL_MS) {
      process.exit(EXIT.failed)
    }
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return { wanted: promise, signal: controller.signal }
}
