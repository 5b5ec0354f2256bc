/**
 * How does a browser go away to sign in, and how does it prove on its return that it asked for that? With a random state, in a
 * cookie and in the address of the login page. Without it, a link of somebody else could sign a browser in as that other person
 * (login CSRF, RFC 6749 section 10.12).
 */
import { timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import {
  cookieValues,
  expiredPlantedSignInCookie,
  signInCookie,
  signInCookieName,
} from '../http/cookies.ts'
import { fieldLines } from '../http/fields.ts'
import { verifyAddress } from '../answers/pages/paths.ts'
import { usesSecureCookie } from '../identity/credentials.ts'
import { newName } from '../identity/sessions.ts'
import { cookieSession, ownOrigin } from './exchange.ts'
import { isPrefetch } from './request-facts.ts'

/** Where people sign in. */
export interface LoginOptions {
  /** GATEWAY_LOGIN_URL; undefined when the built-in page is used. */
  readonly loginUrl: string | undefined
  /** GATEWAY_STEP_UP_URL; undefined when a page of the gateway is used. */
  readonly stepUpUrl: string | undefined
  /** The parent domain of all workspaces. A sibling workspace can plant cookies for it. */
  readonly domain: string
}

/** A state that was given to a browser. */
export interface GivenState {
  readonly state: string
  /** The response headers that give it, names and values in turn. */
  readonly headers: readonly string[]
}

/** The form of a state: 128 random bits. Another value is not sent back to the browser. */
const STATE = /^[\w-]{22}$/

/** The part of the cookie that says that the browser went where a second factor is shown. */
const WENT_TO_STEP_UP = 'step-up'

/**
 * Gives the browser a state. Several tabs share one, so that each can come back; it lives for ten minutes from now. The cookie
 * also says which session this browser has, because a login service may send it back without its session cookie.
 * @param toStepUp whether it goes where a second factor is shown
 */
export function giveState(request: FastifyRequest, domain: string, toStepUp = false): GivenState {
  const { exchange } = request
  // A script of an allowed origin can read the response, and so gets a state that is worth nothing.
  if (exchange.allowOrigin !== undefined) return { state: newName(), headers: [] }
  const secure = usesSecureCookie(exchange)
  const sent = sentCookies(request)
  const [known = '', knownSession, went = false] = partsOf(sent)
  const state = STATE.test(known) ? known : newName()
  const session = cookieSession(exchange)?.id ?? knownSession
  const goes = toStepUp && !isPrefetch(request.raw.headers)
  const value = [state, session ?? '', went || goes ? WENT_TO_STEP_UP : ''].join('.')
  const cookies = [signInCookie(secure, value.replace(/\.+$/, ''))]
  if (sent.length > 1) cookies.unshift(expiredPlantedSignInCookie(secure, domain))
  return { state, headers: cookies.flatMap((cookie) => ['Set-Cookie', cookie]) }
}

/** Whether a state is the one that this browser got. */
export function isStateOf(request: FastifyRequest, state: string | undefined): boolean {
  const [sent = ''] = partsOf(sentCookies(request))
  if (state === undefined || !STATE.test(sent) || !STATE.test(state)) return false
  return timingSafeEqual(Buffer.from(sent), Buffer.from(state))
}

/** The id of the session that this browser had when it got its state; undefined when it had none. */
export function sessionOfState(request: FastifyRequest): string | undefined {
  return partsOf(sentCookies(request))[1]
}

/**
 * Whether this browser was sent to GATEWAY_STEP_UP_URL in the last ten minutes. If that page sends it back without a factor, to
 * be sent there again, it goes in circles. The browser itself remembers, so that nobody else can make it seem so.
 */
export function wentToStepUp(request: FastifyRequest): boolean {
  const [, , went = false] = partsOf(sentCookies(request))
  return went
}

/**
 * The state and the session in a cookie, and whether the browser went to show a second factor. A browser that sends two cookies
 * has one from elsewhere (cookie tossing), and then neither counts.
 */
function partsOf(
  sent: readonly string[],
): readonly [state?: string | undefined, session?: string | undefined, went?: boolean] {
  if (sent.length !== 1) return []
  const [state, session = '', mark] = (sent[0] ?? '').split('.', 3)
  return [state, STATE.test(session) ? session : undefined, mark === WENT_TO_STEP_UP]
}

function sentCookies({ exchange, raw }: FastifyRequest): string[] {
  return cookieValues(
    fieldLines(raw.rawHeaders, 'cookie'),
    signInCookieName(usesSecureCookie(exchange)),
  )
}

/** Where a browser goes to sign in, as origins. */
export function originsOf({ loginUrl, stepUpUrl }: Omit<LoginOptions, 'domain'>): string[] {
  const urls = [loginUrl, stepUpUrl].filter((url) => url !== undefined)
  return [...new Set(urls.map((url) => new URL(url).origin))]
}

/** How a browser goes away to sign in. */
export interface WayToLogin {
  /** The address of the login page. */
  readonly location: string
  /** The response headers with which the browser can come back, names and values in turn. */
  readonly headers: readonly string[]
}

/**
 * The way to the login page, from where the browser comes back to a path.
 * @param returnTo a verified path of ours
 * @returns undefined when there is no login page
 */
export function wayToLogin(
  request: FastifyRequest,
  { loginUrl, domain }: Pick<LoginOptions, 'loginUrl' | 'domain'>,
  returnTo: string,
): WayToLogin | undefined {
  if (loginUrl === undefined) return undefined
  return wayTo(loginUrl, giveState(request, domain), request, returnTo)
}

/**
 * The way to where a second factor is shown, from where the browser comes back to a path.
 * @param returnTo a verified path of ours
 */
export function wayToStepUp(
  request: FastifyRequest,
  { stepUpUrl, domain }: Pick<LoginOptions, 'stepUpUrl' | 'domain'>,
  returnTo: string,
): WayToLogin {
  if (stepUpUrl !== undefined)
    return wayTo(stepUpUrl, giveState(request, domain, true), request, returnTo)
  return { location: verifyAddress(returnTo), headers: [] }
}

function wayTo(
  href: string,
  { state, headers }: GivenState,
  request: FastifyRequest,
  returnTo: string,
): WayToLogin {
  const url = new URL(href)
  url.searchParams.set('return_to', ownOrigin(request.exchange) + returnTo)
  url.searchParams.set('state', state)
  return { location: url.href, headers }
}
