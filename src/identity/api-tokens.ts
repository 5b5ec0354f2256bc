/** Which API tokens are there, and what may each do? */
import type { State } from '../store/state.ts'
import type { Session } from './session.ts'

/** An API token (`hub_…`), without its secret. Times are in milliseconds since 1970. */
export interface ApiToken {
  readonly id: string
  readonly name: string
  /** Ends when the token expires or is revoked. */
  readonly session: Session
}

/** The API tokens of a workspace. */
export class ApiTokens {
  constructor(_state: State) {}

  /** The token with this secret, also when it has expired or was revoked; undefined when there is none. */
  find(_token: string): ApiToken | undefined {
    return undefined
  }
}
