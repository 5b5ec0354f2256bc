/** Who does the request claim to speak for, and is it true? At most one identity; nothing is refused yet. */
import { GatewayError } from '../src/answers/errors.ts'
import { expiredPlantedCookie, expiredSessionCookies } from '../src/http/cookies.ts'
import { fieldLines } from '../src/http/fields.ts'
import {
  bearerToken,
  findCredential,
  usesSecureCookie,
  type Candidate,
  type Credential,
} from '../src/identity/credentials.ts'
import { isTokenShaped } from '../src/identity/token.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { stage } from '../src/request/stage.ts'

/** What tokens are checked against. */
export interface CredentialOptions {
  readonly verifier: TokenVerifier
  /** The domain that sibling workspaces share, for which they can plant cookies. */
  readonly domain: string
  /** Where tokens wait that have not been verified before. */
  readonly waitingRoom: WaitingRoom
}

export default stage('credential', ({ verifier, domain, waitingRoom }: CredentialOptions) => {
  return function findAndVerify({ exchange, raw }) {
    const secure = usesSecureCookie(exchange)
    const candidate = findCredential(raw.rawHeaders, secure)
    if (candidate === undefined) return undefined
    if ('reason' in candidate) {
      const { kind, reason } = candidate
      const expired = [...expiredSessionCookies(secure), expiredPlantedCookie(secure, domain)]
      const headers = kind === 'cookie' ? { 'Set-Cookie': expired } : {}
      exchange.credential = { kind, outcome: new GatewayError('bad-request', { reason, headers }) }
      return undefined
    }
    const { kind, token } = candidate
    const bearer = bearerToken(fieldLines(raw.rawHeaders, 'authorization')[0])
    exchange.dropAuthorization = kind === 'bearer' || bearer === token
    // Next to `X-Workspace-Token`, `Authorization` is the service's, unless it holds one more token of ours.
    const other = exchange.dropAuthorization ? undefined : bearer
    const known = verifier.recall(token)
    if (known !== undefined && (other === undefined || !isTokenShaped(other))) {
      exchange.credential = { kind, outcome: known }
      return undefined
    }
    return verifyLater(candidate, other, exchange)
  }

  /** Verifies when there is time: anybody can make up tokens that take time to check, so known tokens go first. */
  async function verifyLater(
    { kind, token }: Candidate,
    other: string | undefined,
    exchange: Exchange,
  ): Promise<undefined> {
    await waitingRoom.turn()
    exchange.credential = { kind, outcome: await outcomeOf(token) }
    if (other !== undefined && isTokenShaped(other))
      exchange.dropAuthorization = isOurs(other, await outcomeOf(other))
  }

  async function outcomeOf(token: string): Promise<Credential['outcome']> {
    try {
      return await verifier.verify(token)
    } catch (error) {
      return error instanceof GatewayError
        ? error
        : new GatewayError('token-invalid', { reason: 'verification failed', cause: error })
    }
  }
})

/** Whether a token was given out for this workspace, be it no longer good. */
function isOurs(token: string, outcome: Credential['outcome']): boolean {
  return (
    token.startsWith('hub_') ||
    !(outcome instanceof GatewayError) ||
    outcome.code === 'token-expired'
  )
}
