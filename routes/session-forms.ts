/** What do the routes that begin, renew and end sessions have in common? The ticket in a form, the cookie, and a disk that is full. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { COOKIE_TOO_LONG_DETAIL, TICKET_EXPIRED_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { sessionCookie } from '../src/http/cookies.ts'
import { usesSecureCookie } from '../src/identity/credentials.ts'
import type { CookieToken, SessionIssuer } from '../src/identity/issuer.ts'
import type { Sessions, Ticket } from '../src/identity/sessions.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { ownOrigin, type Exchange } from '../src/request/exchange.ts'
import type { LoginOptions } from '../src/request/login.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { NOT_ONE_TOKEN } from './forms.ts'

/** What the routes of sessions need besides the request. */
export interface SessionRouteOptions {
  readonly issuer: SessionIssuer
  readonly sessions: Sessions
  readonly login: LoginOptions
  readonly verifier: TokenVerifier
  /** Tokens wait here before they are verified. */
  readonly waitingRoom: WaitingRoom
  /** Ends the request when a form arrives too slowly. */
  readonly watchdog: Watchdog
  /**
   * Takes one from the budget of the client address, when a request that was free has turned out to be a wrong guess.
   * @returns the refusal when nothing was left
   */
  readonly payForGuess: (request: FastifyRequest) => GatewayError | undefined
}

/** The path of this origin to which the browser goes from here, by the field `return_to`; `/` without a good one. */
export function returnPathIn(fields: URLSearchParams, exchange: Exchange): string {
  return returnPath(fields.get('return_to') ?? undefined, ownOrigin(exchange))
}

/**
 * The ticket in a form, or the error that refuses it.
 * @param inUrl whether it came in a URL
 */
export async function ticketIn(
  form: URLSearchParams,
  inUrl: boolean,
  { verifier, waitingRoom }: Pick<SessionRouteOptions, 'verifier' | 'waitingRoom'>,
): Promise<Ticket | GatewayError> {
  const [token, ...more] = form.getAll('token')
  await waitingRoom.turn() // verifying takes time, and anybody can send forged tokens
  if (token === undefined || more.length > 0) return NOT_ONE_TOKEN
  const pasted = tokenInLink(token.trim())
  try {
    return await verifier.verifyTicket(pasted ?? token.trim(), inUrl || pasted !== undefined)
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return error.code === 'token-expired' ? EXPIRED : error
  }
}

/** The token in a sign-in link, which people paste whole into the form; undefined for a text that is no link. */
function tokenInLink(text: string): string | undefined {
  const query = /^https?:\/\/[^?#]*\?([^#]*)/i.exec(text)?.[1]
  return new URLSearchParams(query).get('token') ?? undefined
}

/** The cookie of a session token. @throws {GatewayError} `token-invalid` for one that browsers would drop */
export function cookieOf({ token, endsAt }: CookieToken, { exchange }: FastifyRequest): string {
  const cookie = sessionCookie(usesSecureCookie(exchange), token, (endsAt - Date.now()) / 1000)
  if (cookie === undefined) throw TOO_LONG
  return cookie
}

/** Answers that the state cannot be written. Not thrown, because a refusal is counted, and this is no guess. */
export function answerUnsaved(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  error: unknown,
): FastifyReply {
  if (!(error instanceof GatewayError) || error.code !== 'state-unavailable') throw error
  app.answerProblem(request, reply, error)
  return reply
}

const EXPIRED = new GatewayError('token-expired', {
  reason: 'exp',
  detail: TICKET_EXPIRED_DETAIL,
})

const TOO_LONG = new GatewayError('token-invalid', {
  reason: 'too long for a cookie',
  detail: COOKIE_TOO_LONG_DETAIL,
})
