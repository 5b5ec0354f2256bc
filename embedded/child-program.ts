/** How is a program run that belongs to the workspace? As a child process that is watched from its start to its end. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { canConnect } from '../src/services/can-connect.ts'

/** A child process whose standard error is a pipe. */
export type Child = ChildProcess & { readonly stderr: Readable }

const START_MS = 10_000
const RETRY_MS = 25
/** How long a program may take to end after SIGTERM, in milliseconds. It normally needs a few. */
const STOP_MS = 3000
const LAST_WORDS = 2000

/**
 * Waits until a program is ready.
 * @param program its name in messages
 * @param ready the Unix socket on which it then accepts connections, or tells whether it is ready
 * @throws {Error} with its last words when it cannot be run, ends early, or does not start in time
 */
export async function hasStarted(
  program: string,
  child: Child,
  ready: string | (() => boolean),
): Promise<void> {
  const lastWords = keepLastWords(child)
  const started = new AbortController()
  try {
    await Promise.race([
      isReady(ready, started.signal),
      failure(child, program, lastWords, started.signal),
    ])
  } finally {
    started.abort()
  }
}

/** How a process ended, for a person. */
export function endWords(code: number | null, signal: NodeJS.Signals | null): string {
  return signal ?? `exit code ${code}`
}

async function isReady(ready: string | (() => boolean), signal: AbortSignal): Promise<void> {
  const look =
    typeof ready === 'string' ? () => canConnect({ path: ready }, START_MS) : async () => ready()
  while (!(await look())) await delay(RETRY_MS, undefined, { signal })
}

async function failure(
  child: Child,
  program: string,
  lastWords: () => string,
  signal: AbortSignal,
): Promise<never> {
  // Wait for 'close', which comes after 'exit' and after the end of stderr.
  const ended = once(child, 'close', { signal }).then(
    ([code, killedBy]) =>
      `ended while starting (${endWords(code as number | null, killedBy as NodeJS.Signals | null)})`,
  )
  const silent = delay(START_MS, `was not ready within ${START_MS / 1000} s`, { signal })
  let what
  try {
    what = await Promise.race([ended, silent])
  } catch (error) {
    throw new Error(`${program} could not be run: ${(error as Error).message}`, { cause: error })
  }
  throw new Error(`${program} ${what}. ${lastWords() || 'It wrote nothing to stderr.'}`)
}

/** Reads all of a program's log, so that it never blocks on a full pipe, and keeps the last part for an error message. */
function keepLastWords(child: Child): () => string {
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-LAST_WORDS)
  })
  return () => text.trim()
}

/** Ends the child process and waits until it has ended. */
export async function endChild(child: Child): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(impatience)
}
