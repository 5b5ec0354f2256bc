/**
 * Stage 5: which credential does the request carry, and is it valid? At most one credential counts. The result is noted and
 * nothing is refused yet, because the stage `rate-limit` must count wrong credentials first.
 */
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

/** What the stage needs besides the request. */
interface CredentialOptions {
  readonly verifier: TokenVerifier
  /** The parent domain of all workspaces. A sibling workspace can plant cookies for it. */
  readonly domain: string
  /** Tokens that were not verified before wait here. */
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
    // Beside `X-Workspace-Token`, `Authorization` is for the service, unless it holds a second token of ours.
    const other = exchange.dropAuthorization ? undefined : bearer
    const known = verifier.recall(token)
    if (known !== undefined && (other === undefined || !isTokenShaped(other))) {
      exchange.credential = { kind, outcome: known }
      return undefined
    }
    return verifyLater(candidate, other, exchange)
  }

  /** Verifies an unknown token after the requests with known ones, because anybody can send forged tokens and each costs time. */
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

/** Whether a token was issued for this workspace, even if it has expired. */
function isOurs(token: string, outcome: Credential['outcome']): boolean {
  return (
    token.startsWith('hub_') ||
    !(outcome instanceof GatewayError) ||
    outcome.code === 'token-expired'
  )
}
