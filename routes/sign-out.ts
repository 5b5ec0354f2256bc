/** How does a person sign out? With a form at `/_gateway/sign-out`, which ends the session, or all of the person's, for good. */
import type { FastifyInstance } from 'fastify'
import { ownerRefusal } from '../src/admin/members.ts'
import { SIGN_OUT } from '../src/answers/pages/paths.ts'
import { signedOutPage } from '../src/answers/pages/sign-in-pages.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import { expiredSessionCookies } from '../src/http/cookies.ts'
import { usesSecureCookie } from '../src/identity/credentials.ts'
import { formOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import type { State } from '../src/store/state.ts'
import type { SessionRouteOptions } from './session-forms.ts'

const SIGNED_OUT = '/_gateway/signed-out'

/** The query of the page when the end of the session is not on the disk yet. */
const UNSAVED = '?saved=no'

const NOT_FOR_DEVICES = ownerRefusal('scope-missing', 'not for devices')

/** What the routes need besides the request. */
interface SignOutOptions extends Pick<SessionRouteOptions, 'sessions' | 'watchdog'> {
  readonly state: Pick<State, 'refuseIfHandedOver'>
}

export default async function signOutRoutes(
  app: FastifyInstance,
  { sessions, watchdog, state }: SignOutOptions,
): Promise<void> {
  takeForms(app, watchdog)

  app.post(
    SIGN_OUT,
    { config: { uncounted: 'signed-in' } },
    async function signOut(request, reply) {
      const { exchange, id } = request
      exchange.outcome.stage = 'sign-out'
      const { principal } = exchange
      state.refuseIfHandedOver() // the browser keeps its cookie, and signs out in the successor
      const isAll = formOf(request).get('all') === 'true'
      // A stolen one could otherwise end its person's shells, and sign them out again and again before they revoke it.
      if (isAll && principal?.session.kind === 'device') throw NOT_FOR_DEVICES
      let isSaved = true
      if (principal !== undefined)
        ({ isSaved } = isAll
          ? sessions.endAll('signed-out', principal.subject)
          : sessions.end([principal.session], 'signed-out'))
      if (!isSaved) exchange.outcome.reason = 'signed out in memory only, and not on the disk yet'
      const cookies = expiredSessionCookies(usesSecureCookie(exchange))
      const headers = [
        ...ownHeaders(id),
        ...cookies.flatMap((cookie) => ['Set-Cookie', cookie]),
        // Not "cookies", which clears those of the whole domain, nor "storage", which holds what the dashboard keeps.
        ...['Clear-Site-Data', '"cache"'],
      ]
      const page = isSaved ? SIGNED_OUT : SIGNED_OUT + UNSAVED
      app.writeAnswer(request, reply, redirectAnswer(303, headers, page))
      return reply
    },
  )

  // Free without a credential, like the probes: whoever was let out sees it, also with the budget of the address used up.
  const SIGNED_OUT_ROUTE = { config: { public: true, uncounted: 'without-credential' } } as const

  app.get(SIGNED_OUT, SIGNED_OUT_ROUTE, async function saySignedOut(request, reply) {
    const { exchange } = request
    exchange.outcome.stage = 'sign-out'
    const isSaved = exchange.target?.query !== UNSAVED
    app.writePage(request, reply, signedOutPage(isSaved))
    return reply
  })

  refuseOtherMethods(app, SIGN_OUT, ['POST'])
  refuseOtherMethods(app, SIGNED_OUT, ['GET', 'HEAD'])
}
