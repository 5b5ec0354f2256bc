/** What do the routes have in common that want a second factor? What a person can show, what a form has shown, and a refusal. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GatewayError } from '../src/answers/errors.ts'
import { NO_FACTOR_WORKS_DETAIL } from '../src/answers/details.ts'
import type { Caller } from '../src/admin/caller.ts'
import type { ActionName } from '../src/admin/owner-actions.ts'
import { purposeOf } from '../src/admin/perform.ts'
import { problemsOf } from '../src/admin/second-factor-actions.ts'
import type { Fields } from '../src/answers/pages/elements.ts'
import { confirmPage, type FactorWays } from '../src/answers/pages/factor-pages.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { errorFields } from '../src/answers/problem.ts'
import { isoTime } from '../src/identity/iso-time.ts'
import type { SecondFactors } from '../src/identity/second-factor/factors.ts'
import type { Site } from '../src/identity/second-factor/passkeys.ts'
import type { FactorProof } from '../src/identity/second-factor/verdicts.ts'
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
 * Whether a person sees the page that a request asks for. Only such a page gets something that can be sent back once, because each
 * new one takes the place of an older one: an image on a page of a sibling workspace must not.
 */
export function isSeen({ raw }: FastifyRequest): boolean {
  return (raw.headers['sec-fetch-dest'] ?? 'document') === 'document'
}

/** With what a person can show that it is them, for a purpose. */
export async function waysOf(
  request: FastifyRequest,
  { id: sessionId, subject }: Pick<Session, 'id' | 'subject'>,
  factors: SecondFactors,
  purpose: string,
): Promise<FactorWays> {
  const enrolment = factors.enrolmentOf(subject)
  const { totp, backupCodes } = enrolment
  const site = isSeen(request) ? siteOf(request.exchange) : undefined
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

/** An act that wants a factor, or that was refused with the one that came. */
interface UnprovenAct {
  readonly name: ActionName
  /** What it does, in a sentence without its full stop. */
  readonly says: string
  readonly caller: Caller
  readonly error: GatewayError
  /** Where its form is sent again, with what besides the factor. */
  readonly action: string
  readonly fields: Fields
}

/** Asks for the factor of an act: with the fields of its form, and with what was wrong when a factor came with it. */
export async function askForFactor(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  { name, says, caller, error, action, fields }: UnprovenAct,
  factors: SecondFactors,
): Promise<FastifyReply> {
  const { id, subject } = caller.principal?.session ?? { id: '', subject: '' }
  const ways = await waysOf(request, { id, subject }, factors, purposeOf(name))
  const page = { act: says, action, fields, ways }
  if (caller.proof !== undefined) {
    const content = confirmPage({ ...page, problem: error.detail })
    return answerAgain(app, request, reply, error, content)
  }
  app.writePage(request, reply, confirmPage(page))
  return reply
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
