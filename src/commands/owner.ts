/**
 * How does a command do an owner's action? It asks the running gateway at its admin socket. When none runs, it opens the state
 * file as its one writer and does the action itself.
 */
import { existsSync } from 'node:fs'
import type { OwnerAction, StateParts } from '../admin/action.ts'
import { askAdmin, GatewayNotReachedError } from '../admin/ask.ts'
import { MACHINE } from '../admin/caller.ts'
import {
  OWNER_ACTIONS,
  STATE_ACTIONS,
  type ActionName,
  type StateActionName,
} from '../admin/owner-actions.ts'
import { perform } from '../admin/perform.ts'
import { GatewayError } from '../answers/errors.ts'
import { readSetting, type Environment } from '../config/load.ts'
import type { Setting } from '../config/setting.ts'
import { SETTINGS } from '../config/settings.ts'
import { ApiTokens } from '../identity/api-tokens.ts'
import { SecondFactors } from '../identity/second-factor/factors.ts'
import { Sessions } from '../identity/sessions.ts'
import { EXIT } from '../process/exit-codes.ts'
import { StateBusyError } from '../store/state-errors.ts'
import type { State } from '../store/state.ts'
import type { Io } from './io.ts'
import { openStateForCommand } from './open-state.ts'
import { messageText } from './printable.ts'

/** Why a command ends without having done what was asked: one line for standard error, and the exit code. */
export class CommandError extends Error {
  readonly exitCode: number

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** The error of a wrong command line. */
export function wrongUsage(command: string, message: string): CommandError {
  return new CommandError(`${message}\nTry "workspace-gateway help ${command}".`, EXIT.usage)
}

/** What is said of a change that holds in memory and could not be written. */
export const NOT_SAVED =
  'it is not on the disk yet, which may be full: it holds while the gateway runs, which writes it as soon as it can'

/** What is said of a change that could not be written, by a command that no gateway stands behind. */
const NOT_DONE =
  'not done: the state could not be written, and its disk may be full; free some space and run this again'

/**
 * Does the work of a command. @returns 0, or the exit code of the failure, which is printed without what would control the terminal,
 * because it may quote what a socket has answered.
 */
export async function exitCodeOf(io: Io, work: () => Promise<void>): Promise<number> {
  try {
    await work()
    return EXIT.ok
  } catch (error) {
    const failure = error instanceof GatewayNotReachedError ? unavailable(error) : error
    if (!(failure instanceof CommandError)) throw failure
    io.err(`workspace-gateway: ${messageText(failure.message)}\n`)
    return failure.exitCode
  }
}

function unavailable(error: GatewayNotReachedError): CommandError {
  return new CommandError(error.message, EXIT.unavailable, { cause: error })
}

/** Reads one setting of the environment. @throws {CommandError} with exit code 78 */
export function settingOf<T>(setting: Setting<T>, env: Environment): T {
  try {
    return readSetting(setting, env)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new CommandError(text, EXIT.config, { cause: error })
  }
}

/** What a request to an action says: the segment `:id` of the path, and the JSON of the body. */
export interface Question {
  readonly id?: string
  readonly body?: object
}

/**
 * Does an action that only a running gateway can do.
 * @returns what the gateway answers
 * @throws {CommandError}
 * @throws {GatewayNotReachedError}
 */
export async function askGateway(
  name: ActionName,
  env: Environment,
  { id = '', body }: Question = {},
): Promise<unknown> {
  const { method, path }: Pick<OwnerAction<StateParts>, 'method' | 'path'> = OWNER_ACTIONS[name]
  const at = path.replace(':id', encodeURIComponent(id))
  return askForJson(settingOf(SETTINGS.stateDir, env), at, { method, body })
}

/** Sends a request to the admin socket. @returns the JSON of the answer @throws as {@link askGateway} */
export async function askForJson(
  ...[stateDir, path, options]: Parameters<typeof askAdmin>
): Promise<unknown> {
  const { status, body } = await askAdmin(stateDir, path, options)
  if (status === 200) return JSON.parse(body) as unknown
  throw new CommandError(detailOf(body) ?? `the gateway answered ${status}`, EXIT.failed)
}

/** The `detail` of a problem document, if it has one. */
function detailOf(body: string): string | undefined {
  try {
    const { detail } = JSON.parse(body) as { detail?: unknown }
    return typeof detail === 'string' ? detail : undefined
  } catch {
    return undefined
  }
}

/**
 * Does an action on the state: the running gateway does it, or this command when none runs.
 * @returns what the action answers
 * @throws {CommandError}
 * @throws {GatewayNotReachedError} when a gateway may run, but cannot be asked
 * @throws {StateBusyError} and other errors of the state, for which src/main.ts has the exit codes
 */
export async function doAction(
  name: StateActionName,
  env: Environment,
  question: Question = {},
): Promise<unknown> {
  const stateDir = settingOf(SETTINGS.stateDir, env)
  try {
    return await askGateway(name, env, question)
  } catch (error) {
    if (!(error instanceof GatewayNotReachedError && error.isAbsent && existsSync(stateDir)))
      throw error
  }
  let state: State
  try {
    state = await openStateForCommand(stateDir)
  } catch (error) {
    if (!(error instanceof StateBusyError)) throw error
    return askStarted(name, env, question, error)
  }
  return doOnState(state, name, env, question)
}

/** Asks once more: a gateway that is starting writes the state before it can be asked. */
async function askStarted(
  name: StateActionName,
  env: Environment,
  question: Question,
  busy: StateBusyError,
): Promise<unknown> {
  try {
    return await askGateway(name, env, question)
  } catch (error) {
    throw error instanceof GatewayNotReachedError ? busy : error
  }
}

async function doOnState(
  state: State,
  name: StateActionName,
  env: Environment,
  { id = '', body }: Question,
): Promise<unknown> {
  try {
    const parts = statePartsOf(state, env)
    const caller = { ...MACHINE, door: 'state-file' } as const
    const action: OwnerAction<StateParts> = STATE_ACTIONS[name]
    const answer = await perform(name, action, {
      ...{ parts, caller, input: { id, body } },
      logger: undefined,
    })
    // A gateway would hold it in memory and write it later. This process ends, and the change with it.
    if ('saved' in answer && answer.saved === false) throw new CommandError(NOT_DONE, EXIT.failed)
    return JSON.parse(JSON.stringify(answer)) as unknown // as if the gateway had answered
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    throw new CommandError(error.detail ?? error.reason ?? error.message, EXIT.failed, {
      cause: error,
    })
  } finally {
    state.close()
  }
}

/** What the actions need, made from the state file alone. */
function statePartsOf(state: State, env: Environment): StateParts {
  const sessions = new Sessions(state, {
    maxSeconds: settingOf(SETTINGS.sessionMaxSeconds, env),
    leewaySeconds: settingOf(SETTINGS.jwtLeewaySeconds, env),
  })
  sessions.load(() => true) // the gateway ends the sessions whose key is gone, when it starts
  const apiTokens = new ApiTokens(state)
  apiTokens.load()
  // Without the signing secret, which listing, resetting and unlocking do not need.
  const factors = new SecondFactors({ state, keys: undefined, workspace: '' })
  factors.load()
  const owners = settingOf(SETTINGS.owners, env)
  return { owners, state, sessions, apiTokens, factors, keepsFactors: false, socketsOf: () => 0 }
}
