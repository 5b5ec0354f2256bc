/**
 * How does a person look after their workspace in a browser? With the page at `/_gateway/`. Its forms are posted to it and work
 * without script; each does one of the owner's actions (src/admin/owner-actions.ts).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { ActionInput, LiveParts, OwnerAction } from '../src/admin/action.ts'
import type { MadeTokenView } from '../src/admin/api-token-actions.ts'
import type { Caller } from '../src/admin/caller.ts'
import type { EnrolledView, OwnFactorsView } from '../src/admin/own-factor-actions.ts'
import { OWNER_ACTIONS, type ActionName } from '../src/admin/owner-actions.ts'
import { perform, purposeOf, wantsFactor } from '../src/admin/perform.ts'
import type { RefusalView } from '../src/admin/refusals.ts'
import type { SessionView } from '../src/admin/session-actions.ts'
import type { TerminalsAnswer } from '../src/admin/terminal-actions.ts'
import { DETAILS, FORM_SENT_DETAIL, UNKNOWN_ACT_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { backupCodesPage, confirmPage } from '../src/answers/pages/factor-pages.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import type { ListedApiToken } from '../src/identity/api-token-list.ts'
import { Pending } from '../src/identity/second-factor/pending.ts'
import { newName } from '../src/identity/sessions.ts'
import { callerOf } from './api.ts'
import { answerAgain, proofIn, waysOf, type FactorRouteOptions } from './factor-forms.ts'
import { formOf, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { OFFERED_DAYS, OWNER_PAGE, ownerPage, secretPage, type TokenFields } from './owner-view.ts'

/** What the page needs besides the request. */
interface OwnerPageOptions extends Pick<
  FactorRouteOptions,
  'factors' | 'sessions' | 'watchdog' | 'payForGuess'
> {
  readonly parts: LiveParts
  readonly logger: Logger
}

/** A form of the page: what it does, and what comes after. */
interface Act {
  readonly action: ActionName
  /** What the fields of the form say to the action. */
  readonly input: (form: URLSearchParams) => ActionInput
  /** The sentence on the page afterwards, when the action has nothing to show. */
  readonly done?: string
  /** The page with what the action has made, which is shown once. */
  readonly show?: (answer: object) => PageContent
  /** Whether sending the form twice would make two things. */
  readonly isOnce?: boolean
}

const byId = (form: URLSearchParams): ActionInput => ({ id: form.get('id') ?? '', body: undefined })
const nothing = (): ActionInput => ({ id: '', body: undefined })

/** The forms by the value of their field `act`. */
const ACTS: Readonly<Partial<Record<string, Act>>> = {
  'end-session': { action: 'end-session', input: byId, done: 'The session has ended.' },
  'end-sessions': {
    action: 'end-sessions',
    input: () => ({ id: '', body: { others: true } }),
    done: 'Your other sessions have ended.',
  },
  'end-terminal': { action: 'end-terminal', input: byId, done: 'The terminal has ended.' },
  'revoke-api-token': { action: 'revoke-api-token', input: byId, done: 'The token is revoked.' },
  'create-api-token': {
    action: 'create-api-token',
    input: (form) => ({ id: '', body: tokenWanted(form) }),
    show: (answer) => {
      const { name, token } = answer as MadeTokenView
      const words = `The token ${name} is shown this once. Send it as “Authorization: Bearer …”.`
      return secretPage('Your new token', words, [['Token', token]])
    },
    isOnce: true,
  },
  'remove-second-factor': {
    action: 'remove-second-factor',
    input: byId,
    done: 'The second factor is removed.',
  },
  'new-backup-codes': {
    action: 'new-backup-codes',
    input: nothing,
    show: (answer) =>
      backupCodesPage({ next: OWNER_PAGE, codes: (answer as EnrolledView).backupCodes ?? [] }),
  },
  'show-terminal-password': {
    action: 'show-terminal-password',
    input: nothing,
    show: (answer) => {
      const { user, password } = answer as { user: string; password: string }
      return secretPage('The password of the terminal', 'The browser asks for it once.', [
        ['User', user],
        ['Password', password],
      ])
    },
  },
}

/** How long a form can be sent, in milliseconds: an hour. */
const FORM_MS = 3_600_000

const NO_FIELDS: TokenFields = { name: '', scopes: ['api'], days: '90' }

const FORM_SENT = new GatewayError('bad-request', {
  reason: 'form sent before',
  detail: FORM_SENT_DETAIL,
})
const UNKNOWN_ACT = new GatewayError('bad-request', {
  reason: 'unknown act',
  detail: UNKNOWN_ACT_DETAIL,
})

export default async function ownerPageRoutes(
  app: FastifyInstance,
  { parts, logger, factors, sessions, watchdog, payForGuess }: OwnerPageOptions,
): Promise<void> {
  takeForms(app, watchdog)
  const forms = new Pending(FORM_MS, () => performance.now())
  const OWN = { config: { ownPages: true } } as const

  app.get('/_gateway', OWN, async function addSlash(request, reply) {
    begin(request)
    app.writeAnswer(request, reply, redirectAnswer(302, ownHeaders(request.id), OWNER_PAGE))
    return reply
  })

  app.get(OWNER_PAGE, OWN, async function showPage(request, reply) {
    begin(request)
    const done = new URLSearchParams(request.exchange.target?.query).get('done') ?? ''
    app.writePage(request, reply, await pageFor(request, { done: ACTS[done]?.done }))
    return reply
  })

  app.post(OWNER_PAGE, OWN, async function act(request, reply) {
    begin(request)
    const form = formOf(request)
    const name = form.get('act') ?? ''
    const wanted = Object.hasOwn(ACTS, name) ? ACTS[name] : undefined
    if (wanted === undefined) return again(request, reply, UNKNOWN_ACT)
    const caller = { ...callerOf(request), proof: proofIn(form) }
    const owner = ownerOf(caller)
    const once = form.get('once') ?? ''
    if (wanted.isOnce === true && forms.find(once, owner) === undefined)
      return again(request, reply, FORM_SENT)
    let answer: object
    try {
      answer = await does(wanted.action, wanted.input(form), caller)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      if (error.code !== 'step-up-required' || !wantsFactor(parts, caller))
        return again(request, reply, error, form)
      return confirm(request, reply, form, caller, wanted.action, error)
    }
    forms.take(once, owner)
    if (wanted.show !== undefined) app.writePage(request, reply, wanted.show(answer))
    else {
      const location = `${OWNER_PAGE}?done=${name}`
      app.writeAnswer(request, reply, redirectAnswer(303, ownHeaders(request.id), location))
    }
    return reply
  })

  refuseOtherMethods(app, OWNER_PAGE, ['GET', 'HEAD', 'POST'])
  refuseOtherMethods(app, '/_gateway', ['GET', 'HEAD'])

  /** Does an owner's action. */
  function does(name: ActionName, input: ActionInput, caller: Caller): Promise<object> {
    const action: OwnerAction<LiveParts> = OWNER_ACTIONS[name]
    return perform(name, action, { parts, input, caller, logger })
  }

  /** What an action returns; undefined when the person may not do it, or it cannot be asked now. */
  async function read<View>(name: ActionName, caller: Caller): Promise<View | undefined> {
    try {
      return (await does(name, { id: '', body: undefined }, caller)) as View
    } catch (error) {
      if (error instanceof GatewayError) return undefined
      throw error
    }
  }

  async function pageFor(
    request: FastifyRequest,
    more: { done?: string | undefined; problem?: string | undefined; typed?: TokenFields },
  ): Promise<PageContent> {
    const caller = callerOf(request)
    const once = newName()
    forms.add(once, ownerOf(caller))
    const [own, listed, tokens, terminals, kept, refused, status] = await Promise.all([
      read<{ expiresAt: string | null; isOwner: boolean }>('show-session', caller),
      read<{ sessions: readonly SessionView[] }>('list-sessions', caller),
      read<{ apiTokens: readonly ListedApiToken[] }>('list-api-tokens', caller),
      read<TerminalsAnswer>('list-terminals', caller),
      read<OwnFactorsView>('show-second-factors', caller),
      read<{ refusals: readonly RefusalView[] }>('list-refusals', caller),
      read<{ services: Readonly<Record<string, { state: string }>> }>('show-status', caller),
    ])
    const services = Object.entries(status?.services ?? {}).map(([name, { state }]) => [
      name,
      state,
    ])
    return ownerPage({
      subject: caller.principal?.subject ?? '',
      expiresAt: own?.expiresAt ?? null,
      isOwner: own?.isOwner ?? false,
      sessions: listed?.sessions,
      apiTokens: tokens?.apiTokens,
      terminals,
      factors: kept,
      refusals: refused?.refusals.slice(0, 20),
      services:
        status === undefined ? undefined : (Object.fromEntries(services) as Record<string, string>),
      done: more.done,
      problem: more.problem,
      once,
      typed: more.typed ?? NO_FIELDS,
    })
  }

  /** The page again, with what went wrong, and with what was typed. */
  async function again(
    request: FastifyRequest,
    reply: FastifyReply,
    error: GatewayError,
    form?: URLSearchParams,
  ): Promise<FastifyReply> {
    const problem = error.detail ?? DETAILS[error.code]
    const typed = form?.get('act') === 'create-api-token' ? typedIn(form) : NO_FIELDS
    return answerAgain(app, request, reply, error, await pageFor(request, { problem, typed }))
  }

  /** The page that asks for the factor of an act, which keeps the fields of its form. A wrong guess spends the address's budget. */
  async function confirm(
    request: FastifyRequest,
    reply: FastifyReply,
    form: URLSearchParams,
    caller: Caller,
    action: ActionName,
    error: GatewayError,
  ): Promise<FastifyReply> {
    const browser = sessions.browser(caller.principal?.session.id ?? '')
    if (browser === undefined) return again(request, reply, error, form)
    const ways = await waysOf(request, browser, factors, purposeOf(action))
    const fields = [...form].filter(([name]) => KEPT_FIELDS.has(name))
    if (caller.proof === undefined) {
      app.writePage(request, reply, confirmPage({ action: OWNER_PAGE, fields, ways }))
      return reply
    }
    const refusal = payForGuess(request)
    if (refusal !== undefined) throw refusal
    const content = confirmPage({ action: OWNER_PAGE, fields, ways, problem: error.detail })
    return answerAgain(app, request, reply, error, content)
  }
}

/** The fields of the forms that an act is sent again with. */
const KEPT_FIELDS: ReadonlySet<string> = new Set(['act', 'id', 'once', 'name', 'scope', 'days'])

function begin({ exchange }: FastifyRequest): void {
  exchange.outcome.stage = 'owner'
}

function ownerOf({ principal }: Caller): { subject: string; sessionId: string } {
  return { subject: principal?.subject ?? '', sessionId: principal?.session.id ?? '' }
}

/** A token as the form asks for it, in the words of the action. */
function tokenWanted(form: URLSearchParams): object {
  const days = OFFERED_DAYS.find((offered) => offered === form.get('days')) ?? NO_FIELDS.days
  return {
    name: form.get('name') ?? '',
    scopes: form.getAll('scope'),
    ttlSeconds: Number(days) * 86_400,
  }
}

/** What was typed for a token; the name only in the form that names have, so that a page shows nothing else of a request. */
function typedIn(form: URLSearchParams): TokenFields {
  const name = form.get('name') ?? ''
  return {
    name: /^[a-z0-9][a-z0-9-]{0,63}$/.test(name) ? name : '',
    scopes: form.getAll('scope'),
    days: form.get('days') ?? NO_FIELDS.days,
  }
}
