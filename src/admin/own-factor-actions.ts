/** How does a person look after their own second factors? They see them, add and remove some, and get new backup codes. */
import type { Principal } from '../identity/token.ts'
import { factorError } from '../identity/second-factor/factor-error.ts'
import { MAX_PASSKEYS } from '../identity/second-factor/factors.ts'
import type { Enrolment } from '../identity/second-factor/kept-factors.ts'
import type { Enrolled, Refused } from '../identity/second-factor/verdicts.ts'
import type { ActionInput, ActionResult, LiveParts } from './action.ts'
import type { Caller } from './caller.ts'
import { membersOf, ownerRefusal, textIn } from './members.ts'
import { purposeOf, wantsFactor } from './perform.ts'
import { factorsView, type FactorsView } from './second-factor-actions.ts'

/** A person's own factors. */
export interface OwnFactorsView extends FactorsView {
  /** Whether factors are kept and asked for here (GATEWAY_SECOND_FACTOR). */
  readonly kept: boolean
  /** Whether the person has one. One that cannot be read counts. */
  readonly enrolled: boolean
}

/** The answer when an authenticator app is to be set up. Both texts hold its secret. */
export interface AppSetUpView {
  readonly id: string
  /** Base32 (RFC 4648 section 6) */
  readonly secret: string
  /** `otpauth://…` */
  readonly uri: string
}

/** The answer when a passkey is to be made. */
export interface PasskeySetUpView {
  /** The options for `navigator.credentials.create()`. */
  readonly options: object
}

/** The answer when a factor was added, or when there are new backup codes, which nobody can be shown again. */
export interface EnrolledView {
  readonly id: string
  readonly backupCodes: readonly string[] | null
}

export function showOwnFactors(parts: LiveParts, caller: Caller): ActionResult {
  const { subject } = personOf(caller)
  const { factors, keepsFactors } = parts
  const answer: OwnFactorsView = {
    ...factorsView(factors.enrolmentOf(subject)),
    ...{ kept: keepsFactors, enrolled: factors.isEnrolled(subject) },
  }
  return { answer }
}

/**
 * The options for `navigator.credentials.get()` to show a passkey with an act; null when the person has none here.
 * @param act the name of the act
 */
export async function challengeFor(
  { factors }: LiveParts,
  act: string,
  caller: Caller,
): Promise<ActionResult> {
  const { subject, session } = personOf(caller)
  const purpose = purposeOf(act)
  const { site } = caller
  const options =
    site === undefined
      ? undefined
      : await factors.challenge(subject, { sessionId: session.id, site, purpose })
  return { answer: { options: options ?? null } }
}

/** Prepares to set up an authenticator app. */
export function beginApp(parts: LiveParts, caller: Caller): () => ActionResult {
  const { id: sessionId, subject } = kept(parts, caller).session
  const hasProof = wantsFactor(parts, caller)
  return () => {
    const setUp = parts.factors.beginTotp(subject, { sessionId, hasProof })
    if (!setUp.isDone) throw factorError(setUp.reason)
    const { id, secret, uri } = setUp
    const answer: AppSetUpView = { id, secret, uri }
    return { answer }
  }
}

/** Adds the app when it shows a right code. */
export function confirmApp(parts: LiveParts, { body }: ActionInput, caller: Caller): ActionResult {
  const { id: sessionId, subject } = kept(parts, caller).session
  const { id, code } = membersOf(body, ['id', 'code'])
  const tried = {
    sessionId,
    client: caller.address,
    id: textIn(id, 'id'),
    code: textIn(code, 'code'),
  }
  return added(parts.factors.confirmTotp(subject, tried))
}

/** Prepares to add a passkey: the options for `navigator.credentials.create()`. */
export function beginPasskey(parts: LiveParts, caller: Caller): () => Promise<ActionResult> {
  const { id: sessionId, subject } = kept(parts, caller).session
  const { site } = caller
  if (site === undefined) throw ownerRefusal('bad-request', 'no passkeys at an address')
  mustHaveRoom(parts.factors.enrolmentOf(subject))
  const hasProof = wantsFactor(parts, caller)
  return async () => {
    const setUp = await parts.factors.beginPasskey(subject, { sessionId, hasProof, site })
    if (!setUp.isDone) throw factorError(setUp.reason)
    const answer: PasskeySetUpView = { options: setUp.options }
    return { answer }
  }
}

/** @throws {GatewayError} `bad-request` when a person can have no further passkey */
function mustHaveRoom({ passkeys }: Enrolment): void {
  if (passkeys.length >= MAX_PASSKEYS) throw ownerRefusal('bad-request', 'too many passkeys')
}

/** Adds the passkey that the browser has made. */
export async function confirmPasskey(
  parts: LiveParts,
  { body }: ActionInput,
  caller: Caller,
): Promise<ActionResult> {
  const { session } = kept(parts, caller)
  const { id: sessionId, subject } = session
  const { response, name } = membersOf(body, ['response', 'name'])
  const made = {
    sessionId,
    client: caller.address,
    response,
    name: name === undefined ? '' : textIn(name, 'name'),
    hasEnded: () => session.endedBy !== undefined,
  }
  return added(await parts.factors.confirmPasskey(subject, made))
}

/** Prepares new backup codes, after which those before count no more. @throws {GatewayError} `bad-request` */
export function newBackupCodes(parts: LiveParts, caller: Caller): () => ActionResult {
  const { subject } = kept(parts, caller)
  if (!parts.factors.isEnrolled(subject)) throw ownerRefusal('bad-request', 'no factor yet')
  return () => added(parts.factors.newBackupCodes(subject))
}

/** Prepares to remove a factor. @throws {GatewayError} `not-found` */
export function removeFactor(
  parts: LiveParts,
  { id }: ActionInput,
  caller: Caller,
): () => ActionResult {
  const { subject } = kept(parts, caller)
  const { totp, passkeys } = parts.factors.enrolmentOf(subject)
  if (totp?.id !== id && !passkeys.some((passkey) => passkey.id === id)) throw NO_SUCH_FACTOR
  return () => {
    if (!parts.factors.remove(subject, id)) throw NO_SUCH_FACTOR
    return { answer: { removed: 1 }, changed: [id] }
  }
}

const NO_SUCH_FACTOR = ownerRefusal('not-found', 'no such factor')

function added(result: Enrolled | Refused): ActionResult {
  if (!result.isDone) throw factorError(result.reason)
  const { factorId: id, backupCodes } = result
  const answer: EnrolledView = { id, backupCodes: backupCodes ?? null }
  return { answer, changed: [id] }
}

/** The person who asks, where factors are kept. @throws {GatewayError} `bad-request` */
function kept({ keepsFactors }: LiveParts, caller: Caller): Principal {
  if (!keepsFactors) throw ownerRefusal('bad-request', 'no factors here')
  return personOf(caller)
}

/** The person who asks with the session of a browser. @throws {GatewayError} `bad-request` */
function personOf({ principal, isBrowser }: Caller): Principal {
  if (principal === undefined || !isBrowser) throw ownerRefusal('bad-request', 'only for a person')
  return principal
}
