/**
 * How does a test wait, and how does it count leaks? It polls a condition instead of sleeping, because a busy machine needs more
 * time; only this file sleeps (test/source-rules.test.ts). It counts file descriptors and uncaught errors.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'

/**
 * An immediate action takes less than this, in milliseconds, even on a busy machine. A test uses this bound where the wrong
 * behaviour would take longer or for ever.
 */
export const SOON_MS = 5000

/** The real timers, also in a test that mocks timers. */
const { setTimeout: startTimer, clearTimeout: stopTimer } = globalThis

/** How often a condition in this process is checked, in milliseconds. */
const POLL_MS = 5

/** Waits until a condition holds. It is checked every few milliseconds. */
export async function eventually(
  condition: () => boolean,
  what: string,
  capMs = 30_000,
): Promise<void> {
  await until(what, condition, capMs, POLL_MS)
}

/**
 * Waits until `look` returns a truthy value, and returns that value.
 * @param look May throw, which counts as "not yet".
 */
export async function until<Found>(
  what: string,
  look: () => Found | Promise<Found>,
  capMs = 60_000,
  pollMs = 50,
): Promise<NonNullable<Found>> {
  const deadline = performance.now() + capMs
  let problem: unknown
  for (;;) {
    try {
      const found = await look()
      if (found) return found
    } catch (error) {
      problem = error
    }
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`, { cause: problem })
    await sleep(pollMs)
  }
}

/**
 * Waits until a number has not changed for some time, which means that back-pressure has stopped a flow. If a busy machine
 * pauses the flow for longer, the wait ends early: that can hide a fault, but never causes a failure.
 */
export async function standsStill(
  count: () => number,
  what: string,
  { stillMs = 200, capMs = 30_000 } = {},
): Promise<void> {
  let last = count()
  let since = performance.now()
  const isStill = () => {
    const now = count()
    if (now !== last) since = performance.now()
    last = now
    return performance.now() - since >= stillMs
  }
  await eventually(isStill, `${what} stands still`, capMs)
}

/** Returns whether a promise is fulfilled within some time. */
export async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  let cancel = () => {}
  const late = new Promise<boolean>((resolve) => {
    cancel = later(ms, () => resolve(false))
  })
  try {
    return await Promise.race([promise.then(() => true), late])
  } finally {
    cancel()
  }
}

/**
 * Sleeps. Use it only where time is the subject of the test: nothing may happen within that time, or a client or a service is
 * slow. It never synchronises.
 * @param _why The reason, for the reader of the test.
 */
export async function elapse(ms: number, _why: string): Promise<void> {
  await sleep(ms)
}

/**
 * Calls `act` after a delay, as a slow client or service, or as the time limit of a wait.
 * @returns cancels the call
 */
export function later(ms: number, act: () => void): () => void {
  const timer = startTimer(act, ms)
  return () => stopTimer(timer)
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void later(ms, resolve))
}

/** Waits until the other end of a loopback connection, in this process, has read everything that was written, or the connection is closed. */
export async function readByPeer(socket: Socket): Promise<void> {
  await eventually(
    () => socket.destroyed || (socket.writableLength === 0 && unreadBytes(socket) === 0),
    'what was written is read',
  )
}

/** Counts the bytes that the kernel still holds for the other end of a loopback connection: in transit, or not yet read. */
function unreadBytes({ localPort, remotePort }: Socket): number {
  let bytes = 0
  for (const { local, remote, toSend, toRead } of tcpConnections()) {
    if (local === localPort && remote === remotePort) bytes += toSend
    if (local === remotePort && remote === localPort) bytes += toRead
  }
  return bytes
}

/** A row of the kernel's table of TCP connections (proc(5), /proc/net/tcp). */
export interface TcpConnection {
  readonly local: number
  readonly remote: number
  readonly toSend: number
  readonly toRead: number
  /** Seconds until the keep-alive timer runs out; undefined when none is running. */
  readonly keepAliveSeconds: number | undefined
}

/** Lists the TCP connections over IPv4 of this machine. */
export function tcpConnections(): TcpConnection[] {
  const lines = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  const hex = (text = '') => Number.parseInt(text, 16)
  return lines.map((line) => {
    const [, local, remote, , queues = '', timer = ''] = line.trim().split(/\s+/)
    const [toSend, toRead] = queues.split(':')
    const [kind, ticks] = timer.split(':')
    return {
      local: hex(local?.split(':')[1]),
      remote: hex(remote?.split(':')[1]),
      toSend: hex(toSend),
      toRead: hex(toRead),
      keepAliveSeconds: kind === '02' ? hex(ticks) / 100 : undefined,
    }
  })
}

/** Lets a test wait for something among what arrives bit by bit: every wait looks again after each arrival. */
export class Arrivals {
  readonly #looks = new Set<() => void>()

  /** Tells every wait that something has arrived. */
  wake(): void {
    for (const look of this.#looks) look()
  }

  /** Waits until `find` returns something other than undefined, and returns that. */
  until<Found>(find: () => Found | undefined): Promise<Found> {
    return new Promise((resolve) => {
      const look = () => {
        const found = find()
        if (found === undefined) return
        this.#looks.delete(look)
        resolve(found)
      }
      this.#looks.add(look)
      look()
    })
  }
}

/**
 * Whether a process runs. A zombie process has ended. The answer comes from the state, because the command line is empty not
 * only for a zombie, but for a moment also in the middle of `exec`.
 */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false // it ended, perhaps between the opening of the file and the reading
  }
}

/**
 * Waits until a process runs its own program, and returns the environment of this program. A process that was just started is a
 * copy of its parent at first, and for a moment of `exec` its command line and its environment are empty.
 * @param commandLine What its arguments, each followed by a NUL character, match.
 */
export async function environmentOf(pid: number, commandLine: RegExp): Promise<string> {
  await runsProgram(pid, commandLine)
  const path = `/proc/${pid}/environ`
  return until(path, () => readFileSync(path, 'utf8'))
}

/** Waits until a process runs the program with these arguments, each followed by a NUL character. */
export async function runsProgram(pid: number, commandLine: RegExp): Promise<void> {
  const path = `/proc/${pid}/cmdline`
  await until(`${commandLine} in ${path}`, () => commandLine.test(readFileSync(path, 'utf8')))
}

/** The memory of a process that is resident, in bytes. */
export function memoryOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
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
