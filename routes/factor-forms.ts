/** What do the routes have in common that want a second factor? What a person can show, what a form has shown, and a refusal. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type GatewayError, STEP_UP_MAX_AGE_SECONDS } from '../src/answers/errors.ts'
import { NO_FACTOR_WORKS_DETAIL } from '../src/answers/details.ts'
import { problemsOf } from '../src/admin/second-factor-actions.ts'
import type { FactorWays } from '../src/answers/pages/factor-pages.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { errorFields } from '../src/answers/problem.ts'
import { isoTime } from '../src/identity/iso-time.ts'
import type {
  FactorProof,
  Proven,
  SecondFactors,
  Site,
} from '../src/identity/second-factor/factors.ts'
import { factorError } from '../src/identity/second-factor/factor-error.ts'
import type { Session } from '../src/identity/session.ts'
import type { BrowserSession, Sessions } from '../src/identity/sessions.ts'
import { ownOrigin, type Exchange } from '../src/request/exchange.ts'
import type { SessionRouteOptions } from './session-forms.ts'

/** What the routes need besides the request. */
export interface FactorRouteOptions extends Pick<
  SessionRouteOptions,
  'issuer' | 'login' | 'watchdog' | 'payForGuess'
> {
  readonly factors: SecondFactors
  readonly sessions: Sessions
  /** Whether factors are kept here (GATEWAY_SECOND_FACTOR). */
  readonly isLocal: boolean
}

/** The session of the browser that sent a request; undefined when it has none of its own, as with a ticket in the cookie. */
export function browserOf(
  { exchange }: FastifyRequest,
  sessions: Sessions,
): BrowserSession | undefined {
  const { principal, credential } = exchange
  if (principal === undefined || credential?.kind !== 'cookie') return undefined
  return sessions.browser(principal.session.id)
}

/** Where passkeys of this request are made and used; undefined on an address literal, which cannot have any (WebAuthn, section 5.1.2). */
export function siteOf(exchange: Exchange): Site | undefined {
  const origin = ownOrigin(exchange)
  const host = /^https?:\/\/([^/:[\]]+)(?::\d+)?$/.exec(origin)?.[1]
  return host === undefined || /^[0-9.]+$/.test(host) ? undefined : { host, origin }
}

/**
 * With what a person can show that it is them, for a purpose. Only a page that a person sees gets a challenge, because each new one
 * takes the place of an older one: an image on a page of a sibling workspace must not.
 */
export async function waysOf(
  { exchange, raw }: FastifyRequest,
  { id: sessionId, subject }: Pick<Session, 'id' | 'subject'>,
  factors: SecondFactors,
  purpose: string,
): Promise<FactorWays> {
  const enrolment = factors.enrolmentOf(subject)
  const { totp, backupCodes } = enrolment
  const isSeen = (raw.headers['sec-fetch-dest'] ?? 'document') === 'document'
  const site = isSeen ? siteOf(exchange) : undefined
  const passkey =
    site === undefined ? undefined : await factors.challenge(subject, { sessionId, site, purpose })
  const hasApp = totp !== undefined && totp.problem === undefined
  const hasBackupCodes =
    backupCodes !== undefined && backupCodes.problem === undefined && backupCodes.left > 0
  const problems = problemsOf(enrolment)
    .filter(({ problem }) => problem !== 'counter-fell' && problem !== 'no-backup-codes')
    .map(({ detail }) => detail)
  const hasNone = !hasApp && !hasBackupCodes && passkey === undefined && problems.length === 0
  return {
    hasApp,
    hasBackupCodes,
    passkey,
    problems: hasNone ? [NO_FACTOR_WORKS_DETAIL] : problems,
    lockedUntil: isoTime(enrolment.lockedUntil) ?? undefined,
  }
}

/** What a form has shown; undefined for nothing. */
export function proofIn(form: URLSearchParams): FactorProof | undefined {
  const passkey = form.get('passkey') ?? ''
  if (passkey !== '') {
    try {
      return { kind: 'passkey', response: JSON.parse(passkey) as unknown }
    } catch {
      return { kind: 'passkey', response: undefined } // it is refused as one that is not right
    }
  }
  const code = form.get('code') // an empty one is refused too, so that its page says so
  return code === null ? undefined : { kind: 'code', code }
}

/**
 * Judges what was shown. A wrong guess spends the budget of the address too.
 * @throws {GatewayError} `rate-limited` when that has none left; `state-unavailable`
 */
export async function judge(
  request: FastifyRequest,
  { session: { id: sessionId, subject } }: BrowserSession,
  proof: FactorProof,
  purpose: string,
  { factors, payForGuess }: Pick<FactorRouteOptions, 'factors' | 'payForGuess'>,
): Promise<Proven | GatewayError> {
  const client = request.exchange.client?.address
  const result = await factors.prove(subject, { sessionId, client, proof, purpose })
  if (result.isDone) return result
  const refusal = payForGuess(request)
  if (refusal !== undefined) throw refusal
  return factorError(result.reason)
}

/** Whether a sign-in is fresh enough for a first factor. */
export function isFreshSignIn({ authenticatedAt }: BrowserSession, now = Date.now()): boolean {
  return Math.abs(now - authenticatedAt) <= STEP_UP_MAX_AGE_SECONDS * 1000
}

/** Shows a page again, with what went wrong on it. @param headers what the response has besides, names and values in turn */
export function answerAgain(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  error: GatewayError,
  content: PageContent,
  headers: readonly string[] = [],
): FastifyReply {
  request.exchange.outcome.noteError(error)
  app.writePage(request, reply, content, [...errorFields(error), ...headers], error.statusCode)
  return reply
}
