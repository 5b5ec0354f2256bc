/** How does a test wait, and how does it count leaks? It polls a condition; it counts file descriptors and uncaught errors. */
import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * An immediate action takes less than this, in milliseconds, even on a busy machine. A test uses this bound where the wrong
 * behaviour would take longer or for ever.
 */
export const SOON_MS = 5000

/** Waits until a condition holds. It is checked every few milliseconds. */
export async function eventually(
  condition: () => boolean,
  what: string,
  capMs = 30_000,
): Promise<void> {
  const deadline = performance.now() + capMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`)
    await pause(5)
  }
}

/** The number of file descriptors that this process has open. */
export function openFiles(): number {
  return readdirSync('/proc/self/fd').length
}

/** Collects uncaught errors from this call on. In production, each of them would end the gateway. */
export function watchForCrashes(): unknown[] {
  const crashes: unknown[] = []
  process.on('uncaughtException', (error) => crashes.push(error))
  process.on('unhandledRejection', (error) => crashes.push(error))
  return crashes
}
