/**
 * What may an owner do with the sessions, keys and API tokens of a workspace? One table of actions. The admin socket
 * (routes.ts), the JSON API (routes/api.ts) and the commands are made from it, so that all of them offer the same.
 */
import { GatewayError } from '../answers/errors.ts'
import type { BrowserSession, Ending, Sessions } from '../identity/sessions.ts'
import type { Session } from '../identity/session.ts'
import { isOwner, type Caller } from './caller.ts'
import { membersOf, subjectIn, wrongInput } from './members.ts'

/** What the actions on the state need. A running gateway has it, and so has a command that opened the state file itself. */
export interface StateParts {
  /** GATEWAY_OWNERS; empty: everybody */
  readonly owners: readonly string[]
  readonly sessions: Sessions
  /** How many WebSockets of a session are open. */
  readonly socketsOf: (sessionId: string) => number
}

/** What the other actions need besides: they ask what only a running gateway knows. */
export interface LiveParts extends StateParts {
  readonly workspace: string
  /** How the gateway and its services are doing. */
  readonly status: () => Promise<object>
}

/** What a request to an action says. */
export interface ActionInput {
  /** The segment of the path that matched `:id`; an empty string when the path has none. */
  readonly id: string
  /** The parsed JSON of the request body; undefined without a body. */
  readonly body: unknown
}

/** The result of an action. */
export interface ActionResult {
  /** What the caller gets, as JSON. */
  readonly answer: object
  /** What the action changed, for the log: ids of sessions and names of tokens. Undefined for an action that only reads. */
  readonly changed?: readonly string[]
}

/** One action. */
export interface OwnerAction<Parts extends StateParts> {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** The path at the admin socket, and below `/_gateway/v1` in the JSON API. */
  readonly path: `/${string}`
  /** Who may: `self`, whoever is signed in, because it concerns their own session alone; `owner`, an owner of the workspace. */
  readonly who: 'self' | 'owner'
  /** Whether it is an owner's act, which wants a sign-in that is not older than 10 minutes. */
  readonly isAct: boolean
  /** @throws {GatewayError} whose `detail`, a fixed text, tells the caller what to change */
  readonly run: (
    parts: Parts,
    input: ActionInput,
    caller: Caller,
  ) => ActionResult | Promise<ActionResult>
}

/** The actions on what the state file holds. Commands can do them without a gateway too. */
export const STATE_ACTIONS = {
  'list-sessions': {
    method: 'GET',
    path: '/sessions',
    who: 'owner',
    isAct: false,
    run: (parts, _input, caller) => ({ answer: { sessions: listSessions(parts, caller) } }),
  },
  'end-session': {
    method: 'DELETE',
    path: '/sessions/:id',
    who: 'owner',
    isAct: false,
    run: ({ sessions }, { id }) => endOne(sessions, id, 'revoked'),
  },
  'end-sessions': {
    method: 'POST',
    path: '/sessions/end',
    who: 'owner',
    isAct: false,
    run: ({ sessions }, { body }, caller) => endMany(sessions, body, caller),
  },
} as const satisfies Record<string, OwnerAction<StateParts>>

/** The actions that ask a running gateway about itself, or about the caller's own session. */
const LIVE_ACTIONS = {
  'show-session': {
    method: 'GET',
    path: '/session',
    who: 'self',
    isAct: false,
    run: (parts, _input, caller) => ({ answer: ownSession(parts, caller) }),
  },
  'end-own-session': {
    method: 'DELETE',
    path: '/session',
    who: 'self',
    isAct: false,
    run: ({ sessions }, _input, { principal }) =>
      endOne(sessions, principal?.session.id ?? '', 'signed-out'),
  },
  'show-status': {
    method: 'GET',
    path: '/status',
    who: 'owner',
    isAct: false,
    run: async ({ status }) => ({ answer: await status() }),
  },
} as const satisfies Record<string, OwnerAction<LiveParts>>

/** Every action, by the name that the log has. */
export const OWNER_ACTIONS = { ...LIVE_ACTIONS, ...STATE_ACTIONS }

/** The name of an action that a command can do without a gateway too. */
export type StateActionName = keyof typeof STATE_ACTIONS

/** The name of an action. */
export type ActionName = keyof typeof OWNER_ACTIONS

/** A session as an owner sees it. Times are ISO 8601; null for what is not known, as of a program's token. */
export interface SessionView {
  readonly id: string
  readonly sub: string
  readonly kind: Session['kind']
  readonly createdAt: string | null
  readonly expiresAt: string | null
  /** `User-Agent` of the browser that signed in, and its client address. */
  readonly device: string | null
  readonly address: string | null
  readonly lastSeenAt: string | null
  readonly lastSeenFrom: string | null
  /** How many WebSockets are open. */
  readonly sockets: number
  /** Whether it is the caller's own session. */
  readonly current: boolean
}

/** The sessions that live, the one that was seen last first. */
function listSessions(parts: StateParts, { principal }: Caller): SessionView[] {
  const own = principal?.session.id
  const view = (session: Session, browser?: BrowserSession): SessionView => ({
    id: session.id,
    sub: session.subject,
    kind: session.kind,
    createdAt: timeText(browser?.createdAt),
    expiresAt: timeText(session.endsAt),
    device: browser?.device.name ?? null,
    address: browser?.device.address ?? null,
    lastSeenAt: timeText(session.lastSeenAt),
    lastSeenFrom: session.lastSeenFrom === '' ? null : session.lastSeenFrom,
    sockets: parts.socketsOf(session.id),
    current: session.id === own,
  })
  return livingSessions(parts.sessions)
    .toSorted(([a], [b]) => b.lastSeenAt - a.lastSeenAt)
    .map(([session, browser]) => view(session, browser))
}

/** The sessions of browsers, and those of programs. A ticket that only signed in is no program. */
function livingSessions(sessions: Sessions): Array<[Session, BrowserSession?]> {
  const programs = Array.from(sessions.programs()).filter(({ lastSeenAt }) => lastSeenAt > 0)
  return [
    ...Array.from(sessions.browsers(), (browser): [Session, BrowserSession] => [
      browser.session,
      browser,
    ]),
    ...programs.map((session): [Session] => [session]),
  ]
}

/** Who the caller is, and until when. */
function ownSession(parts: LiveParts, caller: Caller): object {
  const { workspace, owners, sessions } = parts
  const { principal } = caller
  const session = principal?.session
  const browser = session === undefined ? undefined : sessions.browser(session.id)
  return {
    workspace,
    sub: principal?.subject ?? null,
    kind: session?.kind ?? 'machine',
    id: session?.id ?? null,
    createdAt: timeText(browser?.createdAt),
    expiresAt: timeText(session?.endsAt),
    authenticatedAt: timeText(principal?.authenticatedAt),
    isOwner: isOwner(caller, owners),
  }
}

/** @throws {GatewayError} `not-found` */
function endOne(sessions: Sessions, id: string, cause: 'revoked' | 'signed-out'): ActionResult {
  const session = sessions.find(id)
  if (session === undefined || session.endedBy !== undefined)
    throw new GatewayError('not-found', { reason: NO_SESSION, detail: NO_SESSION })
  return resultOf(sessions.end([session], cause))
}

const NO_SESSION =
  'No session has this id: it has ended, or it is an API token, which is revoked instead.'

/** Ends the sessions that one member of the request names. */
function endMany(sessions: Sessions, body: unknown, { principal }: Caller): ActionResult {
  const { sub, others, all } = membersOf(body, ['sub', 'others', 'all'])
  if ([sub, others, all].filter((value) => value !== undefined).length !== 1) throw WHICH_SESSIONS
  if (sub !== undefined) return resultOf(sessions.endAll('revoked', subjectIn(sub, 'sub')))
  if (all === true) return resultOf(sessions.endAll('all-ended'))
  if (others !== true || principal === undefined) throw WHICH_SESSIONS
  const { subject, session: own } = principal
  const isOther = ({ id, subject: theirs }: Session) => theirs === subject && id !== own.id
  const living = livingSessions(sessions).map(([session]) => session)
  return resultOf(sessions.end(living.filter(isOther), 'revoked'))
}

const WHICH_SESSIONS = wrongInput(
  'Exactly one of these says which sessions end: "sub" with a name, "others": true for the other ones of the person who asks, or "all": true.',
)

function resultOf({ ended, isSaved }: Ending): ActionResult {
  const seen = ended.filter(({ lastSeenAt }) => lastSeenAt > 0)
  return { answer: { ended: seen.length, saved: isSaved }, changed: seen.map(({ id }) => id) }
}

/** A time as ISO 8601; null for none, for never, and for the end of what does not end. */
function timeText(time: number | undefined): string | null {
  return time === undefined || time === 0 || !Number.isFinite(time)
    ? null
    : new Date(time).toISOString()
}
