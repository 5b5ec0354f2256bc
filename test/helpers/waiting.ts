/**
 * How does a test wait? For a condition that it can see, never for time, because a busy machine needs more of it. Only this file
 * sleeps (test/source-rules.test.ts); where time itself is what a test is about, `elapse` says why.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'

/**
 * What is done at once takes less, in milliseconds, also on a machine that is busy. A test that says so compares with
 * something that would take longer, or for ever.
 */
export const SOON_MS = 5000

/** How often a condition in this process is looked at, in milliseconds. */
const LOOK_MS = 5

/** Waits until a condition holds; it is looked at every few milliseconds. */
export async function eventually(
  condition: () => boolean,
  what: string,
  capMs = 30_000,
): Promise<void> {
  await until(what, condition, capMs, LOOK_MS)
}

/**
 * Waits until something is found, in another program for example.
 * @param look returns something truthy when the wait is over; it may throw, which counts as not yet
 */
export async function until<Found>(
  what: string,
  look: () => Found | Promise<Found>,
  capMs = 60_000,
  lookMs = 50,
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
    await sleep(lookMs)
  }
}

/**
 * Waits until a number has not changed for some time: everything that could flow has flowed. A machine that is so busy that
 * a flow pauses for longer ends the wait early, which can hide a fault and makes none.
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

/** Whether a promise is fulfilled within some time. */
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
 * Lets time pass. Only where time is the matter itself: nothing may happen within it, or a client or service is to be slow.
 * @param _why for whoever reads the test
 */
export async function elapse(ms: number, _why: string): Promise<void> {
  await sleep(ms)
}

/** Does something after a while: how slow a client or a service is, or for how long a test waits at most. @returns cancels it */
export function later(ms: number, act: () => void): () => void {
  const timer = setTimeout(act, ms)
  return () => clearTimeout(timer)
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void later(ms, resolve))
}

/** Waits until the other end of a loopback connection, in this process, has read all that was written; or it is over. */
export async function readByPeer(socket: Socket): Promise<void> {
  await eventually(
    () => socket.destroyed || (socket.writableLength === 0 && unreadBytes(socket) === 0),
    'what was written is read',
  )
}

/** Bytes of a loopback connection that the kernel holds for the other end: sent and not taken, or taken and not read. */
function unreadBytes({ localPort, remotePort }: Socket): number {
  let bytes = 0
  for (const { local, remote, toSend, toRead } of tcpConnections()) {
    if (local === localPort && remote === remotePort) bytes += toSend
    if (local === remotePort && remote === localPort) bytes += toRead
  }
  return bytes
}

/** A connection in the kernel's table (proc(5), /proc/net/tcp). */
export interface TcpConnection {
  readonly local: number
  readonly remote: number
  readonly toSend: number
  readonly toRead: number
  /** Seconds until the keep-alive timer runs out; undefined when none is running. */
  readonly keepAliveSeconds: number | undefined
}

/** The TCP connections over IPv4 of this machine, by their ports. */
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
