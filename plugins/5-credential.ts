/** Who does the request claim to speak for, and is it true? At most one identity; nothing is refused yet. */
import fp from 'fastify-plugin'
import { expiredPlantedCookie, expiredSessionCookies } from '../src/http/cookies.ts'
import {
  bearerToken,
  findCredential,
  usesSecureCookie,
  type Candidate,
  type Credential,
} from '../src/identity/credentials.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { fieldLines } from '../src/http/fields.ts'
import { isTokenShaped } from '../src/identity/token.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'

/** What tokens are checked against. */
export interface CredentialOptions {
  readonly verifier: TokenVerifier
  /** The domain that sibling workspaces share, for which they can plant cookies. */
  readonly domain: string
}

export default fp(
  async function credential(app, { verifier, domain }: CredentialOptions) {
    app.addHook('onRequest', function findAndVerify(request, _reply, done) {
      const { exchange, raw } = request
      exchange.outcome.stage = 'credential'
      const secure = usesSecureCookie(exchange)
      const candidate = findCredential(raw.rawHeaders, secure)
      if (candidate === undefined) {
        done()
        return
      }
      if ('reason' in candidate) {
        const { kind, reason } = candidate
        const expired = [...expiredSessionCookies(secure), expiredPlantedCookie(secure, domain)]
        const headers = kind === 'cookie' ? { 'Set-Cookie': expired } : {}
        exchange.credential = {
          kind,
          outcome: new GatewayError('bad-request', { reason, headers }),
        }
        done()
        return
      }
      const { kind, token } = candidate
      const bearer = bearerToken(fieldLines(raw.rawHeaders, 'authorization')[0])
      exchange.dropAuthorization = kind === 'bearer' || bearer === token
      // Next to `X-Workspace-Token`, `Authorization` is the service's, unless it holds one more token of ours.
      const other = exchange.dropAuthorization ? undefined : bearer
      const known = verifier.recall(token)
      if (known !== undefined && (other === undefined || !isTokenShaped(other))) {
        exchange.credential = { kind, outcome: known }
        done()
        return
      }
      // Anybody can make up tokens that take time to check: who is known already goes first.
      app.waitingRoom.add(() => void verifyThen({ kind, token }, other, exchange, done))
    })

    async function verifyThen(
      { kind, token }: Candidate,
      other: string | undefined,
      exchange: Exchange,
      done: () => void,
    ): Promise<void> {
      exchange.credential = { kind, outcome: await outcomeOf(token) }
      if (other !== undefined && isTokenShaped(other))
        exchange.dropAuthorization = isOurs(other, await outcomeOf(other))
      done()
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
  },
  { name: 'credential', fastify: '5.x', dependencies: ['sensitive-files', 'waiting-room'] },
)

/** Whether a token was given out for this workspace, be it no longer good. */
function isOurs(token: string, outcome: Credential['outcome']): boolean {
  return (
    token.startsWith('hub_') ||
    !(outcome instanceof GatewayError) ||
    outcome.code === 'token-expired'
  )
}
