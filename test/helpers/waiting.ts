/** Waiting for things that happen soon, and counting things that must not stay. */
import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * What is done at once takes less, in milliseconds, also on a machine that is busy. A test that says so compares with
 * something that would take longer, or for ever.
 */
export const SOON_MS = 5000

/** Waits until a condition holds; it is looked at every few milliseconds. */
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

/** File descriptors that this process holds open. */
export function openFiles(): number {
  return readdirSync('/proc/self/fd').length
}

/** Errors that nobody caught since this was called: a gateway would have ended with each of them. */
export function watchForCrashes(): unknown[] {
  const crashes: unknown[] = []
  process.on('uncaughtException', (error) => crashes.push(error))
  process.on('unhandledRejection', (error) => crashes.push(error))
  return crashes
}
