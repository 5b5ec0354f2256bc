/**
 * Who asks for an action, and may they? The machine's owner may do everything. Others may end their own session, and the
 * rest if they are an owner of the workspace: with the session of a browser, or with an API token.
 */
import { GatewayError, STEP_UP_MAX_AGE_SECONDS } from '../answers/errors.ts'
import type { Site } from '../identity/second-factor/passkeys.ts'
import type { FactorProof } from '../identity/second-factor/verdicts.ts'
import type { Principal } from '../identity/token.ts'
import { ownerRefusal } from './members.ts'

/** Who asks for an action. */
export interface Caller {
  /** How they reached the gateway; `state-file` for a command that needed no gateway. */
  readonly door: 'admin-socket' | 'api' | 'state-file'
  /** The verified credential; undefined for the machine's owner, whom the permissions of a file prove. */
  readonly principal: Principal | undefined
  /** Whether a person's browser asks, with the cookie or the token of its session. */
  readonly isBrowser: boolean
  /** The client address; undefined for the machine's owner. */
  readonly address: string | undefined
  /** The second factor that came with the request, for this act alone. */
  readonly proof?: FactorProof | undefined
  /** Where the request was sent, for passkeys; undefined where there can be none. */
  readonly site?: Site | undefined
}

/** The machine's owner at the admin socket. */
export const MACHINE: Caller = {
  door: 'admin-socket',
  principal: undefined,
  isBrowser: false,
  address: undefined,
}

/** What of an action decides who may do it. */
interface Guarded {
  readonly who: 'self' | 'owner' | 'machine'
  readonly isAct: boolean
}

/** The caller's name for the log. */
export function callerName({ principal }: Caller): string {
  return principal?.apiToken?.name ?? principal?.subject ?? 'machine'
}

/** Whether the caller is an owner of the workspace. @param owners GATEWAY_OWNERS; empty: everybody */
export function isOwner({ principal }: Caller, owners: readonly string[]): boolean {
  return principal === undefined || owners.length === 0 || owners.includes(principal.subject)
}

/**
 * Why a caller may not do an action; undefined when they may.
 * @param now milliseconds since 1970
 * @param hasFactor whether the person has a second factor here, which then decides instead of how fresh the sign-in is
 */
export function refusalOf(
  { who, isAct }: Guarded,
  caller: Caller,
  owners: readonly string[],
  now: number,
  hasFactor = false,
): GatewayError | undefined {
  const { principal, isBrowser } = caller
  if (principal === undefined) return undefined
  if (who === 'machine') return FOR_THE_MACHINE
  if (who === 'owner') {
    if (!isOwner(caller, owners)) return NOT_AN_OWNER
    // A workspace token that was given to a program would otherwise manage the sessions and tokens of its person.
    if (!isBrowser && principal.apiToken === undefined) return NOT_FOR_PROGRAMS
  }
  if (isAct && !(isBrowser && (hasFactor || isFreshSignIn(principal, now)))) return STEP_UP
  return undefined
}

/** Whether a caller may see and end what is not their own, as an owner does. */
export function mayActAsOwner(caller: Caller, owners: readonly string[]): boolean {
  return refusalOf({ who: 'owner', isAct: false }, caller, owners, 0) === undefined
}

/**
 * Whether the person signed in within the last 10 minutes, as their credential says: an older token of a session does not say what
 * a later sign-in proved. A time far ahead is wrong, and must not count for ever.
 * @param now milliseconds since 1970
 */
export function isFreshSignIn(
  { authenticatedAt }: Pick<Principal, 'authenticatedAt'>,
  now: number,
): boolean {
  return (
    authenticatedAt !== undefined &&
    Math.abs(now - authenticatedAt) <= STEP_UP_MAX_AGE_SECONDS * 1000
  )
}

const NOT_AN_OWNER = ownerRefusal('scope-missing', 'not an owner')
const NOT_FOR_PROGRAMS = ownerRefusal('scope-missing', 'not for programs')
const FOR_THE_MACHINE = ownerRefusal('scope-missing', 'for the machine')
const STEP_UP = new GatewayError('step-up-required')
