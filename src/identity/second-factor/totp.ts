/**
 * Is a code of an authenticator app right, and was it used before? otpauth computes codes (RFC 6238: SHA-1, six digits, 30
 * seconds). A step of skew is allowed in both directions, and each code counts once.
 */
import { Secret, TOTP } from 'otpauth'
import { randomBytes } from 'node:crypto'

/** How long a code is shown, in seconds. */
const STEP_SECONDS = 30

const OPTIONS = { algorithm: 'SHA1', digits: 6, period: STEP_SECONDS } as const

/** How many steps the clocks of the gateway and of the app may differ. */
const SKEW_STEPS = 1

/** The size of a new secret in bytes: the length of a SHA-1 digest, as RFC 4226 section 4 recommends. */
const SECRET_BYTES = 20

/** A clock this far behind the last code that was used was set back, or was wrong before: 10 minutes, in steps. */
const MAX_AHEAD_STEPS = 600 / STEP_SECONDS

const CODE = /^[0-9]{6}$/

/** The number of the step at a time (RFC 6238 section 4.2). @param now milliseconds since 1970 */
export function stepAt(now: number): number {
  return Math.floor(now / 1000 / STEP_SECONDS)
}

/** The newest step of which a code is accepted. */
export function newestStep(now: number): number {
  return stepAt(now) + SKEW_STEPS
}

/** Whether codes are refused because one was used that lies too far in the future. */
export function isAhead(lastStep: number, now: number): boolean {
  return lastStep > stepAt(now) + MAX_AHEAD_STEPS
}

export function newTotpSecret(): Buffer {
  return randomBytes(SECRET_BYTES)
}

/** A text of six digits without the spaces with which apps show it; undefined when it has another form. */
export function totpCodeIn(text: string): string | undefined {
  const code = text.replaceAll(/[\s-]/g, '')
  return CODE.test(code) ? code : undefined
}

/** The first and the last step that a code matches. */
export type Steps = readonly [first: number, last: number]

/**
 * The steps that a code matches. Two steps near each other may have the same code. Then all of them are used up together, and none
 * of them may have been used before, or the code would count twice. Therefore one step more is looked at in the past: that
 * step alone is not accepted.
 * @param now milliseconds since 1970
 * @returns undefined when the code is wrong
 */
export function matchingSteps(secret: Uint8Array, code: string, now: number): Steps | undefined {
  const current = stepAt(now)
  const totp = new TOTP({ ...OPTIONS, secret: secretOf(secret) })
  const matching: number[] = []
  for (let step = current - SKEW_STEPS - 1; step <= current + SKEW_STEPS; step++)
    if (totp.validate({ token: code, timestamp: step * STEP_SECONDS * 1000, window: 0 }) === 0)
      matching.push(step)
  const [first = 0, last = 0] = [matching[0], matching.at(-1)]
  return last >= current - SKEW_STEPS && matching.length > 0 ? [first, last] : undefined
}

/** What a person needs to set up an authenticator app. Both hold the secret. */
export interface TotpSetUp {
  /** base32, for typing (RFC 4648 section 6). */
  readonly secret: string
  /** `otpauth://…`, for a QR code or a link. */
  readonly uri: string
}

/** @param issuer the name of the workspace, which the app shows @param label the person */
export function setUpOf(secret: Uint8Array, issuer: string, label: string): TotpSetUp {
  const totp = new TOTP({ ...OPTIONS, issuer, label, secret: secretOf(secret) })
  return { secret: totp.secret.base32, uri: totp.toString() }
}

function secretOf(bytes: Uint8Array): Secret {
  return new Secret({ buffer: new Uint8Array(bytes).buffer })
}
