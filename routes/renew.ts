/**
 * How does a session last longer? With a fresh token of the same person, at `/_gateway/renew`: the session gets a later end and
 * a new token, and what is open goes on. A browser that comes without a token is sent to the login page and back.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { RENEW_COOKIE_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { RENEW } from '../src/answers/pages/paths.ts'
import { renewPage } from '../src/answers/pages/sign-in-pages.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import type { BrowserSession } from '../src/identity/sessions.ts'
import { cookieSession, verifiedPrincipal } from '../src/request/exchange.ts'
import { wayToLogin } from '../src/request/login.ts'
import { formOf, jsonOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import {
  answerUnsaved,
  cookieOf,
  returnPathIn,
  ticketIn,
  type SessionRouteOptions,
} from './session-forms.ts'

export default async function renewRoutes(
  app: FastifyInstance,
  options: SessionRouteOptions,
): Promise<void> {
  const { issuer, sessions, login, watchdog, payForGuess } = options
  takeForms(app, watchdog)

  app.get(RENEW, async function goAndComeBack(request, reply) {
    const { exchange, id } = request
    exchange.outcome.stage = 'renew'
    const query = new URLSearchParams(exchange.target?.query)
    const returnTo = returnPathIn(query, exchange)
    const way = wayToLogin(request, login, returnTo)
    if (way === undefined) app.writePage(request, reply, renewPage({ returnTo }))
    else {
      const headers = [...ownHeaders(id), ...way.headers]
      app.writeAnswer(request, reply, redirectAnswer(302, headers, way.location))
    }
    return reply
  })

  app.post(
    RENEW,
    { config: { uncounted: 'signed-in', ownPages: true } },
    async function renew(request, reply) {
      const { exchange, id } = request
      exchange.outcome.stage = 'renew'
      const json = jsonOf(request)
      const form = json ?? formOf(request)
      const returnTo = returnPathIn(form, exchange)
      exchange.returnTo = returnTo
      const known = browserOf(request)
      const ticket = await ticketIn(form, false, options)
      if (ticket instanceof GatewayError) throw payForGuess(request) ?? ticket
      const draft = await issuer.draft(ticket, known, verifiedPrincipal(exchange))
      const cookie = cookieOf(draft, request)
      try {
        exchange.principal = issuer.renew(draft, known)
      } catch (error) {
        return answerUnsaved(app, request, reply, error)
      }
      const headers = [...ownHeaders(id), 'Set-Cookie', cookie]
      app.writeAnswer(
        request,
        reply,
        json === undefined
          ? redirectAnswer(303, headers, returnTo)
          : { status: 204, headers, body: '' },
      )
      return reply
    },
  )

  refuseOtherMethods(app, RENEW, ['GET', 'HEAD', 'POST'])

  /** The session to renew. @throws {GatewayError} `bad-request` when the request has no cookie of such a session */
  function browserOf({ exchange }: FastifyRequest): BrowserSession {
    const browser = sessions.browser(cookieSession(exchange)?.id ?? '')
    if (browser === undefined) throw NO_SESSION
    return browser
  }
}

const NO_SESSION = new GatewayError('bad-request', {
  reason: 'no session cookie to renew',
  detail: RENEW_COOKIE_DETAIL,
})
