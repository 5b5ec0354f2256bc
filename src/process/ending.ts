/** How does the process end? A signal requests it, and {@link endProcess} ends it even while a thread is blocked. */

/**
 * Node's names for unfinished work in its thread pool. At exit the C library joins those threads, and a thread may block for
 * ever: on a pipe that nobody reads, on a name server, on a disk.
 */
const THREAD_WORK = /^(?:FSReq|GetAddrInfo|GetNameInfo)/

/** Ends the process with this exit code. Listeners of the event `exit` run first, as with `process.exit`. */
export function endProcess(exitCode: number): never {
  if (!process.getActiveResourcesInfo().some((type) => THREAD_WORK.test(type)))
    process.exit(exitCode)
  process.emit('exit', exitCode)
  try {
    // execve replaces the process by a new Node, which ends our threads whatever they wait for; the new Node can exit.
    const { execPath } = process
    process.execve?.(execPath, [execPath, '--eval', `process.exit(${exitCode})`], {})
  } catch {
    // The platform has no execve, or Node's file was replaced. SIGKILL ends the process, with a signal for an exit code.
  }
  process.kill(process.pid, 'SIGKILL')
  throw new Error('not reached')
}

/** Two interrupts within this time (milliseconds) are one: npm forwards a Ctrl+C that the terminal has sent to us already. */
const SAME_INTERRUPT_MS = 100

/** The functions that the stop signals call. */
export interface StopActions {
  readonly first: () => void
  /** Called on the second signal and on every later one. */
  readonly second: () => void
}

/** Handles SIGTERM and SIGINT. */
export function onStopSignals({ first, second }: StopActions): void {
  let isStopping = false
  let interrupted = -Infinity
  const stop = (signal: NodeJS.Signals): void => {
    if (signal === 'SIGINT') {
      const now = performance.now()
      if (now - interrupted < SAME_INTERRUPT_MS) return
      interrupted = now
    }
    if (isStopping) second()
    else {
      isStopping = true
      first()
    }
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
