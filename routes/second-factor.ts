/**
 * How does a person show a second factor, and set up their first one? At `/_gateway/verify-2fa`, to which a browser goes from a
 * route that wants one, and by the forms below `/_gateway/second-factor`. What changes later is an owner's act (src/admin/own-factor-actions.ts).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { mustHaveRoom } from '../src/admin/own-factor-actions.ts'
import { logAct } from '../src/admin/perform.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { trusted } from '../src/answers/html.ts'
import { NO_FACTOR_HERE_DETAIL, NO_PASSKEY_DETAIL } from '../src/answers/details.ts'
import {
  appSetUpPage,
  backupCodesPage,
  enrolPage,
  confirmPage,
  loginFactorPage,
  passkeySetUpPage,
  verifyPage,
} from '../src/answers/pages/factor-pages.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import { factorError } from '../src/identity/second-factor/factor-error.ts'
import type { Enrolled } from '../src/identity/second-factor/factors.ts'
import type { BrowserSession } from '../src/identity/sessions.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import { VERIFY, wayToLogin, wayToStepUp } from '../src/request/login.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { callerOf } from './api.ts'
import {
  answerAgain,
  browserOf,
  isFreshSignIn,
  judge,
  proofIn,
  siteOf,
  waysOf,
  type FactorRouteOptions,
} from './factor-forms.ts'
import { formOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { cookieOf } from './session-forms.ts'

const FORMS = '/_gateway/second-factor'

/** Pages of an allowed origin get no challenge, and enrol nobody. */
const OWN = { config: { ownPages: true } } as const

/** For what a factor is shown on the page itself. */
const VERIFY_PURPOSE = 'verify'

/** What is set up, after `To`, on the page that asks for a factor before. */
const SET_UP_WORDS = {
  app: 'set up an authenticator app',
  passkey: 'add a passkey',
} as const

/** `amr` of an authenticator app that was just set up with a code of it, and of a passkey that was just made. */
const APP_METHODS = ['otp'] as const
const PASSKEY_METHODS = ['mfa'] as const

const NOT_HERE = new GatewayError('bad-request', {
  reason: 'no second factor for this session',
  detail: NO_FACTOR_HERE_DETAIL,
})
const NO_PASSKEYS_HERE = new GatewayError('bad-request', {
  reason: 'no passkeys at an address literal',
  detail: NO_PASSKEY_DETAIL,
})

/** What the routes need besides the request. */
interface SecondFactorOptions extends FactorRouteOptions {
  /** Notes each factor that is added, as for every owner's act. */
  readonly logger: Logger
}

export default async function secondFactorRoutes(
  app: FastifyInstance,
  options: SecondFactorOptions,
): Promise<void> {
  const { factors, sessions, issuer, login, watchdog, isLocal, logger } = options
  takeForms(app, watchdog)

  app.get(VERIFY, OWN, async function showForm(request, reply) {
    begin(request)
    const query = new URLSearchParams(request.exchange.target?.query)
    const page = await pageFor(request, nextIn(query, request))
    app.writePage(request, reply, page.content, page.headers)
    return reply
  })

  app.post(VERIFY, OWN, async function verify(request, reply) {
    begin(request)
    const form = formOf(request)
    const next = nextIn(form, request)
    const browser = browserOf(request, sessions)
    const proof = proofIn(form)
    if (!isLocal || browser === undefined || proof === undefined) {
      const page = await pageFor(request, next)
      app.writePage(request, reply, page.content, page.headers)
      return reply
    }
    const result = await judge(request, browser, proof, VERIFY_PURPOSE, options)
    if (result instanceof GatewayError) {
      const page = await pageFor(request, next, result.detail)
      return answerAgain(app, request, reply, result, page.content)
    }
    const cookie = await steppedUp(request, browser, result)
    const headers = [...ownHeaders(request.id), 'Set-Cookie', cookie]
    app.writeAnswer(request, reply, redirectAnswer(303, headers, next))
    return reply
  })

  app.post(`${FORMS}/app`, OWN, async function beginApp(request, reply) {
    return withEnroller(request, reply, 'app', ({ session }) => async (next, hasProof) => {
      const setUp = factors.beginTotp(session.subject, { sessionId: session.id, hasProof })
      if (!setUp.isDone) throw factorError(setUp.reason)
      app.writePage(request, reply, await appPage(setUp, next))
    })
  })

  app.post(`${FORMS}/app/confirm`, OWN, async function confirmApp(request, reply) {
    begin(request)
    const form = formOf(request)
    const next = nextIn(form, request)
    const browser = mustBeBrowser(request)
    const { id: sessionId, subject } = browser.session
    const [id, code] = [form.get('id') ?? '', form.get('code') ?? '']
    const result = factors.confirmTotp(subject, { sessionId, client: addressOf(request), id, code })
    if (result.isDone) {
      logAct(logger, 'confirm-app', callerOf(request), [result.factorId])
      return enrolled(request, reply, browser, result, APP_METHODS, next)
    }
    const refusal = options.payForGuess(request)
    if (refusal !== undefined) throw refusal
    const error = factorError(result.reason)
    const setUp = factors.totpSetUp(subject, { sessionId, id })
    const content =
      setUp === undefined
        ? (await pageFor(request, next, error.detail)).content
        : await appPage({ id, ...setUp }, next, error.detail)
    return answerAgain(app, request, reply, error, content)
  })

  app.post(`${FORMS}/passkey`, OWN, async function beginPasskey(request, reply) {
    return withEnroller(request, reply, 'passkey', ({ session: { id, subject } }) => {
      const site = siteOf(request.exchange)
      if (site === undefined) throw NO_PASSKEYS_HERE
      mustHaveRoom(factors.enrolmentOf(subject))
      return async (next, hasProof) => {
        const setUp = await factors.beginPasskey(subject, { sessionId: id, hasProof, site })
        if (!setUp.isDone) throw factorError(setUp.reason)
        app.writePage(request, reply, passkeySetUpPage({ next, options: setUp.options }))
      }
    })
  })

  app.post(`${FORMS}/passkey/confirm`, OWN, async function confirmPasskey(request, reply) {
    begin(request)
    const form = formOf(request)
    const next = nextIn(form, request)
    const browser = mustBeBrowser(request)
    const { id: sessionId, subject } = browser.session
    const proof = proofIn(form)
    const response = proof?.kind === 'passkey' ? proof.response : undefined
    const name = form.get('name') ?? ''
    const result = await factors.confirmPasskey(subject, {
      sessionId,
      client: addressOf(request),
      response,
      name,
    })
    if (result.isDone) {
      logAct(logger, 'confirm-passkey', callerOf(request), [result.factorId])
      return enrolled(request, reply, browser, result, PASSKEY_METHODS, next)
    }
    const error = factorError(result.reason)
    const page = await pageFor(request, next, error.detail)
    return answerAgain(app, request, reply, error, page.content)
  })

  refuseOtherMethods(app, VERIFY, ['GET', 'HEAD', 'POST'])
  for (const form of ['/app', '/app/confirm', '/passkey', '/passkey/confirm'])
    refuseOtherMethods(app, FORMS + form, ['POST'])

  /**
   * The page for whoever comes without a proof: to show a factor, to set one up, or to sign in elsewhere.
   * @param problem what went wrong with the proof that was sent
   */
  async function pageFor(
    request: FastifyRequest,
    next: string,
    problem?: string,
  ): Promise<{ readonly content: PageContent; readonly headers: readonly string[] }> {
    const browser = browserOf(request, sessions)
    if (!isLocal || browser === undefined) {
      const way =
        login.stepUpUrl === undefined
          ? wayToLogin(request, login, next)
          : wayToStepUp(request, login, next)
      return {
        content: loginFactorPage({ next, loginHref: way?.location }),
        headers: way?.headers ?? [],
      }
    }
    if (!factors.isEnrolled(browser.session.subject)) {
      const mayEnrol = isFreshSignIn(browser)
      const way = mayEnrol ? undefined : wayToLogin(request, login, next) // from where the route leads here again
      const content = enrolPage({ next, problem, mayEnrol, loginHref: way?.location })
      return { content, headers: way?.headers ?? [] }
    }
    const ways = await waysOf(request, browser.session, factors, VERIFY_PURPOSE)
    return { content: verifyPage({ next, problem, ways }), headers: [] }
  }

  /**
   * Begins an enrolment for somebody who may: with a fresh sign-in for the first factor, and with a factor for any other.
   * @param kind what is set up
   * @param prepare judges the request before the factor, which is used up by being judged
   */
  async function withEnroller(
    request: FastifyRequest,
    reply: FastifyReply,
    kind: keyof typeof SET_UP_WORDS,
    prepare: (browser: BrowserSession) => (next: string, hasProof: boolean) => Promise<void>,
  ): Promise<FastifyReply> {
    begin(request)
    const purpose = `add-${kind}`
    const form = formOf(request)
    const next = nextIn(form, request)
    const browser = mustBeBrowser(request)
    const enrol = prepare(browser)
    if (!factors.isEnrolled(browser.session.subject)) {
      if (isFreshSignIn(browser)) await enrol(next, false)
      else {
        const { content, headers } = await pageFor(request, next)
        app.writePage(request, reply, content, headers)
      }
      return reply
    }
    const proof = proofIn(form)
    const result =
      proof === undefined ? undefined : await judge(request, browser, proof, purpose, options)
    if (result !== undefined && !(result instanceof GatewayError)) {
      await enrol(next, true)
      return reply
    }
    const ways = await waysOf(request, browser.session, factors, purpose)
    const action = request.url.split('?')[0] ?? ''
    const content = confirmPage({
      ...{ action, fields: { next }, ways },
      ...{ act: SET_UP_WORDS[kind], problem: result?.detail },
    })
    if (result !== undefined) return answerAgain(app, request, reply, result, content)
    app.writePage(request, reply, content)
    return reply
  }

  /** Says that a factor was added: with the backup codes, when there are new ones. It counts as shown. */
  async function enrolled(
    request: FastifyRequest,
    reply: FastifyReply,
    browser: BrowserSession,
    { backupCodes }: Enrolled,
    methods: readonly string[],
    next: string,
  ): Promise<FastifyReply> {
    const cookie = await steppedUp(request, browser, { at: Date.now(), methods })
    const headers = ['Set-Cookie', cookie]
    if (backupCodes !== undefined)
      app.writePage(request, reply, backupCodesPage({ next, codes: backupCodes }), headers)
    else
      app.writeAnswer(
        request,
        reply,
        redirectAnswer(303, [...ownHeaders(request.id), ...headers], next),
      )
    return reply
  }

  /** Gives the session a token that says that a factor was shown. @returns the cookie */
  async function steppedUp(
    request: FastifyRequest,
    browser: BrowserSession,
    factor: { readonly at: number; readonly methods: readonly string[] },
  ): Promise<string> {
    const token = await issuer.stepUp(browser, factor)
    request.exchange.principal = token.principal
    return cookieOf(token, request)
  }

  function mustBeBrowser(request: FastifyRequest): BrowserSession {
    const browser = isLocal ? browserOf(request, sessions) : undefined
    if (browser === undefined) throw NOT_HERE
    return browser
  }
}

/** The client's address, for the log. */
function addressOf({ exchange }: FastifyRequest): string | undefined {
  return exchange.client?.address
}

function begin({ exchange }: FastifyRequest): void {
  exchange.outcome.stage = 'second-factor'
}

/** Where the person goes on to: the owner's page, or any path of the services. */
function nextIn(fields: URLSearchParams, { exchange }: FastifyRequest): string {
  return returnPath(fields.get('next') ?? undefined, ownOrigin(exchange))
}

/** The page with the secret of an authenticator app. */
async function appPage(
  { id, secret, uri }: { readonly id: string; readonly secret: string; readonly uri: string },
  next: string,
  problem?: string,
): Promise<PageContent> {
  const { renderSVG } = await import('uqr') // it draws only here
  const picture = trusted(renderSVG(uri, { border: 2 }))
  const groups = secret.match(/.{1,4}/g) ?? []
  return appSetUpPage({ next, problem, setUp: { id, secret: groups.join(' '), uri, picture } })
}
