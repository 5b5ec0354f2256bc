/**
 * Stage 5: which credential does the request carry, and is it valid? At most one credential counts. The result is noted and
 * not yet refused, because the stage `rate-limit` must count wrong credentials first. Only an API token in the address is refused
 * here, because every proxy on the way logs the address.
 */
import type { Socket } from 'node:net'
import { GatewayError } from '../src/answers/errors.ts'
import { expiredPlantedCookie, expiredSessionCookies } from '../src/http/cookies.ts'
import { fieldLines } from '../src/http/fields.ts'
import {
  bearerToken,
  findCredential,
  usesSecureCookie,
  type Candidate,
  type Credential,
  type CredentialKind,
} from '../src/identity/credentials.ts'
import { isTokenShaped, type Principal } from '../src/identity/token.ts'
import { isAllowedFrom, type ApiTokens } from '../src/identity/api-tokens.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { stage } from '../src/request/stage.ts'

/** What the stage needs besides the request. */
interface CredentialOptions {
  readonly verifier: TokenVerifier
  readonly apiTokens: ApiTokens
  /** The parent domain of all workspaces. A sibling workspace can plant cookies for it. */
  readonly domain: string
  /** Tokens that were not verified before wait here. */
  readonly waitingRoom: WaitingRoom
}

/** One error each for all refusals, because making an error is a large part of what a refusal costs. */
const TOKEN_IN_URL = new GatewayError('token-in-url')
const ADDRESS_NOT_ALLOWED = new GatewayError('address-not-allowed')
const TOKEN_OF_DEVICE = new GatewayError('token-invalid', {
  reason: 'token of a paired device, on another connection or in a cookie',
})
const API_TOKEN_IN_COOKIE = new GatewayError('token-invalid', { reason: 'API token in a cookie' })

export default stage('credential', (options: CredentialOptions) => {
  const { verifier, apiTokens, domain, waitingRoom } = options
  return function findAndVerify({ exchange, raw }) {
    const { path = '', query = '' } = exchange.target ?? {}
    const exposed = apiTokens.liveIn(path) ?? apiTokens.liveIn(query)
    if (exposed !== undefined) {
      apiTokens.markExposed(exposed)
      exchange.apiToken = exposed
      return TOKEN_IN_URL
    }
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
      noteCredential(exchange, raw.socket, kind, known)
      return undefined
    }
    return verifyLater(candidate, other, exchange, raw.socket)
  }

  /** Notes the credential that counts, and for the owner's lists where its session or its API token was last used. */
  function noteCredential(
    exchange: Exchange,
    socket: Socket,
    kind: CredentialKind,
    outcome: Credential['outcome'],
  ): void {
    exchange.credential = {
      kind,
      outcome: outcome instanceof GatewayError ? outcome : judged(exchange, socket, kind, outcome),
    }
  }

  function judged(
    exchange: Exchange,
    socket: Socket,
    kind: CredentialKind,
    principal: Principal,
  ): Credential['outcome'] {
    const { session, apiToken } = principal
    if (session.boundTo !== undefined && !isOfDevice(session.boundTo, kind, socket))
      return TOKEN_OF_DEVICE
    const address = exchange.client?.address ?? ''
    if (apiToken === undefined) {
      session.lastSeenFrom = address
      return principal
    }
    // Browsers send cookies by themselves, and their requests spend larger budgets: an API token is for programs.
    if (kind === 'cookie') return API_TOKEN_IN_COOKIE
    exchange.apiToken = apiToken
    apiTokens.noteUse(apiToken, address)
    return isAllowedFrom(apiToken, address) ? principal : ADDRESS_NOT_ALLOWED
  }

  /** Verifies an unknown token after the requests with known ones, because anybody can send forged tokens and each costs time. */
  async function verifyLater(
    { kind, token }: Candidate,
    other: string | undefined,
    exchange: Exchange,
    socket: Socket,
  ): Promise<undefined> {
    await waitingRoom.turn()
    noteCredential(exchange, socket, kind, await outcomeOf(token))
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

/** Whether a token of a paired device came on a connection of that device, as a program sends it. */
function isOfDevice(device: string, kind: CredentialKind, { linkPeer }: Socket): boolean {
  return kind !== 'cookie' && linkPeer?.device?.device === device
}

/** Whether a token was issued for this workspace, even if it has expired. */
function isOurs(token: string, outcome: Credential['outcome']): boolean {
  return (
    token.startsWith('hub_') ||
    !(outcome instanceof GatewayError) ||
    outcome.code === 'token-expired'
  )
}
