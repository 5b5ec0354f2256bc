/** Which second factors do not work, or would not after the next start? The state file and the configured keys tell. */
import type { Config } from '../config/load.ts'
import { KeyRing } from '../identity/key-ring.ts'
import { isAhead } from '../identity/second-factor/totp.ts'
import { secretsOf } from '../parts.ts'
import type { FactorLook } from '../store/factor-look.ts'
import { LOST_ADVICE } from '../identity/second-factor/factor-advice.ts'
import { printable } from '../answers/printable.ts'
import { minuteText } from './printable.ts'

/** A fault of second factors, and what to do about it. */
export interface FactorFault {
  /** Begins with its name. */
  readonly fault: string
  readonly remedy: string
  /** Whether it ends by itself. */
  readonly passes: boolean
}

/** How many persons a line names. */
const MAX_NAMED = 5

/** @param now milliseconds since 1970 */
export function factorFaults(
  { sealed, lastSteps, locks, lostAt }: FactorLook,
  config: Config,
  now: number,
): FactorFault[] {
  const keys = new KeyRing(secretsOf(config))
  const withoutKey = sealed.filter(({ kid }) => !keys.has(kid))
  const ahead = lastSteps.filter(({ step }) => isAhead(step, now))
  const locked = locks.filter(({ until }) => until > now)
  const kids = [...new Set(withoutKey.map(({ kid }) => kid))].map(printable).join(', ')
  const fault = (name: string, text: string, remedy: string, passes = false): FactorFault => ({
    ...{ fault: `${name}: ${text}`, remedy, passes },
  })
  return [
    ...(withoutKey.length === 0
      ? []
      : [
          fault(
            'factor-key-missing',
            `the authenticator app or backup codes of ${namesOf(withoutKey)} are encrypted under a signing secret that is not configured (key ${kids}), so their codes are refused`,
            'put the old secret into GATEWAY_JWT_PREVIOUS_SECRETS and start the gateway once, which encrypts them under the new one; or "workspace-gateway second-factor reset --sub NAME"',
          ),
        ]),
    ...(ahead.length === 0
      ? []
      : [
          fault(
            'clock-behind',
            `a code of ${namesOf(ahead)} was used that lies more than 10 minutes in the future, so further ones are refused`,
            'the clock of this machine is or was wrong: set it right, then a passkey or a backup code unlocks them, or "workspace-gateway second-factor unlock --sub NAME"',
          ),
        ]),
    ...(locked.length === 0
      ? []
      : [
          fault(
            'locked',
            `too many codes of ${namesOf(locked)} were wrong; the last lock ends at ${minuteText(new Date(Math.max(...locked.map(({ until }) => until))).toISOString())}`,
            'a passkey or a backup code works meanwhile; if it was not they, somebody else is signed in as them: "workspace-gateway sessions list"',
            true,
          ),
        ]),
    ...(lostAt === undefined || config.secondFactor !== 'local'
      ? []
      : [
          fault(
            'lost',
            `second factors may have been lost with a damaged state at ${minuteText(lostAt)}, and nobody knows whose, so whoever has none counts as having one and is refused`,
            LOST_ADVICE,
            true,
          ),
        ]),
  ]
}

function namesOf(rows: readonly { readonly subject: string }[]): string {
  const names = [...new Set(rows.map(({ subject }) => subject))]
  const shown = names.slice(0, MAX_NAMED).map(printable).join(', ')
  return names.length > MAX_NAMED ? `${shown} and ${names.length - MAX_NAMED} more` : shown
}
