/** Does the supervisor know that the gateway is ready? s6's notification pipe and systemd's NOTIFY_SOCKET. */
import { execFile } from 'node:child_process'
import { closeSync, fstatSync, readdirSync, readlinkSync, writeSync } from 'node:fs'
import type { Logger } from 'pino'

/** Whom to tell. */
export interface NotifyOptions {
  /** The pipe that s6 waits at (`GATEWAY_NOTIFY_FD`). */
  readonly fd: number | undefined
  /** systemd's `NOTIFY_SOCKET`. */
  readonly socket: string | undefined
  readonly logger: Logger
}

/** How long telling systemd may take, in milliseconds. */
const NOTIFY_MS = 5000

/** Where programs are: the environment of the gateway is nobody else's business. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Tells the supervisor that requests are taken. Never rejects: a supervisor that waits in vain says so itself. */
export async function notifyReady({ fd, socket, logger }: NotifyOptions): Promise<void> {
  if (fd !== undefined) notifyPipe(fd, logger)
  if (socket !== undefined) await notifySystemd(socket, ['READY=1'], logger)
}

/** Tells the supervisor that the end has begun. Never rejects. */
export async function notifyStopping({ socket, logger }: NotifyOptions): Promise<void> {
  if (socket !== undefined) await notifySystemd(socket, ['STOPPING=1'], logger)
}

/** s6: a line feed, and then the end of the pipe (https://skarnet.org/software/s6/notifywhenup.html). */
function notifyPipe(fd: number, logger: Logger): void {
  try {
    if (!isInheritedPipe(fd)) throw new Error('it is no pipe of a supervisor')
    writeSync(fd, '\n')
    closeSync(fd)
    logger.info({ fd }, 'readiness notified')
  } catch (error) {
    logger.warn({ err: error, setting: 'GATEWAY_NOTIFY_FD', fd }, 'readiness not notified')
  }
}

/**
 * Whether a descriptor is a pipe whose other end is elsewhere. Without this a wrong number could be one of Node's own
 * pipes, and closing it would end the handling of signals.
 */
function isInheritedPipe(fd: number): boolean {
  if (!fstatSync(fd).isFIFO()) return false
  const own = readlinkSync(`/proc/self/fd/${fd}`)
  const others = readdirSync('/proc/self/fd').filter((name) => Number(name) !== fd)
  return !others.some((name) => linkOf(`/proc/self/fd/${name}`) === own)
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined // closed since: the descriptor of the listing itself
  }
}

/** Node has no Unix datagram sockets, so systemd's own program does it. It names us as the sender's parent. */
function notifySystemd(socket: string, state: readonly string[], logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    execFile(
      'systemd-notify',
      [`--pid=${process.pid}`, ...state],
      { env: { NOTIFY_SOCKET: socket, PATH }, timeout: NOTIFY_MS },
      (error) => {
        if (error === null) logger.info({ state: state[0] }, 'supervisor notified')
        else logger.warn({ err: error, state: state[0] }, 'supervisor not notified')
        resolve()
      },
    )
  })
}
