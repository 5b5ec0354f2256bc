/**
 * Who is signed in, who was signed out, and which sign-in links were used? The state file keeps it, this object knows it: a
 * verdict on a token asks here once, and no request asks a database.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../answers/errors.ts'
import type { Watched } from '../limits/watchdog.ts'
import type { Change, State } from '../store/state.ts'
import {
  allEndings,
  allSessions,
  allWatermarks,
  deleteSession,
  putEnding,
  putSession,
  putWatermark,
  sweepRows,
  type SessionRow,
} from '../store/session-rows.ts'
import { Session, type EndCause } from './session.ts'
import { invalidToken, type Claims } from './token.ts'

/** A ticket: a valid token of the login service, or of the machine, that may start or renew a session. */
export interface Ticket {
  readonly claims: Claims
  /** The name under which the ticket is remembered once it is used; undefined when it may be used again. */
  readonly oneTimeId: string | undefined
}

/** The browser that signs in. */
export interface Device {
  /** `User-Agent` */
  readonly name: string
  /** The client address. */
  readonly address: string
}

/** A session of a browser, with what is shown of it. */
export interface BrowserSession {
  readonly session: Session
  readonly createdAt: number
  readonly device: Device
  /** `jti` of its newest token. */
  readonly tokenId: string
  /** When the person proved who they are, in milliseconds since 1970. */
  readonly authenticatedAt: number
  /** `amr`: how they did. */
  readonly methods: readonly string[]
  /** The older tokens that are still accepted, and until when. */
  readonly superseded: ReadonlyMap<string, number>
}

/** How an ending was kept. */
export interface Ending {
  /** The sessions that ended. */
  readonly ended: readonly Session[]
  /** Whether the ending is on the disk. If not, it holds in memory and is written as soon as that is possible. */
  readonly isSaved: boolean
}

/** What sessions need besides the state. */
export interface SessionOptions {
  /** GATEWAY_SESSION_MAX_SECONDS */
  readonly maxSeconds: number
  /** The clock skew that is allowed on tokens of other machines, in seconds. */
  readonly leewaySeconds: number
  /** The wall clock in milliseconds. */
  readonly now?: () => number
}

/** How many browsers may be signed in; then the session that was seen least recently ends. */
export const MAX_SESSIONS = 10_000

/** For how long the token before a renewal is accepted, because requests of other tabs are on their way (milliseconds). */
export const SUPERSEDED_MS = 60_000

/** For how long endings are kept beyond the expiry of their tokens, so that a clock set forward and back revives none. */
const CLOCK_MARGIN_MS = 86_400_000

/** How often endings are looked through for those that need no longer be remembered (milliseconds). */
const SWEEP_MS = 3_600_000

/** The longest part of a `User-Agent` that is kept, in characters. */
const MAX_DEVICE_LENGTH = 256

const EVERYBODY = ''

/** Why a remembered id is refused: an ending, or a ticket that has signed in. */
type Refusal = EndCause | 'used'

/** The sessions of a workspace. */
export class Sessions implements Watched {
  place = -1
  readonly #state: State
  readonly #maxMs: number
  readonly #graceMs: number
  readonly #now: () => number
  readonly #browsers = new Map<string, BrowserSession>()
  /** Sessions of programs. Weak, because whatever hangs on such a session holds it, and nothing else needs to be ended. */
  readonly #programs = new Map<string, WeakRef<Session>>()
  #programsAtSweep = 0
  readonly #refused = new Map<string, readonly [cause: Refusal, keepUntil: number]>()
  readonly #watermarks = new Map<string, number>()
  readonly #listeners: ((ended: readonly Session[]) => void)[] = []
  /** The earliest end of a session of a browser, or less. */
  #nextEnd = Infinity
  #nextSweep = 0
  #started = 0
  readonly #endings: Record<EndCause, number> = {
    expired: 0,
    'signed-out': 0,
    revoked: 0,
    'key-removed': 0,
    'all-ended': 0,
  }
  /** When sessions that were seen were last written. */
  #savedAt = 0

  constructor(state: State, { maxSeconds, leewaySeconds, now = Date.now }: SessionOptions) {
    this.#state = state
    this.#maxMs = maxSeconds * 1000
    this.#graceMs = leewaySeconds * 1000
    this.#now = now
    state.everyMinute((database) => this.#save(database))
  }

  /**
   * Reads the state. It may be read again, after a predecessor has changed it; sessions that this process knows keep their
   * objects.
   * @param hasKey whether a key is in the ring; sessions of other keys have ended while this process did not run
   */
  load(hasKey: (kid: string) => boolean): void {
    this.#state.read((database) => {
      for (const [id, cause, keepUntil] of allEndings(database))
        this.#refused.set(id, [cause as Refusal, keepUntil])
      for (const [subject, at] of allWatermarks(database)) this.#raise(subject, at)
      const rows = allSessions(database)
      const ids = new Set(rows.map(({ id }) => id))
      const gone = [...this.#browsers.values()].filter(({ session }) => !ids.has(session.id))
      this.#tell(gone.map(({ session }) => this.#drop(session)))
      for (const row of rows) this.#add(row)
    })
    const isDead = ({ session, createdAt }: BrowserSession) =>
      createdAt <= this.#watermarkOf(session.subject)
    this.end(this.#sessionsWhere(isDead), 'all-ended')
    this.endWithoutKey(hasKey)
  }

  /** Calls a function with the sessions that have ended, as soon as they have, whatever the cause. */
  onEnded(listener: (ended: readonly Session[]) => void): void {
    this.#listeners.push(listener)
  }

  /** How many browsers are signed in. */
  get size(): number {
    return this.#browsers.size
  }

  /** How many sessions are open, by kind. */
  counts(): { browser: number; program: number } {
    return { browser: this.#browsers.size, program: [...this.programs()].length }
  }

  /** How many browsers have signed in since the start. */
  get started(): number {
    return this.#started
  }

  /** How many sessions have ended since the start, by cause. Those of programs that expire are not noticed. */
  get endings(): Readonly<Record<EndCause, number>> {
    return this.#endings
  }

  /** The signed-in browsers. */
  browsers(): Iterable<BrowserSession> {
    return this.#browsers.values()
  }

  /** The sessions of programs that something hangs on. */
  *programs(): Iterable<Session> {
    for (const reference of this.#programs.values()) {
      const session = reference.deref()
      if (session !== undefined && !session.isOver(this.#now(), 0)) yield session
    }
  }

  /** A session of a browser or of a program by its id; undefined when there is none. */
  find(id: string): Session | undefined {
    return this.#browsers.get(id)?.session ?? this.#programs.get(id)?.deref()
  }

  /** The signed-in browser with this session; undefined when there is none. */
  browser(id: string): BrowserSession | undefined {
    return this.#browsers.get(id)
  }

  /**
   * The session of a session token, which only the gateway mints.
   * @returns the session, and until when this token of it is accepted
   * @throws {GatewayError} `token-invalid` when the session has ended or is not known
   */
  admit({ sessionId = '', tokenId = '', subject }: Claims): {
    browser: BrowserSession
    acceptedUntil: number
  } {
    const browser = this.#browsers.get(sessionId)
    if (browser === undefined)
      throw invalidToken(reasonOf(this.#refused.get(sessionId)?.[0]) ?? 'unknown session')
    const { session, superseded } = browser
    if (session.subject !== subject) throw invalidToken('sub of another session')
    if (browser.tokenId === tokenId) return { browser, acceptedUntil: session.endsAt }
    const until = superseded.get(tokenId) ?? 0
    if (this.#now() >= until) throw invalidToken('superseded')
    return { browser, acceptedUntil: Math.min(until, session.endsAt) }
  }

  /**
   * The session of a program's token, or of a token that may yet sign in.
   * @param digest of the whole token
   * @param kid the key that verified it
   * @throws {GatewayError} `ticket-used` when the token has signed in, `token-invalid` when its session has ended
   */
  admitProgram(claims: Claims, digest: string, kid: string): Session {
    const { subject, expiresAt } = claims
    const used = this.#refused.get(ticketIdOf(claims, digest))?.[0]
    if (used === 'used') throw new GatewayError('ticket-used', { reason: 'has signed in' })
    const id = programIdOf(claims, digest)
    const refused = this.#refused.get(id)?.[0]
    if (refused !== undefined) throw invalidToken(reasonOf(refused) ?? refused)
    if (this.#isBeforeWatermark(claims))
      throw invalidToken('issued before everybody was signed out')
    const endsAt = expiresAt * 1000
    const known = this.#programs.get(id)?.deref()
    if (known !== undefined) {
      known.endsAt = Math.max(known.endsAt, endsAt)
      known.kid = kid
      return known
    }
    const session = new Session(id, 'program', { subject, endsAt, kid, graceMs: this.#graceMs })
    if (this.#programs.size > 2 * this.#programsAtSweep + 1000) this.#sweepPrograms()
    this.#programs.set(id, new WeakRef(session))
    return session
  }

  /** When a session that this ticket starts would end, in milliseconds since 1970. @throws {GatewayError} `token-expired` */
  endOf({ authenticatedAt, issuedAt, sessionExpiresAt, expiresAt }: Claims): number {
    const now = this.#now()
    const since = (authenticatedAt ?? issuedAt ?? now / 1000) * 1000
    const end = Math.min((sessionExpiresAt ?? expiresAt) * 1000, since + this.#maxMs)
    if (end <= now) throw new GatewayError('token-expired', { reason: 'its session would be over' })
    return Math.floor(end / 1000) * 1000
  }

  /** When the person with this ticket proved who they are, in milliseconds since 1970. */
  authenticatedAt({ authenticatedAt, issuedAt }: Claims): number {
    const now = this.#now()
    return Math.floor(Math.min((authenticatedAt ?? issuedAt ?? now / 1000) * 1000, now))
  }

  /**
   * Starts a session with a ticket, which is used up. Both are on the disk when this returns.
   * @param kid the key that signs its token
   * @param id `sid`, and tokenId `jti`, of the token that was minted for it
   * @param replaces the session that this browser had until now, which ends with the same write
   * @throws {GatewayError} `ticket-used`; `token-expired`; `state-unavailable` for a ticket that works once
   */
  start(
    { claims, oneTimeId }: Ticket,
    { id, tokenId, kid }: { id: string; tokenId: string; kid: string },
    device: Device,
    replaces?: Session,
  ): BrowserSession {
    this.#checkTicket({ claims, oneTimeId })
    const now = this.#now()
    const row: SessionRow = {
      id,
      subject: claims.subject,
      kid,
      tokenId,
      superseded: [],
      createdAt: this.#sessionTime(claims.subject, now),
      authenticatedAt: this.authenticatedAt(claims),
      endsAt: this.endOf(claims),
      methods: claims.methods,
      device: device.name.slice(0, MAX_DEVICE_LENGTH),
      address: device.address,
      lastSeenAt: now,
      lastSeenFrom: device.address,
    }
    this.#useTicket({ claims, oneTimeId }, (database) => putSession(database, row))
    if (replaces !== undefined) this.end([replaces], 'signed-out')
    if (this.#browsers.size >= MAX_SESSIONS) this.#endLeastRecent()
    this.#started++
    return this.#add(row)
  }

  /**
   * Renews a session with a ticket of the same person: a later end, and a new token. A refused renewal uses nothing up.
   * @throws {GatewayError} `other-subject`; and what {@link start} throws
   */
  renew(
    { session }: BrowserSession,
    { claims, oneTimeId }: Ticket,
    { tokenId, kid }: { tokenId: string; kid: string },
  ): BrowserSession {
    const known = this.#browsers.get(session.id)
    if (known === undefined) throw invalidToken('unknown session')
    if (claims.subject !== session.subject)
      throw new GatewayError('other-subject', { reason: 'renewal by another subject' })
    this.#checkTicket({ claims, oneTimeId })
    const now = this.#now()
    const superseded = [...known.superseded, [known.tokenId, now + SUPERSEDED_MS] as const].filter(
      ([, until]) => until > now,
    )
    const row: SessionRow = {
      ...rowOf(known),
      kid,
      tokenId,
      superseded,
      authenticatedAt: Math.max(known.authenticatedAt, this.authenticatedAt(claims)),
      endsAt: Math.max(session.endsAt, this.endOf(claims)),
      methods: claims.methods,
    }
    this.#useTicket({ claims, oneTimeId }, (database) => putSession(database, row))
    return this.#add(row)
  }

  /** Ends sessions for good, wherever they are used. */
  end(sessions: readonly Session[], cause: EndCause): Ending {
    const ended = sessions.filter((session) => session.endedBy === undefined)
    if (ended.length === 0) return { ended, isSaved: true }
    const keepUntil = this.#forget(ended, cause)
    const isSaved = this.#state.writeSurely((database) => {
      for (const { id } of ended) {
        deleteSession(database, id)
        putEnding(database, id, cause, keepUntil.get(id) ?? Infinity)
      }
    })
    this.#tell(ended)
    return { ended, isSaved }
  }

  /**
   * Ends every session of a person, or of everybody, also those of programs that this process does not know: tokens that were
   * issued until now no longer count. API tokens stay.
   */
  endAll(cause: EndCause, subject?: string): Ending {
    const at = this.#now()
    this.#raise(subject ?? EVERYBODY, at)
    const isOf = (session: Session) => subject === undefined || session.subject === subject
    const programs = [...this.programs()].filter(isOf)
    const browsers = [...this.#browsers.values()].map(({ session }) => session).filter(isOf)
    const ended = [...browsers, ...programs]
    const keepUntil = this.#forget(ended, cause)
    const isSaved = this.#state.writeSurely((database) => {
      putWatermark(database, subject ?? EVERYBODY, at)
      for (const { id } of browsers) {
        deleteSession(database, id)
        putEnding(database, id, cause, keepUntil.get(id) ?? Infinity)
      }
    })
    this.#tell(ended)
    return { ended, isSaved }
  }

  /**
   * Ends the sessions whose key is not in the ring any more. Those of programs are not remembered as ended, because their
   * tokens cannot be verified any more.
   */
  endWithoutKey(hasKey: (kid: string) => boolean): void {
    this.end(
      this.#sessionsWhere(({ session }) => !hasKey(session.kid)),
      'key-removed',
    )
    const programs = [...this.programs()].filter(({ kid }) => !hasKey(kid))
    for (const session of programs) {
      session.end('key-removed')
      this.#programs.delete(session.id)
    }
    this.#tell(programs)
  }

  /** Notices sessions whose time is over, twice a second. */
  check(_now: number, wallClock: number): void {
    if (wallClock >= this.#nextSweep) {
      this.#nextSweep = wallClock + SWEEP_MS
      for (const [id, [, keepUntil]] of this.#refused)
        if (wallClock >= keepUntil) this.#refused.delete(id)
    }
    if (wallClock < this.#nextEnd) return
    const over: Session[] = []
    this.#nextEnd = Infinity
    for (const { session } of this.#browsers.values()) {
      if (wallClock >= session.endsAt) over.push(session)
      else this.#nextEnd = Math.min(this.#nextEnd, session.endsAt)
    }
    for (const session of over) {
      session.end('expired')
      this.#browsers.delete(session.id)
    }
    this.#tell(over)
  }

  #sessionsWhere(matches: (browser: BrowserSession) => boolean): Session[] {
    return [...this.#browsers.values()].filter(matches).map(({ session }) => session)
  }

  /** Writes when and from where sessions were seen, and deletes rows that have expired. Part of each minute's write. */
  #save(database: DatabaseSync): void {
    const now = this.#now()
    for (const browser of this.#browsers.values())
      if (browser.session.lastSeenAt >= this.#savedAt) putSession(database, rowOf(browser))
    sweepRows(database, now)
    this.#savedAt = now
  }

  /** Removes a session from memory that a predecessor has ended. */
  #drop(session: Session): Session {
    const cause = this.#refused.get(session.id)?.[0]
    session.end(cause === undefined || cause === 'used' ? 'expired' : cause)
    this.#browsers.delete(session.id)
    return session
  }

  #endLeastRecent(): void {
    const sessions = [...this.#browsers.values()].map(({ session }) => session)
    const least = sessions.reduce((a, b) => (b.lastSeenAt < a.lastSeenAt ? b : a))
    this.end([least], 'revoked')
  }

  #add(row: SessionRow): BrowserSession {
    const { id, subject, endsAt, createdAt, device, address } = row
    const session =
      this.#browsers.get(id)?.session ?? new Session(id, 'browser', { subject, endsAt })
    session.endsAt = endsAt
    session.kid = row.kid
    if (row.lastSeenAt > session.lastSeenAt) {
      session.lastSeenAt = row.lastSeenAt
      session.lastSeenFrom = row.lastSeenFrom
    }
    const browser: BrowserSession = {
      session,
      createdAt,
      device: { name: device, address },
      tokenId: row.tokenId,
      authenticatedAt: row.authenticatedAt,
      methods: row.methods,
      superseded: new Map(row.superseded),
    }
    this.#browsers.set(id, browser)
    this.#nextEnd = Math.min(this.#nextEnd, endsAt)
    return browser
  }

  /** @throws {GatewayError} when the ticket cannot sign in, because it has, or because everybody was signed out since */
  #checkTicket({ claims, oneTimeId }: Ticket): void {
    if (oneTimeId !== undefined && this.#refused.get(oneTimeId)?.[0] === 'used')
      throw new GatewayError('ticket-used', { reason: 'has signed in' })
    if (this.#isBeforeWatermark(claims))
      throw invalidToken('issued before everybody was signed out')
  }

  /** Uses a ticket up and makes a change with it, both in one write. No two callers can use one ticket: nothing waits here. */
  #useTicket({ claims, oneTimeId }: Ticket, change: Change): void {
    if (oneTimeId === undefined) {
      this.#state.writeSurely(change)
      return
    }
    const keepUntil = claims.expiresAt * 1000 + this.#graceMs + CLOCK_MARGIN_MS
    this.#state.write((database) => {
      change(database)
      putEnding(database, oneTimeId, 'used', keepUntil)
    })
    this.#refused.set(oneTimeId, ['used', keepUntil])
  }

  /** Removes sessions from memory. @returns until when each must be remembered as ended */
  #forget(ended: readonly Session[], cause: EndCause): Map<string, number> {
    const keepUntil = new Map<string, number>()
    for (const session of ended) {
      const until = Math.min(session.acceptedUntil + CLOCK_MARGIN_MS, Number.MAX_SAFE_INTEGER)
      keepUntil.set(session.id, until)
      session.end(cause)
      this.#browsers.delete(session.id)
      this.#refused.set(session.id, [cause, until])
    }
    return keepUntil
  }

  #tell(ended: readonly Session[]): void {
    for (const { endedBy } of ended) if (endedBy !== undefined) this.#endings[endedBy]++
    for (const listener of this.#listeners) listener(ended)
  }

  /** The time of a new session: later than every watermark that concerns it, also when the clock has stepped back. */
  #sessionTime(subject: string, now: number): number {
    return Math.max(now, this.#watermarkOf(subject) + 1)
  }

  #watermarkOf(subject: string): number {
    return Math.max(this.#watermarks.get(EVERYBODY) ?? 0, this.#watermarks.get(subject) ?? 0)
  }

  #raise(subject: string, at: number): void {
    this.#watermarks.set(subject, Math.max(this.#watermarks.get(subject) ?? 0, at))
  }

  /** Whether a token was issued before its subject was signed out everywhere. One without `iat` cannot prove that it was not. */
  #isBeforeWatermark({ subject, issuedAt }: Claims): boolean {
    const watermark = this.#watermarkOf(subject)
    return watermark > 0 && (issuedAt === undefined || issuedAt * 1000 <= watermark)
  }

  #sweepPrograms(): void {
    for (const [id, reference] of this.#programs)
      if (reference.deref() === undefined) this.#programs.delete(id)
    this.#programsAtSweep = this.#programs.size
  }
}

/** A name of a new session or of a new token: 128 random bits. */
export function newName(): string {
  return randomBytes(16).toString('base64url')
}

/** A digest of 132 bits. It names a token without being one. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}

/** The name under which a ticket is remembered once it has signed in: by its `jti`, else by its text. */
export function ticketIdOf({ tokenId }: Claims, digest: string): string {
  return tokenId === undefined ? digest : digestOf(`jti\0${tokenId}`)
}

/** The name of a program's session: by `sid`, else by `jti`, else by the token's text; and by `sub`, since others may share an id. */
function programIdOf({ subject, sessionId, tokenId }: Claims, digest: string): string {
  if (sessionId !== undefined) return digestOf(`sid\0${subject}\0${sessionId}`)
  return tokenId === undefined ? digest : digestOf(`program\0${subject}\0${tokenId}`)
}

function reasonOf(cause: Refusal | undefined): string | undefined {
  if (cause === undefined) return undefined
  const reasons = {
    expired: 'session expired',
    'signed-out': 'signed out',
    revoked: 'session revoked',
    'key-removed': 'key removed',
    'all-ended': 'everybody was signed out',
    used: 'has signed in',
  } as const satisfies Record<Refusal, string>
  return reasons[cause]
}

function rowOf(browser: BrowserSession): SessionRow {
  const { session, createdAt, device, tokenId, authenticatedAt, methods, superseded } = browser
  return {
    id: session.id,
    subject: session.subject,
    kid: session.kid,
    tokenId,
    superseded: [...superseded],
    createdAt,
    authenticatedAt,
    endsAt: session.endsAt,
    methods,
    device: device.name,
    address: device.address,
    lastSeenAt: session.lastSeenAt,
    lastSeenFrom: session.lastSeenFrom,
  }
}
