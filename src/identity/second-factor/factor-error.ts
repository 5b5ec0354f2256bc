/** How is a refused factor answered? As a wish for another try, with a sentence that says what was wrong. */
import { FACTOR_DETAILS } from '../../answers/details.ts'
import { GatewayError } from '../../answers/errors.ts'
import { FACTOR_CHALLENGE } from '../../answers/problem.ts'
import type { FactorRefusal } from './verdicts.ts'

/** The error of a factor that was refused, or not set up. The reason is for the log. */
export function factorError(reason: FactorRefusal): GatewayError {
  return new GatewayError('step-up-required', {
    ...{ reason, detail: FACTOR_DETAILS[reason] },
    headers: { 'WWW-Authenticate': FACTOR_CHALLENGE },
  })
}
