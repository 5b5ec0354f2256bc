/** What does an owner see of the sessions, and how are they ended? */
import type { BrowserSession, Ending, Sessions } from '../identity/sessions.ts'
import { isoTime } from '../identity/iso-time.ts'
import type { Session } from '../identity/session.ts'
import type { ActionResult, LiveParts, StateParts } from './action.ts'
import { isOwner, type Caller } from './caller.ts'
import { membersOf, ownerRefusal, subjectIn } from './members.ts'

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

/** The sessions that live, the one that was seen last first. @param limit how many at most */
export function listSessions(
  parts: StateParts,
  { principal }: Caller,
  limit?: number,
): SessionView[] {
  const own = principal?.session.id
  const view = (session: Session, browser?: BrowserSession): SessionView => ({
    id: session.id,
    sub: session.subject,
    kind: session.kind,
    createdAt: isoTime(browser?.createdAt),
    expiresAt: isoTime(session.endsAt),
    device: browser?.device.name ?? null,
    address: browser?.device.address ?? null,
    lastSeenAt: isoTime(session.lastSeenAt),
    lastSeenFrom: session.lastSeenFrom === '' ? null : session.lastSeenFrom,
    sockets: parts.socketsOf(session.id),
    current: session.id === own,
  })
  return livingSessions(parts.sessions)
    .toSorted(([a], [b]) => b.lastSeenAt - a.lastSeenAt)
    .slice(0, limit)
    .map(([session, browser]) => view(session, browser))
}

/** The sessions of browsers, and those of programs that were seen. */
function livingSessions(sessions: Sessions): Array<[Session, BrowserSession?]> {
  return [
    ...Array.from(sessions.browsers(), (browser): [Session, BrowserSession] => [
      browser.session,
      browser,
    ]),
    ...Array.from(sessions.programs(), (session): [Session] => [session]),
  ]
}

/** Who the caller is, and until when. */
export function ownSession(parts: LiveParts, caller: Caller): object {
  const { workspace, owners, sessions } = parts
  const { principal } = caller
  const session = principal?.session
  const browser = session === undefined ? undefined : sessions.browser(session.id)
  return {
    workspace,
    sub: principal?.subject ?? null,
    kind: session?.kind ?? 'machine',
    id: session?.id ?? null,
    createdAt: isoTime(browser?.createdAt),
    expiresAt: isoTime(session?.endsAt),
    authenticatedAt: isoTime(principal?.authenticatedAt),
    isOwner: isOwner(caller, owners),
  }
}

/** @throws {GatewayError} `not-found` */
export function endOne(
  sessions: Sessions,
  id: string,
  cause: 'revoked' | 'signed-out',
): ActionResult {
  const session = sessions.find(id)
  if (session === undefined) throw ownerRefusal('not-found', 'no such session')
  return resultOf(sessions.end([session], cause))
}

/** Ends the sessions that one member of the request names. */
export function endMany(sessions: Sessions, body: unknown, { principal }: Caller): ActionResult {
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

const WHICH_SESSIONS = ownerRefusal('bad-request', 'which sessions')

function resultOf({ ended, isSaved }: Ending): ActionResult {
  const changed = ended.map(({ id }) => id)
  return { answer: { ended: ended.length, saved: isSaved }, changed, isSaved }
}
