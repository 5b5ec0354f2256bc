/** Who does the request claim to speak for, and is it true? At most one identity; nothing is refused yet. */
import fp from 'fastify-plugin'
import { expiredSessionCookies } from '../src/cookies.ts'
import { bearerToken, findCredential } from '../src/credentials.ts'
import { GatewayError } from '../src/errors.ts'
import type { Credential, CredentialKind, Exchange } from '../src/exchange.ts'
import { fieldLines } from '../src/fields.ts'
import { isLoopbackHost } from '../src/host.ts'
import type { TokenVerifier } from '../src/token.ts'

/** What tokens are checked against. */
export interface CredentialOptions {
  readonly verifier: TokenVerifier
}

/**
 * Whether the session cookie carries `Secure` and the `__Host-` prefix: always, but for plain http on a loopback host,
 * where browsers take no such cookie and no network is crossed.
 */
export function usesSecureCookie({ scheme, authority }: Exchange): boolean {
  return scheme === 'https' || authority === undefined || !isLoopbackHost(authority)
}

export default fp(
  async function credential(app, { verifier }: CredentialOptions) {
    app.addHook('onRequest', function findAndVerify(request, _reply, done) {
      const { exchange, raw } = request
      exchange.stage = 'credential'
      const secure = usesSecureCookie(exchange)
      const candidate = findCredential(raw.rawHeaders, secure)
      if (candidate === undefined) {
        done()
        return
      }
      if ('reason' in candidate) {
        const headers = candidate.cookie ? { 'Set-Cookie': expiredSessionCookies(secure) } : {}
        exchange.credential = {
          kind: 'cookie',
          outcome: new GatewayError('bad-request', { reason: candidate.reason, headers }),
        }
        done()
        return
      }
      const { kind, token } = candidate
      const bearer = bearerToken(fieldLines(raw.rawHeaders, 'authorization')[0])
      exchange.dropAuthorization =
        kind === 'bearer' ||
        (bearer !== undefined && (bearer === token || verifier.recall(bearer) !== undefined))
      const known = verifier.recall(token)
      if (known !== undefined) {
        exchange.credential = { kind, outcome: known }
        done()
        return
      }
      void verifyThen(kind, token, exchange, done)
    })

    async function verifyThen(
      kind: CredentialKind,
      token: string,
      exchange: Exchange,
      done: () => void,
    ): Promise<void> {
      let outcome: Credential['outcome']
      try {
        outcome = await verifier.verify(token)
      } catch (error) {
        outcome =
          error instanceof GatewayError
            ? error
            : new GatewayError('token-invalid', { reason: 'verification failed', cause: error })
      }
      exchange.credential = { kind, outcome }
      done()
    }
  },
  { name: 'credential', fastify: '5.x', dependencies: ['sensitive-files'] },
)
