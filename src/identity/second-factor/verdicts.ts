/** What can come of a factor that a person shows or sets up? What was done, or why it was refused. */
import type { SealedProblem } from './sealed.ts'

/** The kinds of factors. */
export type FactorKind = 'totp' | 'passkey' | 'backup-code'

/**
 * Why a proof was refused, or an enrolment:
 * - `not-enrolled`: the person has no factor of this kind.
 * - `malformed-code`: neither six digits nor a backup code. It is not counted.
 * - `wrong-code`, `code-used`: a code that is wrong (counted), or was right once before (not counted).
 * - `locked`: too many wrong codes. Passkeys and backup codes work meanwhile.
 * - `clock-behind`: a code was used that lies more than 10 minutes in the future. A passkey or a backup code ends this.
 * - `factor-key-missing`: the signing key that encrypts it is not configured.
 * - `factor-unreadable`: its row was changed, or was lost with a damaged state.
 * - `challenge-gone`: the passkey answers no challenge of this session and purpose that still counts.
 * - `passkey-unknown`, `passkey-invalid`: it is no passkey of this person here, or its answer is not right.
 * - `counter-fell`: the passkey is bound to a device and counted less than before, so there is a copy of it.
 * - `factor-needed`: once a factor exists, an enrolment needs one to be shown.
 * - `enrolment-gone`: it was not begun in this session, or too long ago, or too many wrong codes were tried.
 * - `passkey-known`, `too-many-passkeys`: this passkey is registered already, or the person has 20.
 */
export type FactorRefusal =
  | 'not-enrolled'
  | 'malformed-code'
  | 'wrong-code'
  | 'code-used'
  | 'locked'
  | 'clock-behind'
  | SealedProblem
  | 'challenge-gone'
  | 'passkey-unknown'
  | 'passkey-invalid'
  | 'counter-fell'
  | 'factor-needed'
  | 'enrolment-gone'
  | 'passkey-known'
  | 'too-many-passkeys'

/** What a person shows: a code of their app or a backup code, as typed, or what `navigator.credentials.get()` returned, as JSON. */
export type FactorProof =
  | { readonly kind: 'code'; readonly code: string }
  | { readonly kind: 'passkey'; readonly response: unknown }

/** A refusal. */
export interface Refused {
  readonly isDone: false
  readonly reason: FactorRefusal
  /** Until when codes are locked, in milliseconds since 1970, when this try has locked them or they were locked before. */
  readonly lockedUntil?: number
}

/** A factor that was shown. */
export interface Proven {
  readonly isDone: true
  readonly factor: FactorKind
  readonly factorId: string
  /** Milliseconds since 1970. */
  readonly at: number
}

/** What an enrolment has added. */
export interface Enrolled {
  readonly isDone: true
  readonly factorId: string
  /** New backup codes, when the person had none. Nobody can be shown them again. */
  readonly backupCodes: readonly string[] | undefined
}

/** Something that happened with a factor, for the log. It has no secret. */
export interface FactorEvent {
  readonly what: 'shown' | 'added' | 'refused'
  readonly subject: string
  readonly sessionId: string
  /** The client's address; undefined when it is not known. */
  readonly client: string | undefined
  /** `code`: it is neither a code of an app nor a backup code. */
  readonly factor: FactorKind | 'code'
  /** Which factor it was; undefined for a refusal. */
  readonly factorId?: string | undefined
  /** For what it was shown; undefined when it was to be added. */
  readonly purpose: string | undefined
  /** Why it was refused. */
  readonly reason?: FactorRefusal | undefined
  /** Until when codes are locked, in milliseconds since 1970; with `wrong-code` this try has locked them. */
  readonly lockedUntil?: number | undefined
}

export function refused(reason: FactorRefusal): Refused {
  return { isDone: false, reason }
}

export function proven(factor: FactorKind, factorId: string, at: number): Proven {
  return { isDone: true, factor, factorId, at }
}
