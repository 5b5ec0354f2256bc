/**
 * How does a browser sign in? With a token in a form or a link, at `/_gateway/sign-in`. The token is only a ticket: it works
 * once, and the session gets a token of its own, in a cookie. Where nothing proves that the person asked for it, a page asks.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import { SIGN_IN } from '../src/answers/pages/paths.ts'
import { signInPage, signInQuestionPage } from '../src/answers/pages/sign-in-pages.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import { fieldLines } from '../src/http/fields.ts'
import type { Session } from '../src/identity/session.ts'
import type { Ticket } from '../src/identity/sessions.ts'
import { cookieSession, ownOrigin, verifiedPrincipal } from '../src/request/exchange.ts'
import { giveState, isStateOf, sessionOfState, wayToLogin } from '../src/request/login.ts'
import { isPrefetch } from '../src/request/request-facts.ts'
import { judgeOrigin } from '../src/rules/origin.ts'
import { formOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import {
  answerUnsaved,
  cookieOf,
  returnPathIn,
  ticketIn,
  type SessionRouteOptions,
} from './session-forms.ts'

/** The value of `from` in the form that a page posts when its token came in a link. */
const FROM_LINK = 'link'

export default async function signInRoutes(
  app: FastifyInstance,
  options: SessionRouteOptions,
): Promise<void> {
  const { issuer, sessions, login, watchdog, payForGuess } = options
  takeForms(app, watchdog)

  const SIGN_IN_ROUTE = { config: { public: true, uncounted: 'sign-in' } } as const

  app.get(SIGN_IN, SIGN_IN_ROUTE, async function showOrSignIn(request, reply) {
    const query = new URLSearchParams(request.exchange.target?.query)
    if (query.has('token')) return signIn(request, reply, query, true)
    const { exchange } = request
    exchange.outcome.stage = 'sign-in'
    const returnTo = returnPathIn(query, exchange)
    const way = wayToLogin(request, login, returnTo)
    app.writePage(request, reply, signInPage({ returnTo, loginHref: way?.location }), way?.headers)
    return reply
  })

  app.post(SIGN_IN, SIGN_IN_ROUTE, async function signInByForm(request, reply) {
    const form = formOf(request)
    return signIn(request, reply, form, form.get('from') === FROM_LINK)
  })

  refuseOtherMethods(app, SIGN_IN, ['GET', 'HEAD', 'POST'])

  /** Verifies the token, and signs the browser in or asks the person. @param inUrl whether the token came in a URL */
  async function signIn(
    request: FastifyRequest,
    reply: FastifyReply,
    form: URLSearchParams,
    inUrl: boolean,
  ): Promise<FastifyReply> {
    const { exchange } = request
    exchange.outcome.stage = 'sign-in'
    const returnTo = returnPathIn(form, exchange)
    exchange.returnTo = returnTo // a wrong token shows the form again, which returns to the same page
    const ticket = await ticketIn(form, inUrl, options)
    // Only failures count, so that the guesses of others at the same address never lock out a client with a valid token.
    if (ticket instanceof GatewayError) throw payForGuess(request) ?? ticket
    if (isLook(request)) return ask(request, reply, form, ticket, inUrl)
    const hasState = isStateOf(request, form.get('state') ?? undefined)
    if (!hasState && !isAskedFor(request)) return ask(request, reply, form, ticket, inUrl)
    return startOrRenew(request, reply, ticket, hasState)
  }

  /** Answers with the page that asks the person. Nothing is used up. */
  function ask(
    request: FastifyRequest,
    reply: FastifyReply,
    form: URLSearchParams,
    { claims: { subject } }: Ticket,
    inUrl: boolean,
  ): FastifyReply {
    const { exchange } = request
    const { state, headers } = giveState(request, login.domain)
    const here = cookieSession(exchange)
    const page = signInQuestionPage({
      ...{ subject, state, inUrl },
      token: form.get('token')?.trim() ?? '',
      returnTo: exchange.returnTo ?? '/',
      replaced: here?.subject === subject ? undefined : here?.subject,
    })
    app.writePage(request, reply, page, headers)
    return reply
  }

  /** @param returned whether the browser went away to sign in, so that a session of the same person is renewed */
  async function startOrRenew(
    request: FastifyRequest,
    reply: FastifyReply,
    ticket: Ticket,
    returned: boolean,
  ): Promise<FastifyReply> {
    const { exchange, id } = request
    const here = sessionHere(request, returned)
    const isOther = here?.subject !== ticket.claims.subject
    const known = here === undefined || isOther || !returned ? undefined : sessions.browser(here.id)
    const hasCookie = known !== undefined && cookieSession(exchange) !== undefined
    const shown = hasCookie ? verifiedPrincipal(exchange) : undefined // the state alone proves nothing
    const draft = await issuer.draft(ticket, known, shown)
    const cookie = cookieOf(draft, request)
    const device = {
      name: request.headers['user-agent'] ?? '',
      address: exchange.client?.address ?? '',
    }
    try {
      exchange.principal =
        known === undefined
          ? issuer.start(draft, device, isOther ? here : undefined)
          : issuer.renew(draft, known)
    } catch (error) {
      return answerUnsaved(app, request, reply, error)
    }
    const headers = [...ownHeaders(id), 'Set-Cookie', cookie]
    app.writeAnswer(request, reply, redirectAnswer(303, headers, exchange.returnTo ?? '/'))
    return reply
  }

  /**
   * The session in this browser. Its cookie does not come with a form of another site, such as a login service's, but the
   * state does.
   */
  function sessionHere(request: FastifyRequest, returned: boolean): Session | undefined {
    const session = cookieSession(request.exchange)
    if (session !== undefined || !returned) return session
    return sessions.browser(sessionOfState(request) ?? '')?.session
  }
}

/** Whether a request only looks at a sign-in link: a preview in a chat, a scanner of mail, a browser that fetches ahead. */
function isLook({ method, raw: { headers } }: FastifyRequest): boolean {
  return method === 'HEAD' || isPrefetch(headers)
}

/**
 * Whether the person asked for the sign-in: by the address bar or a link of another program, by a page of ours, or with a
 * program that is no browser. A link on any other page, also of a sibling workspace, may be somebody else's idea.
 */
function isAskedFor({ method, raw: { headers, rawHeaders }, exchange }: FastifyRequest): boolean {
  const fetchSite = headers['sec-fetch-site']?.toString()
  const origins = fieldLines(rawHeaders, 'origin')
  const origin = judgeOrigin({ origins, fetchSite }, { own: ownOrigin(exchange), allowed: [] })
  if (origin === 'foreign') return false
  if (headers['sec-fetch-mode'] === 'navigate')
    return fetchSite === 'none' || fetchSite === 'same-origin'
  if (method !== 'POST') return false
  return origin === 'own' || !Object.keys(headers).some((name) => name.startsWith('sec-fetch-'))
}
