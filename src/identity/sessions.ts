/**
 * Who is signed in, who was signed out, and which sign-in links were used? The state file keeps it, this object knows it: a
 * verdict on a token asks here once, and no request asks a database.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../answers/errors.ts'
import { Remembered } from '../limits/memo.ts'
import type { Watched } from '../limits/watchdog.ts'
import type { Change, State } from '../store/state.ts'
import {
  allSessions,
  deleteSessions,
  putEnding,
  putEndings,
  putSession,
  putWatermark,
  sweepRows,
  updateSeen,
  type SessionRow,
} from '../store/session-rows.ts'
import type { Proofs } from '../rules/step-up.ts'
import { Endings, REASONS } from './endings.ts'
import { Session, type EndCause } from './session.ts'
import { invalidToken, type Claims } from './token.ts'

/** A ticket: a valid token of the login service, or of the machine, that may start or renew a session. */
export interface Ticket {
  readonly claims: Claims
  /** The name under which the ticket is remembered once it is used; undefined when it may be used again. */
  readonly oneTimeId: string | undefined
  /** The session that a program with this token would have. If that was ended, the token cannot sign in either. */
  readonly programId: string
}

/** The browser that signs in. */
export interface Device {
  /** `User-Agent` */
  readonly name: string
  /** The client address. */
  readonly address: string
}

/** Tokens that count for less than before: verdicts on them must be made again. */
export interface Superseded {
  /** The ticket that has signed in. */
  readonly ticketId: string | undefined
  /** The session that got a new token. */
  readonly session: Session | undefined
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
  /** When they last showed a second factor here, in milliseconds since 1970; undefined for never. */
  readonly factorAt: number | undefined
  /** The older tokens that are still accepted, and until when. */
  readonly superseded: ReadonlyMap<string, number>
}

/** A session token that was minted. */
interface NewToken {
  /** `jti` */
  readonly tokenId: string
  /** The key that signs it. */
  readonly kid: string
}

/** What the person of a session has proved. */
export type SessionProof = Pick<BrowserSession, 'authenticatedAt' | 'methods' | 'factorAt'>

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

/** How many older tokens of a session are accepted, so that a page that renews again and again does not grow its row. */
export const MAX_SUPERSEDED = 64

/** For how long endings are kept beyond the expiry of their tokens, so that a clock set forward and back revives none. */
const CLOCK_MARGIN_MS = 86_400_000

/** For how long the ending of a program's session with a `sid` is kept at least: other tokens may name that session too. */
const SID_KEPT_MS = 400 * 86_400_000

/** The longest part of a `User-Agent` that is kept, in characters. */
const MAX_DEVICE_LENGTH = 256

/** Names of browsers, people and keys are the same few in many sessions, so equal ones are one string. */
const shared = new Remembered((text) => text)
const methodsOf = new Remembered((json) => JSON.parse(json) as readonly string[])

/** For sessions without older tokens, which are nearly all of them. */
const NONE_SUPERSEDED: ReadonlyMap<string, number> = new Map()

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
  /** The sessions of programs that a `sid` names. */
  readonly #namedBySid = new WeakSet<Session>()
  readonly #refused = new Endings()
  readonly #listeners: ((ended: readonly Session[]) => void)[] = []
  readonly #supersededListeners: ((tokens: Superseded) => void)[] = []
  #hasKey: (kid: string) => boolean = () => true
  /** The sessions that this process has changed and that the state file may not have. */
  readonly #unsaved = new Set<string>()
  /** The earliest end of a session of a browser, or less. */
  #nextEnd = Infinity
  /** Whether rows that have expired may be deleted with the next write. */
  #maySweep = false
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
    this.#hasKey = hasKey
    const programs = [...this.programs()].map(
      (program) => [program, this.#refused.watermarkOf(program.subject)] as const,
    )
    const rows = this.#state.read((database) => {
      this.#refused.load(database)
      return allSessions(database)
    })
    if (rows === undefined) return
    const now = this.#now()
    const alive = rows.filter(
      ({ id, subject, createdAt, endsAt }) =>
        endsAt > now &&
        this.#refused.of(id) === undefined &&
        !this.#refused.covers(subject, createdAt),
    )
    const ids = new Set(alive.map(({ id }) => id))
    const gone = [...this.#browsers.values()].filter(
      (browser) =>
        this.#isCovered(browser) ||
        (!ids.has(browser.session.id) && !this.#unsaved.has(browser.session.id)),
    )
    this.#tell(gone.map((browser) => this.#drop(browser)))
    this.#dropPrograms(programs)
    for (const row of alive) if (!this.#unsaved.has(row.id)) this.#add(row)
    this.endWithoutKey(hasKey)
  }

  /**
   * Calls a function with the sessions that have ended, as soon as they have, whatever the cause. There may be none among them
   * when everybody is signed out or a key is removed, because sessions of programs are not all known.
   */
  onEnded(listener: (ended: readonly Session[]) => void): void {
    this.#listeners.push(listener)
  }

  /** Calls a function when tokens count for less than before, so that cached verdicts on them are forgotten. */
  onSuperseded(listener: (tokens: Superseded) => void): void {
    this.#supersededListeners.push(listener)
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

  /** The sessions of programs that something hangs on, also those that are accepted for the last seconds of the leeway. */
  *programs(): Iterable<Session> {
    const now = this.#now()
    for (const reference of this.#programs.values()) {
      const session = reference.deref()
      if (session !== undefined && session.endedBy === undefined && now < session.acceptedUntil)
        yield session
    }
  }

  /** A session of a browser or of a program that has not ended, by its id; undefined when there is none. */
  find(id: string): Session | undefined {
    const session = this.#browsers.get(id)?.session ?? this.#programs.get(id)?.deref()
    return session?.endedBy === undefined ? session : undefined
  }

  /**
   * Whether the session of a program that was admitted at some time can still live, as far as is recorded: this process may not
   * have seen its token.
   * @param seenAt milliseconds since 1970
   */
  mayLive(id: string, subject: string, seenAt: number): boolean {
    return this.#refused.of(id) === undefined && !this.#refused.covers(subject, seenAt)
  }

  /** The signed-in browser with this session; undefined when there is none. */
  browser(id: string): BrowserSession | undefined {
    const browser = this.#browsers.get(id)
    // Its end may not have been noticed yet, as when the machine was suspended. Nothing may renew it any more.
    return browser !== undefined && this.#now() < browser.session.endsAt ? browser : undefined
  }

  /**
   * The session of a session token, which only the gateway mints.
   * @param kid the key that verified it
   * @returns the session, until when this token of it is accepted, in milliseconds since 1970, and what this token proves: an
   * older one proves no factor, and not the sign-in with which the session was renewed since
   * @throws {GatewayError} `token-invalid` when the session has ended or is not known
   */
  admit(
    claims: Claims,
    kid: string,
  ): { browser: BrowserSession; acceptedUntil: number; proof: SessionProof } {
    const { sessionId = '', tokenId = '', subject, expiresAt, methods } = claims
    const browser = this.#browsers.get(sessionId)
    if (browser === undefined) throw invalidToken(this.#whyUnknown(claims))
    const { session, superseded } = browser
    if (session.subject !== subject) throw invalidToken('sub of another session')
    if (session.boundTo !== claims.boundTo) throw invalidToken('device of another session')
    const endsAt = Math.min(expiresAt * 1000, session.endsAt)
    if (browser.tokenId === tokenId) {
      if (session.kid !== kid) throw invalidToken('key of another session')
      this.#noteArrived(browser)
      const { authenticatedAt } = browser // in milliseconds
      return {
        ...{ browser, acceptedUntil: endsAt },
        proof: { authenticatedAt, methods: browser.methods, factorAt: claims.factorAt },
      }
    }
    const until = superseded.get(tokenId) ?? 0
    if (this.#now() >= until) throw invalidToken('superseded')
    const authenticatedAt = this.authenticatedAt(claims)
    return {
      ...{ browser, acceptedUntil: Math.min(until, endsAt) },
      // Programs of one device each have a token, and a newer one of another takes no factor away that this one was minted for.
      proof: {
        ...{ authenticatedAt, methods },
        factorAt: session.boundTo === undefined ? undefined : claims.factorAt,
      },
    }
  }

  /**
   * The session of a program's token, or of a token that may yet sign in.
   * @param digest of the whole token
   * @param kid the key that verified it
   * @throws {GatewayError} `ticket-used` when the token has signed in, `token-invalid` when its session has ended
   */
  admitProgram(claims: Claims, digest: string, kid: string): Session {
    const programId = programIdOf(claims, digest)
    this.#checkToken(claims, ticketIdOf(claims, digest), programId)
    return this.#program(claims, programId, kid)
  }

  /**
   * A token as a ticket. It starts no session of a program.
   * @param digest of the whole token
   * @param isOneTime whether it can be used once only
   * @throws {GatewayError} what {@link admitProgram} throws
   */
  ticket(claims: Claims, digest: string, isOneTime: boolean): Ticket {
    const [ticketId, programId] = [ticketIdOf(claims, digest), programIdOf(claims, digest)]
    this.#checkToken(claims, ticketId, programId)
    return { claims, programId, oneTimeId: isOneTime ? ticketId : undefined }
  }

  /** When a session that this ticket starts would end, in milliseconds since 1970. @throws {GatewayError} `token-expired` */
  endOf(claims: Claims): number {
    const { sessionExpiresAt, expiresAt } = claims
    const latest = this.authenticatedAt(claims) + this.#maxMs
    const end = Math.floor(Math.min(sessionExpiresAt ?? expiresAt, latest / 1000)) * 1000
    if (end <= this.#now())
      throw new GatewayError('token-expired', { reason: 'its session would be over' })
    return end
  }

  /**
   * When the person with this ticket proved who they are, in milliseconds since 1970: never in the future, nor after the ticket
   * was issued, or a ticket with a wrong `auth_time` would always be fresh enough for an owner's act.
   */
  authenticatedAt({ authenticatedAt, issuedAt }: Claims): number {
    const latest = Math.min((issuedAt ?? Infinity) * 1000, this.#now())
    return Math.floor(Math.min((authenticatedAt ?? Infinity) * 1000, latest))
  }

  /**
   * Starts a session with a ticket, which is used up. Both are on the disk when this returns.
   * @param kid the key that signs its token
   * @param id `sid`, and tokenId `jti`, of the token that was minted for it
   * @param replaces the session that this browser had until now, which ends with the same write
   * @throws {GatewayError} `ticket-used`; `token-expired`; `state-unavailable` for a ticket that works once
   */
  start(
    ticket: Ticket,
    { id, tokenId, kid }: { id: string; tokenId: string; kid: string },
    device: Device,
    replaces?: Session,
  ): BrowserSession {
    const { claims } = ticket
    this.#checkTicket(ticket, kid)
    const now = this.#now()
    const row: SessionRow = {
      id,
      subject: claims.subject,
      kid,
      tokenId,
      superseded: [],
      createdAt: this.#sessionTime(claims.subject, now),
      ...this.proof(undefined, claims),
      endsAt: this.endOf(claims),
      device: device.name.slice(0, MAX_DEVICE_LENGTH),
      address: device.address,
      lastSeenAt: now,
      lastSeenFrom: device.address,
      boundTo: undefined,
    }
    const replaced = endable(replaces === undefined ? [] : [replaces])
    this.#useTicket(ticket, id, (database) => {
      putSession(database, row)
      this.#writeEndings(database, replaced, 'signed-out')
    })
    this.#forget(replaced, 'signed-out')
    if (this.#browsers.size >= MAX_SESSIONS) this.#endLeastRecent()
    this.#started++
    const browser = this.#add(row)
    this.#tell(replaced)
    this.#tellSuperseded({ ticketId: ticket.oneTimeId, session: undefined })
    return browser
  }

  /**
   * Renews a session with a ticket of the same person: a later end, and a new token. A refused renewal uses nothing up.
   * @param proof what the new token says
   * @throws {GatewayError} `other-subject`; and what {@link start} throws
   */
  renew(
    { session: { id } }: BrowserSession,
    ticket: Ticket,
    { tokenId, kid, proof }: NewToken & { readonly proof: SessionProof },
  ): BrowserSession {
    const { claims } = ticket
    const known = this.browser(id)
    if (known === undefined) throw invalidToken('unknown session')
    const { session } = known
    if (claims.subject !== session.subject)
      throw new GatewayError('other-subject', { reason: 'renewal by another subject' })
    this.#checkTicket(ticket, kid)
    const row: SessionRow = {
      ...this.#withToken(known, { tokenId, kid }),
      ...proof,
      endsAt: Math.max(session.endsAt, this.endOf(claims)),
    }
    this.#useTicket(ticket, id, (database) => putSession(database, row))
    const browser = this.#add(row)
    this.#tellSuperseded({ ticketId: ticket.oneTimeId, session })
    return browser
  }

  /** The session of a paired device; undefined when it has none that lives. */
  ofDevice(deviceId: string): BrowserSession | undefined {
    const ids = this.#sessionsWhere(({ session: { boundTo } }) => boundTo === deviceId)
    return this.browser(ids[0]?.id ?? '')
  }

  /**
   * Starts the session of a paired device, or gives the one that it has a later end and another token. Its approval was the sign-in, so
   * there is no ticket. The tokens before go on until they end: several programs of one device each have one of their own.
   * @param draft what the new token says; `id` is the session's that the device has of this person, or new
   */
  startOfDevice(
    device: { readonly id: string; readonly subject: string; readonly name: string },
    draft: NewToken & {
      readonly id: string
      readonly endsAt: number
      readonly proof: SessionProof
    },
  ): BrowserSession {
    const { id, tokenId, kid, endsAt, proof } = draft
    if (!this.#hasKey(kid))
      throw new GatewayError('state-unavailable', { reason: REASONS['key-removed'] })
    const now = this.#now()
    const { subject } = device
    const address = `device:${device.id}`
    const known = this.browser(id)
    const name = device.name.slice(0, MAX_DEVICE_LENGTH)
    const row: SessionRow =
      known === undefined
        ? {
            ...{ id, subject, kid, tokenId, superseded: [], ...proof, endsAt },
            ...{ device: name, address, lastSeenAt: now, lastSeenFrom: address },
            ...{ createdAt: this.#sessionTime(subject, now), boundTo: device.id },
          }
        : {
            ...this.#withToken(known, { tokenId, kid }, known.session.endsAt),
            ...{ ...proof, device: name, endsAt: Math.max(known.session.endsAt, endsAt) },
          }
    const isOther = ({ session }: BrowserSession) =>
      session.boundTo === device.id && session.id !== id
    const replaced = endable(this.#sessionsWhere(isOther))
    this.#state.refuseIfHandedOver()
    const isSaved = this.#state.writeSurely((database) => {
      putSession(database, row)
      this.#writeEndings(database, replaced, 'revoked')
    })
    if (!isSaved) this.#unsaved.add(id)
    this.#forget(replaced, 'revoked')
    if (known === undefined && this.#browsers.size >= MAX_SESSIONS) this.#endLeastRecent()
    if (known === undefined) this.#started++
    const browser = this.#add(row)
    this.#tell(replaced)
    this.#tellSuperseded({ ticketId: undefined, session: browser.session })
    return browser
  }

  /** Ends the sessions of the paired devices that are not listed any more. @param listed ids of devices */
  endOfDevicesBut(listed: ReadonlySet<string>): Ending {
    const isGone = ({ session: { boundTo } }: BrowserSession) =>
      boundTo !== undefined && !listed.has(boundTo)
    return this.end(this.#sessionsWhere(isGone), 'revoked')
  }

  /** The longest session, in milliseconds (GATEWAY_SESSION_MAX_SECONDS). */
  get maxMs(): number {
    return this.#maxMs
  }

  /**
   * Notes that the person of a session has shown a second factor here. The session gets a new token, which says so, and ends when
   * it would have. It is on the disk when this returns.
   * @param at when it was shown, in milliseconds since 1970
   * @throws {GatewayError} `token-invalid` when the session has ended; `state-unavailable`
   */
  stepUp({ session: { id } }: BrowserSession, token: NewToken, at: number): BrowserSession {
    const known = this.browser(id)
    if (known === undefined) throw invalidToken('unknown session')
    if (!this.#hasKey(token.kid))
      throw new GatewayError('state-unavailable', { reason: REASONS['key-removed'] })
    const row = {
      ...this.#withToken(known, token, known.session.endsAt),
      factorAt: at,
    }
    this.#state.refuseIfHandedOver()
    this.#state.write((database) => putSession(database, row))
    const browser = this.#add(row)
    this.#tellSuperseded({ ticketId: undefined, session: known.session })
    return browser
  }

  /**
   * A session with a new token. Those before it are accepted for some time, because requests of other tabs are on their way.
   * @param until how long the one before is accepted at most, in milliseconds since 1970
   */
  #withToken(
    known: BrowserSession,
    { tokenId, kid }: NewToken,
    until = this.#now() + SUPERSEDED_MS,
  ): SessionRow {
    const now = this.#now()
    const superseded = [...known.superseded, [known.tokenId, until] as const]
      .filter(([, one]) => one > now)
      .slice(-MAX_SUPERSEDED)
    return { ...rowOf(known), kid, tokenId, superseded }
  }

  /**
   * Notes that the newest token of a session has arrived in the browser, so that those before it count for a short time only. Until
   * then they go on: an answer can be lost, as when a person presses a button twice, and would take the session with it.
   */
  #noteArrived(browser: BrowserSession): void {
    if (browser.session.boundTo !== undefined) return // see startOfDevice
    const latest = this.#now() + SUPERSEDED_MS
    const isShort = ([, until]: readonly [string, number]) => until <= latest
    if ([...browser.superseded].every(isShort)) return
    const superseded = [...browser.superseded].map(
      ([tokenId, until]) => [tokenId, Math.min(until, latest)] as const,
    )
    this.#add({ ...rowOf(browser), superseded })
    this.#tellSuperseded({ ticketId: undefined, session: browser.session })
  }

  /**
   * When and how the person with this ticket proved who they are. Of a session that it renews, what is more recent: the two belong
   * together, so that the time of one proof never stands beside the methods of another.
   * @param shown what the token proves that the browser has of that session; undefined when it sent none. To know the session is
   * no proof: whoever gets a ticket of the same person could have a factor that somebody else has shown.
   */
  proof(shown: Proofs | undefined, claims: Claims): SessionProof {
    const authenticatedAt = this.authenticatedAt(claims)
    const { authenticatedAt: before, methods = [], factorAt } = shown ?? {}
    return before !== undefined && authenticatedAt < before
      ? { authenticatedAt: before, methods, factorAt }
      : { authenticatedAt, methods: claims.methods, factorAt }
  }

  /** Ends sessions of browsers and of programs for good, wherever they are used. API tokens end in api-tokens.ts. */
  end(sessions: readonly Session[], cause: EndCause): Ending {
    const ended = endable(sessions)
    if (ended.length === 0) return { ended, isSaved: true }
    this.#forget(ended, cause)
    const isSaved = this.#state.writeSurely((database) => {
      this.#writeEndings(database, ended, cause)
    })
    this.#tell(ended)
    return { ended, isSaved }
  }

  /**
   * Ends every session of a person, or of everybody, also those of programs that this process does not know: tokens that were
   * issued until now no longer count. API tokens stay. The watermark is what ends sessions of browsers, so that 10,000 cost no
   * more than one; only those that it does not cover, because the clock has stepped back, and programs are noted one by one.
   */
  endAll(cause: EndCause, subject?: string): Ending {
    if (subject === '') return { ended: [], isSaved: true } // nobody's name, and not everybody's either
    const at = this.#now()
    this.#refused.raise(subject, at)
    const isOf = (session: Session) => subject === undefined || session.subject === subject
    const covered = this.#sessionsWhere((one) => isOf(one.session) && this.#isCovered(one))
    for (const session of covered) this.#remove(session, cause)
    const browsers = this.#sessionsWhere(({ session }) => isOf(session))
    const others = endable([...browsers, ...[...this.programs()].filter(isOf)])
    this.#forget(others, cause)
    const isSaved = this.#state.writeSurely((database) => {
      putWatermark(database, subject ?? '', at)
      this.#writeEndings(database, others, cause)
    })
    const ended = [...covered, ...others]
    this.#tell(ended, true)
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
    this.#tell(programs, true)
  }

  /** Notices sessions whose time is over, twice a second. */
  check(now: number, wallClock: number): void {
    if (this.#refused.sweep(now, wallClock)) this.#maySweep = true
    if (wallClock < this.#nextEnd) return
    const over: Session[] = []
    this.#nextEnd = Infinity
    for (const { session } of this.#browsers.values()) {
      if (wallClock >= session.endsAt) over.push(session)
      else this.#nextEnd = Math.min(this.#nextEnd, session.endsAt)
    }
    for (const session of over) this.#remove(session, 'expired')
    this.#tell(over)
  }

  #sessionsWhere(matches: (browser: BrowserSession) => boolean): Session[] {
    return [...this.#browsers.values()].filter(matches).map(({ session }) => session)
  }

  /** Writes when and from where sessions were seen, and deletes rows that have expired. Part of each minute's write. */
  #save(database: DatabaseSync): void {
    const now = this.#now()
    const since = now < this.#savedAt ? 0 : this.#savedAt // all of them, when the clock has stepped back
    const seen = this.#sessionsWhere(({ session }) => session.lastSeenAt >= since)
    if (seen.length > 0) updateSeen(database, seen)
    if (this.#maySweep) sweepRows(database, now)
    this.#maySweep = false
    this.#savedAt = now
  }

  /** Removes a session from memory that another process has ended. */
  #drop(browser: BrowserSession): Session {
    const { session } = browser
    const cause = this.#refused.of(session.id) ?? (this.#isCovered(browser) ? 'all-ended' : 'used')
    this.#remove(session, cause === 'used' ? 'expired' : cause)
    return session
  }

  /** Ends the sessions of programs that another process has ended. @param before the watermark of each until now */
  #dropPrograms(programs: readonly (readonly [program: Session, before: number])[]): void {
    const ended = programs.flatMap(([program, before]) => {
      const { id, subject } = program
      const isAllEnded = this.#refused.watermarkOf(subject) > before
      const refusal = this.#refused.of(id) ?? (isAllEnded ? 'all-ended' : undefined)
      if (refusal === undefined || refusal === 'used') return []
      program.end(refusal)
      return [program]
    })
    this.#tell(ended)
  }

  #endLeastRecent(): void {
    const sessions = [...this.#browsers.values()].map(({ session }) => session)
    const least = sessions.reduce((a, b) => (b.lastSeenAt < a.lastSeenAt ? b : a))
    this.end([least], 'revoked')
  }

  #add(row: SessionRow): BrowserSession {
    const { id, endsAt, createdAt } = row
    const session =
      this.#browsers.get(id)?.session ??
      new Session(id, row.boundTo === undefined ? 'browser' : 'device', {
        ...{ subject: shared.of(row.subject), endsAt, boundTo: row.boundTo },
      })
    session.endsAt = endsAt
    session.kid = shared.of(row.kid)
    if (row.lastSeenAt > session.lastSeenAt) {
      session.lastSeenAt = row.lastSeenAt
      session.lastSeenFrom = shared.of(row.lastSeenFrom)
    }
    const browser: BrowserSession = {
      session,
      createdAt,
      device: { name: shared.of(row.device), address: shared.of(row.address) },
      tokenId: row.tokenId,
      authenticatedAt: row.authenticatedAt,
      methods: methodsOf.of(JSON.stringify(row.methods)),
      factorAt: row.factorAt,
      superseded: row.superseded.length === 0 ? NONE_SUPERSEDED : new Map(row.superseded),
    }
    this.#browsers.set(id, browser)
    this.#nextEnd = Math.min(this.#nextEnd, endsAt)
    return browser
  }

  /** The session of a program, which all tokens with the same `sid` share. */
  #program(claims: Claims, id: string, kid: string): Session {
    const { subject, expiresAt, sessionId } = claims
    const endsAt = expiresAt * 1000
    const known = this.#programs.get(id)?.deref()
    if (known?.endedBy !== undefined) throw invalidToken(REASONS[known.endedBy])
    if (known !== undefined) {
      if (endsAt >= known.endsAt) known.kid = kid // it ends with the key of the token that lasts longest
      known.endsAt = Math.max(known.endsAt, endsAt)
      return known
    }
    const session = new Session(id, 'program', { subject, endsAt, kid, graceMs: this.#graceMs })
    if (sessionId !== undefined) this.#namedBySid.add(session)
    if (this.#programs.size > 2 * this.#programsAtSweep + 1000) this.#sweepPrograms()
    this.#programs.set(id, new WeakRef(session))
    return session
  }

  /** What `explain` says of a session token whose session is not known. */
  #whyUnknown(claims: Claims): string {
    const refusal = this.#refused.of(claims.sessionId ?? '')
    if (refusal !== undefined) return REASONS[refusal]
    return this.#refused.reasonByWatermark(claims) ?? 'unknown session'
  }

  /** Whether a session has ended because its subject was signed out everywhere after it was started. */
  #isCovered({ session: { subject }, createdAt }: BrowserSession): boolean {
    return this.#refused.covers(subject, createdAt)
  }

  /** @throws {GatewayError} when a token of another issuer no longer counts, whatever it is used for */
  #checkToken(claims: Claims, ticketId: string | undefined, programId: string): void {
    if (ticketId !== undefined && this.#refused.of(ticketId) === 'used')
      throw new GatewayError('ticket-used', { reason: REASONS.used })
    const refusal = this.#refused.of(programId)
    if (refusal !== undefined) throw invalidToken(REASONS[refusal])
    const forbidden = this.#refused.reasonByWatermark(claims)
    if (forbidden !== undefined) throw invalidToken(forbidden)
  }

  /**
   * Checks a ticket again, because its token was minted since it was verified.
   * @throws {GatewayError} when the ticket cannot sign in any more; `state-unavailable`, which asks for another try, when the
   * key is no longer in the ring
   */
  #checkTicket({ claims, oneTimeId, programId }: Ticket, kid: string): void {
    this.#checkToken(claims, oneTimeId, programId)
    if (!this.#hasKey(kid))
      throw new GatewayError('state-unavailable', { reason: REASONS['key-removed'] })
  }

  /**
   * Uses a ticket up and makes a change with it, both in one write. No two callers can use one ticket: nothing waits here. A
   * ticket that can be used again needs no write to be safe, so it also works while the disk is full.
   * @param id the session that changes
   */
  #useTicket({ claims, oneTimeId }: Ticket, id: string, change: Change): void {
    this.#state.refuseIfHandedOver()
    if (oneTimeId === undefined) {
      if (!this.#state.writeSurely(change)) this.#unsaved.add(id)
      return
    }
    const keepUntil = Math.ceil(claims.expiresAt * 1000) + this.#graceMs + CLOCK_MARGIN_MS
    this.#state.write((database) => {
      change(database)
      putEnding(database, oneTimeId, 'used', keepUntil)
    })
    this.#refused.add(oneTimeId, 'used', keepUntil)
  }

  /** Until when a session must be remembered as ended: as long as a token of it could bring it back. */
  #keepUntil(session: Session): number {
    const until = Math.ceil(session.acceptedUntil) + CLOCK_MARGIN_MS // whole: `exp` may have a fraction
    return this.#namedBySid.has(session) ? Math.max(until, this.#now() + SID_KEPT_MS) : until
  }

  /** Removes sessions from memory, before anything is written, so that a full disk does not keep them open. */
  #forget(ended: readonly Session[], cause: EndCause): void {
    for (const session of ended) {
      this.#remove(session, cause)
      this.#refused.add(session.id, cause, this.#keepUntil(session))
    }
  }

  #remove(session: Session, cause: EndCause): void {
    session.end(cause)
    this.#browsers.delete(session.id)
    this.#unsaved.delete(session.id)
  }

  #writeEndings(database: DatabaseSync, ended: readonly Session[], cause: EndCause): void {
    deleteSessions(
      database,
      ended.map(({ id }) => id),
    )
    putEndings(
      database,
      ended.map((session) => [session.id, cause, this.#keepUntil(session)]),
    )
  }

  /** @param always also when none has ended that this process knows: terminals may hang on one that it does not */
  #tell(ended: readonly Session[], always = false): void {
    if (ended.length === 0 && !always) return
    for (const { endedBy } of ended) if (endedBy !== undefined) this.#endings[endedBy]++
    for (const listener of this.#listeners) listener(ended)
  }

  #tellSuperseded(tokens: Superseded): void {
    for (const listener of this.#supersededListeners) listener(tokens)
  }

  /** The time of a new session: later than every watermark that concerns it, also when the clock has stepped back. */
  #sessionTime(subject: string, now: number): number {
    return Math.max(now, this.#refused.watermarkOf(subject) + 1)
  }

  #sweepPrograms(): void {
    for (const [id, reference] of this.#programs)
      if (reference.deref() === undefined) this.#programs.delete(id)
    this.#programsAtSweep = this.#programs.size
  }
}

/** The sessions of a list that can be ended here and have not been, each once. */
function endable(sessions: readonly Session[]): Session[] {
  return [...new Set(sessions)].filter(
    ({ kind, endedBy }) => kind !== 'api-token' && endedBy === undefined,
  )
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

function rowOf(browser: BrowserSession): SessionRow {
  const { session, createdAt, device, tokenId, authenticatedAt, methods, superseded } = browser
  const { factorAt } = browser
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
    factorAt,
    device: device.name,
    address: device.address,
    lastSeenAt: session.lastSeenAt,
    lastSeenFrom: session.lastSeenFrom,
    boundTo: session.boundTo,
  }
}
