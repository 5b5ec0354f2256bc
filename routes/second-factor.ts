/**
 * How does a person show a second factor, and set up their first one? At `/_gateway/verify-2fa`, to which a browser goes from a
 * route that wants one, and by the forms below `/_gateway/second-factor`. An enrolment is an owner's act (src/admin/own-factor-actions.ts).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isFreshSignIn } from '../src/admin/caller.ts'
import type {
  AppSetUpView,
  EnrolledView,
  PasskeySetUpView,
} from '../src/admin/own-factor-actions.ts'
import type { ActionName } from '../src/admin/owner-actions.ts'
import { judged, wantsFactor } from '../src/admin/perform.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { trusted } from '../src/answers/html.ts'
import { NO_FACTOR_HERE_DETAIL } from '../src/answers/details.ts'
import {
  appSetUpPage,
  backupCodesPage,
  enrolPage,
  loginFactorPage,
  passkeySetUpPage,
  verifyPage,
} from '../src/answers/pages/factor-pages.ts'
import {
  APP_FORM,
  CONFIRM_APP_FORM,
  CONFIRM_PASSKEY_FORM,
  PASSKEY_FORM,
  VERIFY,
} from '../src/answers/pages/paths.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import type { BrowserSession } from '../src/identity/sessions.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import { wayToLogin, wayToStepUp } from '../src/request/login.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { callerOf, performFor, type ActionOptions } from './api.ts'
import {
  answerAgain,
  askForFactor,
  browserOf,
  proofIn,
  waysOf,
  type FactorRouteOptions,
} from './factor-forms.ts'
import { formOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { cookieOf } from './session-forms.ts'

/** Pages of an allowed origin get no challenge, and enrol nobody. */
const OWN = { config: { ownPages: true } } as const

/** For what a factor is shown on the page itself. */
const VERIFY_PURPOSE = 'verify'

/** What the page says of an enrolment that asks for a factor that the person has, without a full stop. */
const ENROLMENTS = {
  'begin-app': 'Set up an authenticator app, in place of any that you have',
  'begin-passkey': 'Add a passkey',
} as const

const NOT_HERE = new GatewayError('bad-request', {
  reason: 'no second factor for this session',
  detail: NO_FACTOR_HERE_DETAIL,
})

/** What the routes need besides the request. */
type SecondFactorOptions = FactorRouteOptions & ActionOptions

export default async function secondFactorRoutes(
  app: FastifyInstance,
  options: SecondFactorOptions,
): Promise<void> {
  const { factors, sessions, issuer, login, watchdog, isLocal } = options
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
    const { id: sessionId, subject } = browser.session
    const client = request.exchange.client?.address
    const about = { sessionId, client, proof, purpose: VERIFY_PURPOSE }
    const pay = () => options.payForGuess(request)
    const result = await judged(factors, subject, about, pay)
    if (result instanceof GatewayError) {
      if (result.code === 'rate-limited') throw result
      const page = await pageFor(request, next, result.detail)
      return answerAgain(app, request, reply, result, page.content)
    }
    const cookie = await steppedUp(request, browser, result.at)
    const headers = [...ownHeaders(request.id), 'Set-Cookie', cookie]
    app.writeAnswer(request, reply, redirectAnswer(303, headers, next))
    return reply
  })

  app.post(APP_FORM, OWN, async function beginApp(request, reply) {
    return begins(request, reply, 'begin-app', (answer, next) =>
      appPage(answer as AppSetUpView, next),
    )
  })

  app.post(CONFIRM_APP_FORM, OWN, async function confirmApp(request, reply) {
    const form = formOf(request)
    const [id, code] = [form.get('id') ?? '', form.get('code') ?? '']
    return confirms(request, reply, {
      ...{ name: 'confirm-app', body: { id, code } },
      async again({ session: { id: sessionId, subject } }, next, problem) {
        const setUp = factors.totpSetUp(subject, { sessionId, id })
        return setUp === undefined ? undefined : appPage({ id, ...setUp }, next, problem)
      },
    })
  })

  app.post(PASSKEY_FORM, OWN, async function beginPasskey(request, reply) {
    return begins(request, reply, 'begin-passkey', (answer, next) =>
      passkeySetUpPage({ next, options: (answer as PasskeySetUpView).options }),
    )
  })

  app.post(CONFIRM_PASSKEY_FORM, OWN, async function confirmPasskey(request, reply) {
    const form = formOf(request)
    const proof = proofIn(form)
    const response = proof?.kind === 'passkey' ? proof.response : undefined
    const body = { response, name: form.get('name') ?? '' }
    return confirms(request, reply, { name: 'confirm-passkey', body })
  })

  refuseOtherMethods(app, VERIFY, ['GET', 'HEAD', 'POST'])
  for (const form of [APP_FORM, CONFIRM_APP_FORM, PASSKEY_FORM, CONFIRM_PASSKEY_FORM])
    refuseOtherMethods(app, form, ['POST'])

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
    const { principal } = request.exchange
    if (!isLocal || browser === undefined || principal === undefined) {
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
      const mayEnrol = isFreshSignIn(principal, Date.now())
      const way = mayEnrol ? undefined : wayToLogin(request, login, next) // from where the route leads here again
      const content = enrolPage({ next, problem, mayEnrol, loginHref: way?.location })
      return { content, headers: way?.headers ?? [] }
    }
    const ways = await waysOf(request, browser.session, factors, VERIFY_PURPOSE)
    return { content: verifyPage({ next, problem, ways }), headers: [] }
  }

  /**
   * Begins an enrolment: an owner's act, which wants a fresh sign-in for the first factor, and a factor for any other.
   * @param name of the action
   * @param pageOf the page with what the action has returned
   */
  async function begins(
    request: FastifyRequest,
    reply: FastifyReply,
    name: keyof typeof ENROLMENTS,
    pageOf: (answer: object, next: string) => PageContent | Promise<PageContent>,
  ): Promise<FastifyReply> {
    begin(request)
    const form = formOf(request)
    const next = nextIn(form, request)
    mustBeBrowser(request)
    const caller = { ...callerOf(request), proof: proofIn(form) }
    const input = { id: '', body: undefined }
    let page: PageContent
    try {
      page = await pageOf(await performFor(request, name, { input, caller }, options), next)
    } catch (error) {
      if (!isFactorRefusal(error)) throw error
      if (wantsFactor(options.parts, caller)) {
        const action = request.exchange.target?.path ?? VERIFY
        const unproven = { name, says: ENROLMENTS[name], caller, error, action, fields: { next } }
        return askForFactor(app, request, reply, unproven, factors)
      }
      const { content, headers } = await pageFor(request, next)
      app.writePage(request, reply, content, headers)
      return reply
    }
    app.writePage(request, reply, page)
    return reply
  }

  /** Ends an enrolment. What was refused gets a page again, with one sentence that says why. */
  async function confirms(
    request: FastifyRequest,
    reply: FastifyReply,
    { name, body, again }: Confirmation,
  ): Promise<FastifyReply> {
    begin(request)
    const next = nextIn(formOf(request), request)
    const browser = mustBeBrowser(request)
    const asked = { input: { id: '', body }, caller: callerOf(request) }
    let answer: object
    try {
      answer = await performFor(request, name, asked, options)
    } catch (error) {
      if (!isFactorRefusal(error)) throw error
      const content =
        (await again?.(browser, next, error.detail)) ??
        (await pageFor(request, next, error.detail)).content
      return answerAgain(app, request, reply, error, content)
    }
    return enrolled(request, reply, browser, answer as EnrolledView, next)
  }

  /** Says that a factor was added: with the backup codes, when there are new ones. It counts as shown. */
  async function enrolled(
    request: FastifyRequest,
    reply: FastifyReply,
    browser: BrowserSession,
    { backupCodes }: EnrolledView,
    next: string,
  ): Promise<FastifyReply> {
    const headers: string[] = []
    try {
      const cookie = await steppedUp(request, browser, Date.now())
      headers.push('Set-Cookie', cookie)
    } catch (error) {
      // The codes are shown this once, so they come first. The next route that wants a factor asks for it.
      if (!(error instanceof GatewayError) || backupCodes === null) throw error
      request.exchange.outcome.reason = 'a factor was added, and the session could not say so'
    }
    if (backupCodes !== null)
      app.writePage(request, reply, backupCodesPage({ next, codes: backupCodes }), headers)
    else
      app.writeAnswer(
        request,
        reply,
        redirectAnswer(303, [...ownHeaders(request.id), ...headers], next),
      )
    return reply
  }

  /**
   * Gives the session a token that says that a factor was shown.
   * @param factorAt when, in milliseconds since 1970
   * @returns the cookie
   */
  async function steppedUp(
    request: FastifyRequest,
    browser: BrowserSession,
    factorAt: number,
  ): Promise<string> {
    const token = await issuer.stepUp(browser, factorAt)
    request.exchange.principal = token.principal
    return cookieOf(token, request)
  }

  function mustBeBrowser(request: FastifyRequest): BrowserSession {
    const browser = isLocal ? browserOf(request, sessions) : undefined
    if (browser === undefined) throw NOT_HERE
    return browser
  }
}

/** How an enrolment ends. */
interface Confirmation {
  /** The name of the action. */
  readonly name: ActionName
  readonly body: object
  /** The page for another try; undefined when there is none. */
  readonly again?: (
    browser: BrowserSession,
    next: string,
    problem: string | undefined,
  ) => Promise<PageContent | undefined>
}

/** Whether an action wants a factor, or has refused the one that came. */
function isFactorRefusal(error: unknown): error is GatewayError {
  return error instanceof GatewayError && error.code === 'step-up-required'
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
  const { qrCode, qrSvg } = await import('../src/answers/qr.ts') // its library is loaded only to draw
  const picture = trusted(qrSvg(qrCode(uri), 2))
  const groups = secret.match(/.{1,4}/g) ?? []
  return appSetUpPage({ next, problem, setUp: { id, secret: groups.join(' '), uri, picture } })
}
