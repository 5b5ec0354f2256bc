/** How is an owner's action done? The caller must be allowed to, and each change is one line of the log, whichever way it came. */
import type { Logger } from 'pino'
import { FACTOR_WANTED_DETAIL } from '../answers/details.ts'
import { GatewayError } from '../answers/errors.ts'
import { FACTOR_CHALLENGE } from '../answers/problem.ts'
import { factorError } from '../identity/second-factor/factor-error.ts'
import type { SecondFactors } from '../identity/second-factor/factors.ts'
import type { Proven } from '../identity/second-factor/verdicts.ts'
import { sessionOver } from '../request/session-over.ts'
import { callerName, refusalOf, type Caller } from './caller.ts'
import type { ActionInput, ActionResult, OwnerAction, StateParts } from './action.ts'

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
  { parts, input, caller, logger, payForGuess }: Performance<Parts>,
): Promise<object> {
  const hasFactor = action.isAct && wantsFactor(parts, caller)
  const refusal = refusalOf(action, caller, parts.owners, Date.now(), hasFactor)
  if (refusal !== undefined) throw refusal
  if (action.method !== 'GET') parts.state.refuseIfHandedOver()
  const work = action.isAct
    ? await preparedFor(action.prepare(parts, input, caller), caller)
    : () => action.run(parts, input, caller)
  if (hasFactor) await mustProve(name, caller, parts, payForGuess)
  const { answer, changed, isSaved } = await paid(work, payForGuess)
  if (changed !== undefined && logger !== undefined) logAct(logger, name, caller, changed, isSaved)
  return answer
}

/** Waits for an act to be judged. Who was signed out meanwhile does nothing any more. */
async function preparedFor<Work>(judging: Work | Promise<Work>, { principal }: Caller) {
  const work = await judging
  const session = principal?.session
  if (session?.endedBy !== undefined) throw sessionOver(session)
  return work
}

/** Whether an act of a person wants a second factor, because they have one that is kept here. */
export function wantsFactor(
  { factors, keepsFactors }: Pick<StateParts, 'factors' | 'keepsFactors'>,
  { principal }: Caller,
): boolean {
  return principal !== undefined && keepsFactors && factors.isEnrolled(principal.subject)
}

/** For what a factor is shown that comes with an act. */
export function purposeOf(action: string): string {
  return `act ${action}`
}

/**
 * @throws {GatewayError} `step-up-required` when no factor came with the act, or it was refused; `rate-limited` when it was
 * refused too often; `token-invalid` when the session has ended meanwhile; `state-unavailable`
 */
async function mustProve(
  name: string,
  { principal, proof, address: client }: Caller,
  { factors }: StateParts,
  payForGuess: PayForGuess | undefined,
): Promise<void> {
  if (principal === undefined) return
  if (proof === undefined) throw FACTOR_WANTED
  const { subject, session } = principal
  const about = { sessionId: session.id, client, proof, purpose: purposeOf(name) }
  const result = await judged(factors, subject, about, payForGuess)
  if (result instanceof GatewayError) throw result
  // A passkey takes a while to judge. Who was signed out meanwhile does nothing any more.
  if (session.endedBy !== undefined) throw sessionOver(session)
}

/**
 * Judges a factor that a person shows. A refused one spends the budget of the client address.
 * @returns what was shown; or `step-up-required`, or `rate-limited` when the address had nothing left
 * @throws {GatewayError} `state-unavailable`
 */
export async function judged(
  factors: SecondFactors,
  subject: string,
  about: Parameters<SecondFactors['prove']>[1],
  payForGuess: PayForGuess | undefined,
): Promise<Proven | GatewayError> {
  const result = await factors.prove(subject, about)
  return result.isDone ? result : (payForGuess?.() ?? factorError(result.reason))
}

/** Does the work. A factor that is refused as it is set up spends the budget of the address, as one that is shown. */
async function paid(
  work: () => ActionResult | Promise<ActionResult>,
  payForGuess: PayForGuess | undefined,
): Promise<ActionResult> {
  try {
    return await work()
  } catch (error) {
    const isRefusedFactor = error instanceof GatewayError && error.code === 'step-up-required'
    throw isRefusedFactor ? (payForGuess?.() ?? error) : error
  }
}

const FACTOR_WANTED = new GatewayError('step-up-required', {
  reason: 'the act wants a second factor',
  detail: FACTOR_WANTED_DETAIL,
  headers: { 'WWW-Authenticate': FACTOR_CHALLENGE },
})

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
  /** For a caller over the network, who could guess at a factor. */
  readonly payForGuess?: PayForGuess
}

/** Takes one from the budget of the client address. @returns the refusal when nothing was left */
type PayForGuess = () => GatewayError | undefined
