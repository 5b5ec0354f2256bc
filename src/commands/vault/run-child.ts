/** How does a program run in the place of this command? It has the same terminal, gets the same signals, and its end is ours. */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { codeOf } from '../../answers/errors.ts'
import type { Environment } from '../../config/load.ts'
import { CommandError } from '../owner.ts'

/** The exit codes with which a shell says that a program could not be started. */
const CANNOT_RUN = 126
const NOT_FOUND = 127

const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const

/** A terminal sends these to every process in its foreground, so that the program has them already. */
const OF_A_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT']

/** The signals that this process got. */
export interface Signals {
  /** Sends each further signal to a process. One that came before is sent at once. */
  sendTo(kill: (signal: NodeJS.Signals) => void): void
  /** The first signal, if one came that would have ended this process. */
  readonly first: NodeJS.Signals | undefined
  /** Gives the signals their default action back. */
  stop(): void
}

/** Catches the signals that a program can be sent, from now on: none may end this process before its leases are given back. */
export function catchSignals(): Signals {
  let first: NodeJS.Signals | undefined
  let forward: ((signal: NodeJS.Signals) => void) | undefined
  const hasTerminal = [0, 1, 2].some((fd) => isatty(fd))
  const onSignal = (signal: NodeJS.Signals): void => {
    first ??= signal
    if (!(hasTerminal && OF_A_TERMINAL.includes(signal))) forward?.(signal)
  }
  for (const signal of FORWARDED) process.on(signal, onSignal)
  return {
    sendTo(kill) {
      forward = kill
    },
    get first() {
      return first
    },
    stop() {
      for (const signal of FORWARDED) process.off(signal, onSignal)
    },
  }
}

/** The exit code of what a signal ended, as a shell says it. */
function exitCodeOfSignal(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal]
}

/** How a program is run. */
export interface ChildOptions {
  /** All of its environment. */
  readonly environment: Environment
  readonly signals: Signals
}

/**
 * Runs a program to its end, with the standard streams of this process. It does not start after a signal came.
 * @returns its exit code, or 128 and the number of the signal that ended it
 * @throws {CommandError} with exit code 126 or 127
 */
export async function runChild(
  program: string,
  args: readonly string[],
  { environment, signals }: ChildOptions,
): Promise<number> {
  if (signals.first !== undefined) return exitCodeOfSignal(signals.first)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const child = start(program, args, environment)
  signals.sendTo((signal) => child.kill(signal))
  child.once('error', (error) => reject(startFailure(program, error)))
  child.once('exit', (code, signal) => {
    resolve(signal === null ? (code ?? 0) : exitCodeOfSignal(signal))
  })
  return promise
}

/** Starts a program. Node emits some failures, and throws others, such as a list of arguments that is too long. */
function start(program: string, args: readonly string[], env: Environment): ChildProcess {
  try {
    return spawn(program, args, { stdio: 'inherit', env })
  } catch (error) {
    throw startFailure(program, error)
  }
}

function startFailure(program: string, error: unknown): CommandError {
  const isMissing = codeOf(error) === 'ENOENT'
  const why = isMissing ? 'is not found' : `cannot be run (${codeOf(error)})`
  return new CommandError(`"${program}" ${why}`, isMissing ? NOT_FOUND : CANNOT_RUN, {
    cause: error,
  })
}
