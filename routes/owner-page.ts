/**
 * How does a person look after their workspace in a browser? With the page at `/_gateway/`. Its forms are posted to it and work
 * without script; each does one of the owner's actions (src/admin/owner-actions.ts).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ActionInput } from '../src/admin/action.ts'
import type { MadeTokenView } from '../src/admin/api-token-actions.ts'
import type { Caller } from '../src/admin/caller.ts'
import type { DevicesView, OfferView } from '../src/admin/device-actions.ts'
import type { EnrolledView, OwnFactorsView } from '../src/admin/own-factor-actions.ts'
import type { ActionName } from '../src/admin/owner-actions.ts'
import { wantsFactor } from '../src/admin/perform.ts'
import type { RefusalView } from '../src/admin/refusals.ts'
import type { SessionView } from '../src/admin/session-actions.ts'
import type { VaultView } from '../src/admin/vault-actions.ts'
import type { TerminalsAnswer } from '../src/admin/terminal-actions.ts'
import {
  DETAILS,
  FORM_SENT_DETAIL,
  NO_SCOPE_DETAIL,
  STATE_DETAILS,
  UNKNOWN_ACT_DETAIL,
} from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { Fields } from '../src/answers/pages/elements.ts'
import { backupCodesPage, freshSignInPage } from '../src/answers/pages/factor-pages.ts'
import { OWNER_PAGE } from '../src/answers/pages/paths.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { ownHeaders, redirectAnswer } from '../src/answers/problem.ts'
import type { ListedApiToken } from '../src/identity/api-token-list.ts'
import { TOKEN_NAME } from '../src/identity/api-tokens.ts'
import type { Enrolment } from '../src/identity/second-factor/kept-factors.ts'
import { Pending } from '../src/identity/second-factor/pending.ts'
import { isServiceName } from '../src/vault/entry-input.ts'
import { newName } from '../src/identity/sessions.ts'
import type { StateCondition } from '../src/store/state.ts'
import { wayToLogin } from '../src/request/login.ts'
import { callerOf, performFor, type ActionOptions } from './api.ts'
import {
  answerAgain,
  askForFactor,
  isSeen,
  proofIn,
  type FactorRouteOptions,
} from './factor-forms.ts'
import { formOf, hasEachOnce, takeForms } from './forms.ts'
import { refuseOtherMethods } from './other-methods.ts'
import { letInSentence, offerPage } from './owner-devices-view.ts'
import type { GrantFields } from './owner-vault-view.ts'
import {
  MAX_SHOWN,
  OFFERED_DAYS,
  OFFERED_SCOPES,
  ownerPage,
  secretPage,
  type TokenFields,
} from './owner-view.ts'

/** What the page needs besides the request. */
type OwnerPageOptions = ActionOptions & Pick<FactorRouteOptions, 'factors' | 'login' | 'watchdog'>

/** A form of the page, which does the action of its name: what it says, and what comes after. */
interface Act {
  /** What the fields of the form say to the action. */
  readonly input: (form: URLSearchParams) => ActionInput
  /** The fields that it has besides `act`, which are kept while a second factor is asked for. */
  readonly fields: readonly FieldName[]
  /** What the page says that asks for its second factor, without a full stop. For owner's acts. */
  readonly says?: (form: URLSearchParams, kept: Enrolment, devices: DevicesView) => string
  /** The sentence on the page afterwards, when the action has nothing to show. */
  readonly done?: string
  /** The page with what the action has made, which is shown once. */
  readonly show?: (answer: object) => PageContent
  /** Whether sending the form twice would make two things. */
  readonly isOnce?: boolean
}

const byId = (form: URLSearchParams): ActionInput => ({ id: form.get('id') ?? '', body: undefined })
const nothing = (): ActionInput => ({ id: '', body: undefined })

/** One more than the page shows tells that there are more. To put 10,000 into words takes tens of milliseconds. */
const SHOWN_AND_ONE: ActionInput = { ...nothing(), limit: MAX_SHOWN + 1 }

/** The forms by the value of their field `act`, which is the name of an action. */
export const ACTS: Readonly<Partial<Record<ActionName, Act>>> = {
  'end-session': { input: byId, fields: ['id'], done: 'The session has ended.' },
  'end-sessions': {
    input: () => ({ id: '', body: { others: true } }),
    fields: [],
    done: 'Your other sessions have ended.',
  },
  'end-terminal': { input: byId, fields: ['id'], done: 'The terminal has ended.' },
  'revoke-api-token': { input: byId, fields: ['id'], done: 'The token is revoked.' },
  'grant-vault': {
    input: (form) => ({
      id: form.get('service') ?? '',
      body: { agent: form.get('agent') ?? '' },
    }),
    fields: ['service', 'agent'],
    says: (form) => `Let the agent ${form.get('agent')} use ${form.get('service')}`,
    done: 'The agent may use it now.',
  },
  'revoke-vault-grant': {
    input: (form) => ({
      id: form.get('service') ?? '',
      agent: form.get('agent') ?? '',
      body: undefined,
    }),
    fields: ['service', 'agent'],
    done: 'The grant is revoked.',
  },
  'offer-device': {
    input: (form) => ({ id: '', body: { isApproved: form.get('approved') === 'yes' } }),
    fields: ['once', 'approved'],
    says: (form) =>
      form.get('approved') === 'yes'
        ? 'Make a pairing link that lets whoever opens it in, as you'
        : 'Make a pairing link for a device',
    show: (answer) => offerPage(answer as OfferView),
    isOnce: true,
  },
  'approve-device': {
    input: byId,
    fields: ['id'],
    says: (form, _kept, { devices }) =>
      letInSentence(devices.find(({ id }) => id === form.get('id'))),
    done: 'The device is let in.',
  },
  'rename-device': {
    input: (form) => ({ id: form.get('id') ?? '', body: { name: form.get('name') ?? '' } }),
    fields: ['id', 'name'],
    done: 'The device has its new name.',
  },
  'revoke-device': { input: byId, fields: ['id'], done: 'The device is revoked.' },
  'create-api-token': {
    input: (form) => ({ id: '', body: tokenWanted(form) }),
    fields: ['once', 'name', 'scope', 'days'],
    says: (form) => {
      const { name, scopes, days } = typedIn(form)
      return `Make the API token ${name} for ${scopes.join(', ')}, valid for ${days} days`
    },
    show: (answer) => {
      const { name, token } = answer as MadeTokenView
      const words = `The token ${name} is shown this once. Send it as “Authorization: Bearer …”.`
      return secretPage('Your new token', words, [['Token', token]])
    },
    isOnce: true,
  },
  'remove-second-factor': {
    input: byId,
    fields: ['id'],
    says: (form, { totp, passkeys }) => {
      const id = form.get('id')
      const passkey = passkeys.find((one) => one.id === id)
      if (passkey !== undefined) return `Remove the passkey “${passkey.name}”`
      return id === totp?.id ? 'Remove your authenticator app' : 'Remove a second factor'
    },
    done: 'The second factor is removed.',
  },
  'new-backup-codes': {
    input: nothing,
    fields: [],
    says: () => 'Make new backup codes, so that the old ones no longer work',
    show: (answer) =>
      backupCodesPage({ next: OWNER_PAGE, codes: (answer as EnrolledView).backupCodes ?? [] }),
  },
  'show-terminal-password': {
    input: nothing,
    fields: [],
    says: () => 'Show the password of the terminal',
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

/** A field of a form, besides `act` and the second factor. */
type FieldName = 'id' | 'once' | 'name' | 'scope' | 'days' | 'service' | 'agent' | 'approved'

/** The form of the values that fields have. Nothing else is taken, so that no page shows anything else of a request. */
const FIELDS: Readonly<Record<FieldName, (value: string) => boolean>> = {
  id: (value) => value !== '', // a program chooses its session's; it is shown again when something has it
  once: (value) => /^[\w-]{22}$/.test(value),
  name: () => true, // the action says what a name is; it is shown again in no other form
  scope: (value) => OFFERED_SCOPES.some((scope) => scope === value),
  days: (value) => OFFERED_DAYS.some((days) => days === value),
  approved: (value) => value === 'yes',
  service: isServiceName,
  agent: (value) => /^[a-z0-9][a-z0-9/*-]{0,99}$/.test(value), // wider than the vault takes, so that every grant can be revoked
}

const NOTHING_CHOSEN: GrantFields = { service: '', agent: '', isSent: false }

const NO_FIELDS: TokenFields = { name: '', scopes: ['api'], days: '90', isSent: false }

const FORM_SENT = new GatewayError('bad-request', {
  reason: 'form sent before',
  detail: FORM_SENT_DETAIL,
})
const NO_SCOPE = new GatewayError('bad-request', { reason: 'no scope', detail: NO_SCOPE_DETAIL })
const UNKNOWN_ACT = new GatewayError('bad-request', {
  reason: 'unknown act',
  detail: UNKNOWN_ACT_DETAIL,
})

export default async function ownerPageRoutes(
  app: FastifyInstance,
  options: OwnerPageOptions,
): Promise<void> {
  const { parts, factors, login, watchdog } = options
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
    app.writePage(request, reply, await pageFor(request, { done: actNamed(done)?.act.done }))
    return reply
  })

  app.post(OWNER_PAGE, OWN, async function doAct(request, reply) {
    begin(request)
    const form = formOf(request)
    const wanted = actIn(form)
    if (wanted === undefined) return again(request, reply, UNKNOWN_ACT)
    const { name, act } = wanted
    const caller = { ...callerOf(request), proof: proofIn(form) }
    const owner = ownerOf(caller)
    const once = form.get('once') ?? ''
    if (act.isOnce === true && forms.take(once, owner) === undefined)
      return again(request, reply, FORM_SENT, form)
    let answer: object
    try {
      answer = await performFor(request, name, { input: act.input(form), caller }, options)
    } catch (error) {
      if (act.isOnce === true) forms.add(once, owner) // nothing was made, so the form can be sent again
      if (!(error instanceof GatewayError) || error.code === 'rate-limited') throw error
      if (error.code !== 'step-up-required') return again(request, reply, error, form)
      return caller.isBrowser && wantsFactor(parts, caller)
        ? confirm(request, reply, { form, wanted, caller, error })
        : wantFreshSignIn(request, reply, error)
    }
    if (act.show !== undefined) app.writePage(request, reply, act.show(answer))
    else {
      const location = `${OWNER_PAGE}?done=${name}`
      app.writeAnswer(request, reply, redirectAnswer(303, ownHeaders(request.id), location))
    }
    return reply
  })

  refuseOtherMethods(app, OWNER_PAGE, ['GET', 'HEAD', 'POST'])
  refuseOtherMethods(app, '/_gateway', ['GET', 'HEAD'])

  /** What an action returns; undefined when the person may not do it, or it cannot be asked now. */
  async function read<View>(
    name: ActionName,
    request: FastifyRequest,
    input: ActionInput = nothing(),
  ): Promise<View | undefined> {
    try {
      const asked = { input, caller: callerOf(request) }
      return (await performFor(request, name, asked, options)) as View
    } catch (error) {
      if (error instanceof GatewayError) return undefined
      throw error
    }
  }

  /** What the vault or the link lists, or what is wrong with it; undefined when the person may not see it. */
  async function readAway<View>(
    name: 'list-vault' | 'list-devices',
    request: FastifyRequest,
  ): Promise<View | { readonly problem: string } | undefined> {
    try {
      const asked = { input: nothing(), caller: callerOf(request) }
      return (await performFor(request, name, asked, options)) as View
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      if (error.code !== 'vault-unavailable' && error.code !== 'link-unavailable') return undefined
      return { problem: error.detail ?? DETAILS[error.code] }
    }
  }

  async function pageFor(request: FastifyRequest, more: PageMore): Promise<PageContent> {
    const caller = callerOf(request)
    const once = newName()
    if (isSeen(request)) forms.add(once, ownerOf(caller))
    const [own, listed, tokens, terminals, kept, vault, devices, refused, status] =
      await Promise.all([
        read<{ expiresAt: string | null; isOwner: boolean }>('show-session', request),
        read<{ sessions: readonly SessionView[] }>('list-sessions', request, SHOWN_AND_ONE),
        read<{ apiTokens: readonly ListedApiToken[] }>('list-api-tokens', request, SHOWN_AND_ONE),
        read<TerminalsAnswer>('list-terminals', request),
        read<OwnFactorsView>('show-second-factors', request),
        parts.vault === undefined ? undefined : readAway<VaultView>('list-vault', request),
        parts.link === undefined ? undefined : readAway<DevicesView>('list-devices', request),
        read<{ refusals: readonly RefusalView[] }>('list-refusals', request),
        read<StatusView>('show-status', request),
      ])
    return ownerPage({
      subject: caller.principal?.subject ?? '',
      expiresAt: own?.expiresAt ?? null,
      isOwner: own?.isOwner ?? false,
      sessions: listed?.sessions,
      apiTokens: tokens?.apiTokens,
      terminals,
      factors: kept,
      vault,
      devices,
      refusals: refused?.refusals.slice(0, 20),
      services: status === undefined ? undefined : statesOf(status),
      done: more.done,
      problem: more.problem ?? stateProblem(status),
      once,
      typed: more.typed ?? NO_FIELDS,
      chosen: more.chosen ?? NOTHING_CHOSEN,
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
    const content = await pageFor(request, { problem, ...typedOf(form) })
    return answerAgain(app, request, reply, error, content)
  }

  /** The page that asks for the factor of an act, which keeps the fields of its form. */
  async function confirm(
    request: FastifyRequest,
    reply: FastifyReply,
    { form, wanted: { name, act }, caller, error }: Unproven,
  ): Promise<FastifyReply> {
    const sent = act.fields.flatMap((field) =>
      form.getAll(field).map((value): [string, string] => [field, value]),
    )
    const fields: Fields = [['act', name], ...sent]
    const kept = factors.enrolmentOf(ownerOf(caller).subject)
    // The list is asked for again, so that the sentence is about the very device that would be let in.
    const listed =
      name === 'approve-device' ? await read<DevicesView>('list-devices', request) : undefined
    const says = act.says?.(form, kept, listed ?? { devices: [] }) ?? ''
    const unproven = { name, says, caller, error, action: OWNER_PAGE, fields }
    return askForFactor(app, request, reply, unproven, factors)
  }

  /** The page of somebody without a factor whose sign-in is too long ago. */
  function wantFreshSignIn(
    request: FastifyRequest,
    reply: FastifyReply,
    error: GatewayError,
  ): FastifyReply {
    const way = wayToLogin(request, login, OWNER_PAGE)
    const content = freshSignInPage({ loginHref: way?.location })
    return answerAgain(app, request, reply, error, content, way?.headers)
  }
}

/** What a page has besides what the person may see. */
interface PageMore {
  readonly done?: string | undefined
  readonly problem?: string | undefined
  /** What was typed into the form that is shown again. */
  readonly typed?: TokenFields
  readonly chosen?: GrantFields
}

/** What was typed into a form that is shown again. */
function typedOf(form: URLSearchParams | undefined): Pick<PageMore, 'typed' | 'chosen'> {
  const name = form?.get('act')
  if (form === undefined) return {}
  if (name === 'create-api-token') return { typed: typedIn(form) }
  return name === 'grant-vault' ? { chosen: chosenIn(form) } : {}
}

/** What was chosen for a grant. The fields were checked before; the page only compares them with what it offers. */
function chosenIn(form: URLSearchParams): GrantFields {
  return { service: form.get('service') ?? '', agent: form.get('agent') ?? '', isSent: true }
}

/** An act that was not done, because of its factor. */
interface Unproven {
  readonly form: URLSearchParams
  readonly wanted: WantedAct
  readonly caller: Caller
  readonly error: GatewayError
}

/** An act that a form asks for. */
interface WantedAct {
  readonly name: ActionName
  readonly act: Act
}

/** What the page needs of the status. */
interface StatusView {
  readonly services: Readonly<Record<string, { readonly state: string }>>
  readonly state: StateCondition
}

function actNamed(name: string): WantedAct | undefined {
  const act = Object.hasOwn(ACTS, name) ? ACTS[name as ActionName] : undefined
  return act === undefined ? undefined : { name: name as ActionName, act }
}

/** The act that a form asks for; undefined when a field is not in its form, or stands twice. */
function actIn(form: URLSearchParams): WantedAct | undefined {
  const wanted = actNamed(form.get('act') ?? '')
  const isInForm = (name: FieldName) => form.getAll(name).every(FIELDS[name])
  return hasEachOnce(form, 'scope') && wanted?.act.fields.every(isInForm) === true
    ? wanted
    : undefined
}

/** Whether each service is up, by its name. */
function statesOf({ services }: StatusView): Readonly<Record<string, string>> {
  const states = Object.entries(services).map(([name, { state }]) => [name, state] as const)
  return Object.fromEntries(states)
}

/** What is wrong with the state of the workspace, for its owners. */
function stateProblem(status: StatusView | undefined): string | undefined {
  const health = status?.state.health
  return health === undefined || health === 'ok' || health === 'in-memory'
    ? undefined
    : STATE_DETAILS[health]
}

function begin({ exchange }: FastifyRequest): void {
  exchange.outcome.stage = 'owner'
}

function ownerOf({ principal }: Caller): { subject: string; sessionId: string } {
  return { subject: principal?.subject ?? '', sessionId: principal?.session.id ?? '' }
}

/** A token as the form asks for it, in the words of the action. @throws {GatewayError} `bad-request` when it asks for nothing */
function tokenWanted(form: URLSearchParams): object {
  const scopes = form.getAll('scope')
  if (scopes.length === 0) throw NO_SCOPE
  const days = form.get('days') ?? NO_FIELDS.days
  return { name: form.get('name') ?? '', scopes, ttlSeconds: Number(days) * 86_400 }
}

/** What was typed for a token; the name only in the form that names have, so that a page shows nothing else of a request. */
function typedIn(form: URLSearchParams): TokenFields {
  const name = form.get('name') ?? ''
  return {
    name: TOKEN_NAME.test(name) ? name : '',
    scopes: form.getAll('scope'),
    days: form.get('days') ?? NO_FIELDS.days,
    isSent: true,
  }
}
