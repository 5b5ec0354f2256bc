/** How does the process end? The signals that ask for it, and an end that no stuck thread can hold up. */

/**
 * Work that Node's thread pool has not finished. At exit the C library waits for those threads, and a thread may wait for
 * ever: for the reader of a pipe, for a name server, for a disk.
 */
const THREAD_WORK = /^(?:FSReq|GetAddrInfo|GetNameInfo)/

/** Ends the process with this exit code. What is to be done at exit is done. */
export function endProcess(exitCode: number): never {
  if (!process.getActiveResourcesInfo().some((type) => THREAD_WORK.test(type)))
    process.exit(exitCode)
  process.emit('exit', exitCode)
  try {
    // Another program in our place takes our threads away, whatever they wait for, and it can end.
    const { execPath } = process
    process.execve?.(execPath, [execPath, '--eval', `process.exit(${exitCode})`], {})
  } catch {
    // No such call here, or the program was replaced meanwhile: then the signal says that we ended.
  }
  process.kill(process.pid, 'SIGKILL')
  throw new Error('not reached')
}

/** npm passes a Ctrl+C on that the terminal has sent already: two interrupts so close (in milliseconds) are one. */
const SAME_INTERRUPT_MS = 100

/** What is done on signals that stop a process. */
export interface StopActions {
  readonly first: () => void
  /** Also on every further one. */
  readonly second: () => void
}

/** Obeys SIGTERM and SIGINT. */
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
