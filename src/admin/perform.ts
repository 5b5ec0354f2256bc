/** How is an owner's action done? The caller must be allowed to, and each change is one line of the log, whichever way it came. */
import type { Logger } from 'pino'
import { callerName, refusalOf, type Caller } from './caller.ts'
import type { ActionInput, OwnerAction, StateParts } from './action.ts'

/** How many of the things that an action changed are named in its log line. */
const MAX_NAMED = 50

/**
 * Does an action.
 * @param name the action's name, for the log
 * @returns what the caller gets, as JSON
 * @throws {GatewayError} when the caller may not do it, or the action itself refuses
 */
export async function perform<Parts extends StateParts>(
  name: string,
  action: OwnerAction<Parts>,
  { parts, input, caller, logger }: Performance<Parts>,
): Promise<object> {
  const refusal = refusalOf(action, caller, parts.owners, Date.now())
  if (refusal !== undefined) throw refusal
  if (action.method !== 'GET') parts.state.refuseIfHandedOver()
  const { answer, changed, isSaved } = await action.run(parts, input, caller)
  if (changed !== undefined && logger !== undefined) logAct(logger, name, caller, changed, isSaved)
  return answer
}

/** Logs that somebody has changed something. @param changed ids of sessions, names of tokens or persons; never a secret */
export function logAct(
  logger: Logger,
  action: string,
  caller: Caller,
  changed: readonly string[],
  saved?: boolean,
): void {
  const { door, address: client, principal } = caller
  logger.info(
    {
      ...{ action, by: callerName(caller), user: principal?.subject, door, client },
      ...{ count: changed.length, changed: changed.slice(0, MAX_NAMED), saved },
    },
    'owner acted',
  )
}

/** Who does an action on what. */
interface Performance<Parts> {
  readonly parts: Parts
  readonly input: ActionInput
  readonly caller: Caller
  /** Undefined for a command that needed no gateway: what it prints is all that is said of it. */
  readonly logger: Logger | undefined
}
