/** How does the supervisor learn that the gateway is ready or stopping? From s6's pipe or systemd's NOTIFY_SOCKET. */
import { execFile } from 'node:child_process'
import { closeSync, fstatSync, readdirSync, readlinkSync, writeSync } from 'node:fs'
import type { Logger } from 'pino'

/** The supervisors to notify. */
export interface NotifyOptions {
  /** The descriptor of the pipe that s6 reads (`GATEWAY_NOTIFY_FD`). */
  readonly fd: number | undefined
  /** systemd's `NOTIFY_SOCKET`. */
  readonly socket: string | undefined
  readonly logger: Logger
}

/** Time limit of `systemd-notify`, in milliseconds. */
const NOTIFY_MS = 5000

/** The PATH of `systemd-notify`, which gets nothing else of the gateway's environment because it needs nothing else. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Notifies the supervisor that the gateway accepts requests. Never rejects: a supervisor reports a missing notification. */
export async function notifyReady({ fd, socket, logger }: NotifyOptions): Promise<void> {
  if (fd !== undefined) notifyPipe(fd, logger)
  if (socket !== undefined) await notifySystemd(socket, ['READY=1'], logger)
}

/** Notifies the supervisor that the gateway is stopping. Never rejects. */
export async function notifyStopping({ socket, logger }: NotifyOptions): Promise<void> {
  if (socket !== undefined) await notifySystemd(socket, ['STOPPING=1'], logger)
}

/** Writes a line feed to the pipe and closes it, as s6 expects (https://skarnet.org/software/s6/notifywhenup.html). */
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
 * Whether a descriptor is a pipe whose other end is in another process. A wrong number in the setting could be one of Node's
 * own pipes, and closing that pipe would end Node's signal handling.
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
    return undefined // closed by now: the descriptor that `readdirSync` itself had open
  }
}

/**
 * Runs systemd's own program, because Node has no Unix datagram sockets. It sends in the name of its parent, this process.
 */
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
