/** How does a browser sign in and out? With a form or a link that carries a token, at `/_gateway/sign-in`; the token becomes the session cookie. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { usesSecureCookie } from '../src/identity/credentials.ts'
import { expiredSessionCookies, sessionCookie } from '../src/http/cookies.ts'
import { COOKIE_TOO_LONG_DETAIL, ONE_TOKEN_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import { readOwnBody } from '../src/request/own-body.ts'
import { PAGE_POLICY, signInPage } from '../src/answers/pages.ts'
import { ownHeaders, withBody, type Answer } from '../src/answers/problem.ts'
import { returnPath } from '../src/rules/return-to.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import type { KeyRing } from '../src/identity/key-ring.ts'
import { mintSessionToken } from '../src/identity/mint.ts'
import { newName, type Sessions, type Ticket } from '../src/identity/sessions.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'

/** What the routes need besides the request. */
export interface GatewayRoutesOptions {
  readonly keys: KeyRing
  readonly workspace: string
  readonly sessions: Sessions
  readonly verifier: TokenVerifier
  /** Ends the request when a form arrives too slowly. */
  readonly watchdog: Watchdog
  /** Tokens wait here before they are verified. */
  readonly waitingRoom: WaitingRoom
  /**
   * Takes one from the budget of the client address, when a request that was free has turned out to be a wrong guess.
   * @returns the refusal when nothing was left
   */
  readonly payForGuess: (request: FastifyRequest) => GatewayError | undefined
}

/** The largest sign-in form in bytes. A form holds one token and one address. */
const MAX_FORM_BYTES = 16 * 1024

const SIGN_IN = '/_gateway/sign-in'
const SIGN_OUT = '/_gateway/sign-out'

export default async function gatewayRoutes(
  app: FastifyInstance,
  options: GatewayRoutesOptions,
): Promise<void> {
  const { keys, workspace, sessions, verifier, watchdog, waitingRoom, payForGuess } = options
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/x-www-form-urlencoded', async ({ raw }: FastifyRequest) => {
    return new URLSearchParams(await readOwnBody(raw, MAX_FORM_BYTES, watchdog))
  })
  // Any other body is no form. It is not read, and the route then finds no token.
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null)
  })

  const SIGN_IN_ROUTE = { config: { public: true, uncounted: 'sign-in' } } as const

  app.get(SIGN_IN, SIGN_IN_ROUTE, async function showOrSignIn(request, reply) {
    const query = new URLSearchParams(request.exchange.target?.query)
    if (query.has('token')) return signIn(request, reply, query)
    request.exchange.outcome.stage = 'sign-in'
    const returnTo = returnPath(query.get('return_to') ?? undefined, ownOrigin(request.exchange))
    const page = signInPage(undefined, returnTo)
    app.writeAnswer(
      request,
      reply,
      withBody(
        200,
        [...ownHeaders(request.id), 'Content-Security-Policy', PAGE_POLICY],
        'text/html; charset=utf-8',
        page,
      ),
    )
    return reply
  })

  app.post(SIGN_IN, SIGN_IN_ROUTE, async function signInByForm(request, reply) {
    return signIn(
      request,
      reply,
      request.body instanceof URLSearchParams ? request.body : new URLSearchParams(),
    )
  })

  app.post(
    SIGN_OUT,
    { config: { uncounted: 'signed-in' } },
    async function signOut(request, reply) {
      const { exchange, id } = request
      exchange.outcome.stage = 'sign-out'
      const session = exchange.principal?.session
      if (session !== undefined) sessions.end([session], 'signed-out')
      const expired = expiredSessionCookies(usesSecureCookie(exchange)).flatMap((cookie) => [
        'Set-Cookie',
        cookie,
      ])
      app.writeAnswer(request, reply, redirect('/', [...ownHeaders(id), ...expired]))
      return reply
    },
  )

  /** The ticket in a form, or the error that refuses it. */
  async function ticketIn(form: URLSearchParams, inUrl: boolean): Promise<Ticket | GatewayError> {
    const [token, ...more] = form.getAll('token')
    await waitingRoom.turn() // verifying takes time, and anybody can send forged tokens
    if (token === undefined || more.length > 0) return NOT_ONE_TOKEN
    try {
      return await verifier.verifyTicket(token.trim(), inUrl)
    } catch (error) {
      if (error instanceof GatewayError) return error
      throw error
    }
  }

  refuseOtherMethods(app, SIGN_IN, ['GET', 'HEAD', 'POST'])
  refuseOtherMethods(app, SIGN_OUT, ['POST'])

  /** Verifies the token, sets the session cookie, and redirects the browser to the page that it asked for. */
  async function signIn(
    request: FastifyRequest,
    reply: FastifyReply,
    form: URLSearchParams,
  ): Promise<FastifyReply> {
    const { exchange, id } = request
    exchange.outcome.stage = 'sign-in'
    const returnTo = returnPath(form.get('return_to') ?? undefined, ownOrigin(exchange))
    exchange.returnTo = returnTo // a wrong token shows the form again, which returns to the same page
    const ticket = await ticketIn(form, request.method !== 'POST')
    // Only failures count, so that the guesses of others at the same address never lock out a client with a valid token.
    if (ticket instanceof GatewayError) throw payForGuess(request) ?? ticket
    const cookie = await startSession(ticket, request)
    app.writeAnswer(request, reply, redirect(returnTo, [...ownHeaders(id), 'Set-Cookie', cookie]))
    return reply
  }

  /** Starts a session. @returns its cookie */
  async function startSession(ticket: Ticket, { exchange, raw }: FastifyRequest): Promise<string> {
    const key = keys.signing
    const [sessionId, tokenId] = [newName(), newName()]
    const { subject, methods } = ticket.claims
    const issuedAt = Date.now()
    const endsAt = sessions.endOf(ticket.claims)
    const device = {
      name: raw.headers['user-agent'] ?? '',
      address: exchange.client?.address ?? '',
    }
    const claims = { workspace, subject, sessionId, tokenId, issuedAt, endsAt, methods }
    const authenticatedAt = sessions.authenticatedAt(ticket.claims)
    const token = await mintSessionToken(key, { ...claims, authenticatedAt })
    const cookie = sessionCookie(usesSecureCookie(exchange), token, (endsAt - issuedAt) / 1000)
    if (cookie === undefined) throw TOO_LONG
    sessions.start(ticket, { id: sessionId, tokenId, kid: key.kid }, device)
    if (ticket.oneTimeId !== undefined)
      verifier.forget(({ ticketId }) => ticketId === ticket.oneTimeId)
    return cookie
  }
}

const NOT_ONE_TOKEN = new GatewayError('bad-request', {
  reason: 'not exactly one token',
  detail: ONE_TOKEN_DETAIL,
})

const TOO_LONG = new GatewayError('token-invalid', {
  reason: 'too long for a cookie',
  detail: COOKIE_TOO_LONG_DETAIL,
})

function redirect(location: string, headers: readonly string[]): Answer {
  return {
    status: 303,
    headers: [...headers, 'Location', location, 'Content-Length', '0'],
    body: '',
  }
}

/** Answers 405 with `Allow` for every method that a route does not have. */
function refuseOtherMethods(app: FastifyInstance, url: string, allowed: readonly string[]): void {
  app.route({
    url,
    method: METHODS.filter((method) => !allowed.includes(method)),
    config: { public: true },
    handler() {
      throw new GatewayError('method-not-allowed', { headers: { Allow: allowed.join(', ') } })
    },
  })
}
