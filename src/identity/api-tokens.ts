/**
 * Which API tokens are there, and which still count? The state file keeps them, this object knows them, by the SHA-256 of the
 * token. The token itself is shown once, when it is made, and is kept nowhere.
 */
import { hash, randomInt } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { API_TOKEN_DETAILS } from '../answers/details.ts'
import { GatewayError } from '../answers/errors.ts'
import { matchNetworks, parseAddress, parseNetworks, type Cidr } from '../http/address.ts'
import { Remembered } from '../limits/memo.ts'
import type { Watched } from '../limits/watchdog.ts'
import { DEFAULT_SCOPES, parseScopes, scopeText, type Scope } from '../rules/scopes.ts'
import { isSubject } from '../rules/subject.ts'
import { decodeFully } from '../rules/target.ts'
import {
  allApiTokens,
  deleteApiToken,
  putApiToken,
  putApiTokenUses,
  type ApiTokenRow,
  type ApiTokenUse,
} from '../store/api-token-rows.ts'
import type { State } from '../store/state.ts'
import { Session, type EndCause } from './session.ts'
import type { Ending } from './sessions.ts'

/** An API token (`hub_…`), without its secret. Times are in milliseconds since 1970. */
export interface ApiToken {
  /** Begins with `tok_`, so that it is never the name of another token. */
  readonly id: string
  /** Unique among the tokens in force. A token that is rotated leaves its name to the new one. */
  readonly name: string
  /** The last four characters of the token. */
  readonly last4: string
  readonly scopes: readonly Scope[]
  /** The networks from which the token is allowed, as text; empty for everywhere. */
  readonly addresses: readonly string[]
  /** The same networks, parsed. */
  readonly networks: readonly Cidr[]
  /** Requests a minute of its own; undefined when the token spends the budget of the client address. */
  readonly rate: number | undefined
  readonly createdAt: number
  readonly exposedAt: number | undefined
  readonly revokedAt: number | undefined
  /** The id of the token that replaces it. */
  readonly replacedBy: string | undefined
  /** How many requests came with it since the start. */
  readonly uses: number
  /** Whose it is, when it ends, and when and from where it was last used. It ends when the token expires or is revoked. */
  readonly session: Session
}

/** What a new token is to be. */
export interface NewApiToken {
  readonly name: string
  /** The person or program that it speaks for, whom services see as the user. */
  readonly subject: string
  /** As `parseScopes` takes them; `api` when there are none. */
  readonly scopes?: readonly string[]
  /** Addresses and CIDRs from which it is allowed; everywhere when there are none. */
  readonly addresses?: readonly string[]
  /** Requests a minute of its own. Without one, it spends the budget of the client address. */
  readonly rate?: number | undefined
  /** In milliseconds since 1970; undefined for a token that does not expire. */
  readonly expiresAt: number | undefined
}

/** A token that was made. Nobody can be shown the secret again. */
export interface MadeApiToken {
  readonly token: string
  readonly apiToken: ApiToken
}

/** The tokens of a text that somebody else may have read, and what became of them. */
export interface Leak extends Ending {
  /** Every token of this workspace that the text has, also those that were over before. */
  readonly tokens: readonly ApiToken[]
}

/** How many tokens can be in force. */
export const MAX_API_TOKENS = 10_000

/** For how long a token lasts when nothing else is said, in milliseconds: 90 days. */
export const DEFAULT_API_TOKEN_MS = 90 * 86_400_000

/** For how long after a rotation the old token counts when nothing else is said, in milliseconds: 24 hours. */
export const DEFAULT_OVERLAP_MS = 86_400_000

/** For how long a token that is over is still listed and told apart, in milliseconds: 90 days. */
const KEPT_MS = 90 * 86_400_000

const MAX_RATE = 100_000
const MAX_ADDRESSES = 32

/** The beginning of the year 10000. A later date is a mistake, such as a number of another unit. */
const LAST_MS = 253_402_300_800_000

/** The form of a token's name. */
export const TOKEN_NAME = /^[a-z0-9][a-z0-9-]{0,63}$/
const MAX_NAME_LENGTH = 64

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The form of a token, as a scanner for secrets searches for it. */
export const API_TOKEN_PATTERN = 'hub_[0-9A-Za-z]{32}'

/** The length of a token, in characters. */
export const API_TOKEN_LENGTH = 36

const WHOLE_TOKEN = new RegExp(`^${API_TOKEN_PATTERN}$`)

/**
 * Finds every text of the form of a token, as its first group. A lookahead, because two of them can overlap: the 32 characters of
 * one may end in the `hub` of the next.
 */
export const API_TOKEN_CANDIDATE = new RegExp(`(?=(${API_TOKEN_PATTERN}))hub_`, 'g')

/**
 * Escapes of which the beginning of a token can be made: of its characters, of the percent sign and of hexadecimal digits. A
 * text that has neither these nor the beginning itself has no token however often it is decoded, and most queries have none.
 */
const HIDING = /%(?:25|3[0-9]|4[1-6]|5f|6[1-68]|75)/i

/** What of a token can change. */
interface Kept extends ApiToken {
  name: string
  exposedAt: number | undefined
  revokedAt: number | undefined
  replacedBy: string | undefined
  uses: number
  readonly digest: string
  /** The last use that was written. */
  savedUseAt: number
}

/** The scopes and the networks of many tokens are the same few, so equal ones are one object. */
const scopesOf = new Remembered((text) => parseScopes(JSON.parse(text) as string[]))
const networksOf = new Remembered((text) => (JSON.parse(text) as string[]).flatMap(parseNetworks))

/** The API tokens of a workspace. */
export class ApiTokens implements Watched {
  place = -1
  readonly #state: State
  readonly #now: () => number
  readonly #byDigest = new Map<string, Kept>()
  readonly #byId = new Map<string, Kept>()
  readonly #listeners: ((ended: readonly Session[]) => void)[] = []
  /** The earliest end of a token in force, or less. */
  #nextEnd = Infinity

  /** @param options.now the wall clock in milliseconds */
  constructor(state: State, { now = Date.now }: { readonly now?: () => number } = {}) {
    this.#state = state
    this.#now = now
    state.everyMinute((database) => this.#save(database))
  }

  /** Reads the state. It may be read again, after a predecessor has changed it: known tokens keep their objects. */
  load(): void {
    const rows = this.#state.read(allApiTokens)
    if (rows === undefined) return
    const ids = new Set(rows.map(({ id }) => id))
    const ended: Session[] = []
    for (const row of rows) {
      const kept = this.#byId.get(row.id)
      if (kept === undefined) this.#add(row)
      else if (this.#update(kept, row)) ended.push(kept.session)
    }
    for (const kept of this.#byId.values()) {
      if (ids.has(kept.id)) continue
      if (this.#isLive(kept)) ended.push(kept.session)
      kept.session.end('revoked')
      this.#remove(kept)
    }
    this.#tell(ended)
    this.check(0, this.#now())
  }

  /** Calls a function with the sessions of tokens that have ended, as soon as they have, whatever the cause. */
  onEnded(listener: (ended: readonly Session[]) => void): void {
    this.#listeners.push(listener)
  }

  /** The token with this secret, also when it has expired or was revoked; undefined when there is none. */
  find(token: string): ApiToken | undefined {
    return WHOLE_TOKEN.test(token) ? this.#byDigest.get(digestOf(token)) : undefined
  }

  /** Every token that is known, the oldest first: those in force, and for 90 days those that are over. */
  list(): ApiToken[] {
    return [...this.#byId.values()]
  }

  /** The token with this id, or the one in force with this name. */
  named(idOrName: string): ApiToken | undefined {
    return this.#byId.get(idOrName) ?? this.#liveNamed(idOrName)
  }

  /** How many tokens are known, also those that are over. */
  get size(): number {
    return this.#byId.size
  }

  /** Whether a token has neither expired nor been revoked. */
  isLive(apiToken: ApiToken): boolean {
    return this.#isLive(apiToken)
  }

  /**
   * Makes a token, which is on the disk when this returns.
   * @throws {GatewayError} `bad-request` when it cannot be made so; `state-unavailable` when it cannot be kept
   */
  create(wanted: NewApiToken): MadeApiToken {
    this.mustBeNew(wanted)
    const { name, subject, rate, expiresAt, addresses = [], scopes = [] } = wanted
    const end = expiresAt === undefined ? undefined : Math.floor(expiresAt)
    const row = newRow(
      { name, subject, rate, expiresAt: end, addresses: checkedAddresses(addresses) },
      checkedScopes(scopes),
      this.#now(),
    )
    return this.#make(row, [])
  }

  /** Judges a token that is to be made, and makes none. @throws {GatewayError} `bad-request` when it cannot be made so */
  mustBeNew(wanted: NewApiToken): void {
    const { name, subject, rate, expiresAt, addresses = [], scopes = [] } = wanted
    const now = this.#now()
    if (!TOKEN_NAME.test(name)) throw refusal('bad name')
    if (this.#liveNamed(name) !== undefined) throw refusal('name is taken')
    if (!isSubject(subject)) throw refusal('bad subject')
    if (rate !== undefined && !(Number.isInteger(rate) && rate >= 1 && rate <= MAX_RATE))
      throw refusal('bad rate')
    if (expiresAt !== undefined && !(expiresAt > now && expiresAt < LAST_MS))
      throw refusal('bad expiry')
    checkedAddresses(addresses)
    checkedScopes(scopes)
    this.#spare(now)
  }

  /**
   * Replaces a token by one with the same name, scopes, addresses, rate and lifetime. The old one still counts for a while,
   * under the name `…-old`, so that the log tells which of the two a program uses. Both are on the disk when this returns.
   * @param overlapMs for how long the old one still counts, in milliseconds; its own expiry may come first
   * @throws {GatewayError} as {@link create} does
   */
  rotate(apiToken: ApiToken, overlapMs: number = DEFAULT_OVERLAP_MS): MadeApiToken {
    const old = this.mustBeRotatable(apiToken, overlapMs)
    const now = this.#now()
    const { name, session, rate, addresses } = old
    const { subject, endsAt } = session
    const expiresAt = endsAt === Infinity ? undefined : now + (endsAt - old.createdAt)
    const row = newRow({ name, subject, rate, expiresAt, addresses }, textsOf(old.scopes), now)
    const retired: ApiTokenRow = {
      ...rowOf(old),
      name: this.#oldName(name),
      expiresAt: Math.min(endsAt, now + Math.floor(overlapMs)),
      replacedBy: row.row.id,
    }
    const made = this.#make(row, [retired])
    this.#update(old, retired)
    this.check(0, now)
    return made
  }

  /** Judges a rotation, and changes nothing. @throws {GatewayError} `bad-request` when it cannot be made so */
  mustBeRotatable({ id }: ApiToken, overlapMs: number): Kept {
    const old = this.#byId.get(id)
    if (old === undefined || !this.#isLive(old) || old.replacedBy !== undefined)
      throw refusal('not in force')
    if (!(Number.isFinite(overlapMs) && overlapMs >= 0)) throw refusal('bad overlap')
    this.#spare(this.#now())
    return old
  }

  /**
   * The name that a token has now or had before it was rotated, which its successor has: whoever it stands for, such as another
   * workspace, is the same for both of them.
   */
  nameInForce(apiToken: ApiToken): string {
    let newest = apiToken
    for (
      let next: ApiToken | undefined = apiToken;
      next !== undefined;
      next = this.#byId.get(next.replacedBy ?? '')
    )
      newest = next
    return newest.name
  }

  /**
   * A token, and those that it has replaced which still count: they stand for the same program or workspace ({@link nameInForce}), so
   * whoever takes its access away means them too.
   */
  withReplaced(apiToken: ApiToken): readonly ApiToken[] {
    const predecessors = Map.groupBy(this.#byId.values(), ({ replacedBy }) => replacedBy)
    const all: ApiToken[] = [apiToken]
    for (const { id } of all) all.push(...(predecessors.get(id) ?? []))
    return all.filter((one) => one === apiToken || this.#isLive(one))
  }

  /** Revokes a token for good, and those that it has replaced. The next request fails, and what is open under them ends. */
  revoke(apiToken: ApiToken, cause: EndCause = 'revoked'): Ending {
    return this.#end(this.withReplaced(apiToken), cause, false)
  }

  /** Revokes every token of this workspace that a text has, and marks it as exposed. */
  revokeLeaked(text: string): Leak {
    const tokens = [...new Set(this.#tokensIn(text, Infinity))]
    return { tokens, ...this.#end(tokens, 'revoked', true) }
  }

  /** The first token in force that a path or a query has, plain or escaped. */
  liveIn(text: string): ApiToken | undefined {
    if (this.#byId.size === 0 || text.length < API_TOKEN_LENGTH) return undefined
    if (!text.includes('hub_') && !HIDING.test(text)) return undefined
    const bare = text.includes('%') ? decodeFully(text) : text
    for (const apiToken of this.#tokensIn(bare, MAX_CANDIDATES))
      if (this.#isLive(apiToken)) return apiToken
    return undefined
  }

  /** Notes that others may have read a token. */
  markExposed({ id }: ApiToken): void {
    const kept = this.#byId.get(id)
    if (kept === undefined || kept.exposedAt !== undefined) return
    kept.exposedAt = this.#now()
    this.#writeSurely([kept])
  }

  /** Counts a request with a token, and notes where it came from; when it came is noted with its session. */
  noteUse(apiToken: ApiToken, address: string): void {
    ;(apiToken as Kept).uses++
    apiToken.session.lastSeenFrom = address
  }

  /** Notices tokens whose time is over, twice a second. */
  check(_now: number, wallClock: number): void {
    if (wallClock < this.#nextEnd) return
    const over: Session[] = []
    this.#nextEnd = Infinity
    for (const { session } of this.#byId.values()) {
      if (session.endedBy !== undefined) continue
      if (wallClock >= session.endsAt) over.push(session)
      else this.#nextEnd = Math.min(this.#nextEnd, session.endsAt)
    }
    for (const session of over) session.end('expired')
    this.#tell(over)
  }

  /** Writes a new token and what changes with it, and only then knows them. */
  #make({ token, row }: { token: string; row: ApiTokenRow }, changed: ApiTokenRow[]): MadeApiToken {
    const spare = this.#spare(row.createdAt)
    this.#state.write((database) => {
      for (const { id } of spare) deleteApiToken(database, id)
      for (const one of [...changed, row]) putApiToken(database, one)
    })
    for (const kept of spare) this.#remove(kept)
    return { token, apiToken: this.#add(row) }
  }

  /** The tokens that make room for one more: none while there is room, else the oldest that is over. */
  #spare(now: number): Kept[] {
    if (this.#byId.size < MAX_API_TOKENS) return []
    for (const kept of this.#byId.values()) if (!this.#isLive(kept, now)) return [kept]
    throw refusal('too many tokens')
  }

  #end(tokens: readonly ApiToken[], cause: EndCause, isExposed: boolean): Ending {
    const now = this.#now()
    const ended: Session[] = []
    const changed: Kept[] = []
    for (const { id } of tokens) {
      const kept = this.#byId.get(id)
      if (kept === undefined || (kept.revokedAt !== undefined && !isExposed)) continue
      if (this.#isLive(kept)) ended.push(kept.session)
      kept.session.end(cause)
      kept.revokedAt ??= now
      if (isExposed) kept.exposedAt ??= now
      changed.push(kept)
    }
    const isSaved = changed.length === 0 || this.#writeSurely(changed)
    this.#tell(ended)
    return { ended, isSaved }
  }

  /** Writes tokens as they are at the time of the write, which a full disk may delay: no later change may be undone by it. */
  #writeSurely(changed: readonly Kept[]): boolean {
    return this.#state.writeSurely((database) => {
      for (const kept of changed)
        if (this.#byId.get(kept.id) === kept) putApiToken(database, rowOf(kept))
    })
  }

  *#tokensIn(text: string, atMost: number): Generator<Kept> {
    let candidates = 0
    for (const [, candidate = ''] of text.matchAll(API_TOKEN_CANDIDATE)) {
      if (++candidates > atMost) return
      const kept = this.#byDigest.get(digestOf(candidate))
      if (kept !== undefined) yield kept
    }
  }

  #isLive({ session }: ApiToken, now = this.#now()): boolean {
    return session.endedBy === undefined && now < session.endsAt
  }

  #liveNamed(name: string): Kept | undefined {
    for (const kept of this.#byId.values())
      if (kept.name === name && this.#isLive(kept)) return kept
    return undefined
  }

  /** A name for a token that is replaced: `ci-old`, or `ci-old-2` while that one is in force. */
  #oldName(name: string): string {
    for (let i = 1; ; i++) {
      const end = i === 1 ? '-old' : `-old-${i}`
      const oldName = name.slice(0, MAX_NAME_LENGTH - end.length) + end
      if (this.#liveNamed(oldName) === undefined) return oldName
    }
  }

  #add(row: ApiTokenRow): Kept {
    const { id, name, last4, subject, rate, createdAt, exposedAt, revokedAt, replacedBy } = row
    const session = new Session(id, 'api-token', { subject, endsAt: row.expiresAt ?? Infinity })
    session.lastSeenAt = row.lastUsedAt ?? 0
    session.lastSeenFrom = row.lastUsedFrom ?? ''
    if (revokedAt !== undefined) session.end('revoked')
    const kept: Kept = {
      ...{ id, name, last4, addresses: row.addresses, rate, createdAt, exposedAt, revokedAt },
      ...{ replacedBy, uses: 0, savedUseAt: session.lastSeenAt, session },
      scopes: scopesOf.of(JSON.stringify(row.scopes)),
      networks: networksOf.of(JSON.stringify(row.addresses)),
      digest: Buffer.from(row.digest).toString('latin1'),
    }
    this.#byId.set(id, kept)
    this.#byDigest.set(kept.digest, kept)
    this.#nextEnd = Math.min(this.#nextEnd, session.endsAt)
    return kept
  }

  /** Takes over what has changed in a row. @returns whether that has ended the token */
  #update(kept: Kept, row: ApiTokenRow): boolean {
    const { session } = kept
    kept.name = row.name
    kept.exposedAt ??= row.exposedAt
    kept.revokedAt ??= row.revokedAt
    kept.replacedBy = row.replacedBy
    session.endsAt = row.expiresAt ?? Infinity
    this.#nextEnd = Math.min(this.#nextEnd, session.endsAt)
    const { lastUsedAt = 0, lastUsedFrom = '' } = row
    if (lastUsedAt > session.lastSeenAt) {
      session.lastSeenAt = lastUsedAt
      session.lastSeenFrom = lastUsedFrom
      kept.savedUseAt = lastUsedAt
    }
    if (kept.revokedAt === undefined || session.endedBy !== undefined) return false
    session.end('revoked')
    return true
  }

  #remove({ id, digest }: Kept): void {
    this.#byId.delete(id)
    this.#byDigest.delete(digest)
  }

  /** Writes last uses, and deletes tokens that were over long ago. Part of each minute's write. */
  #save(database: DatabaseSync): void {
    const now = this.#now()
    const uses: ApiTokenUse[] = []
    for (const kept of this.#byId.values()) {
      const { id, session, revokedAt } = kept
      const { lastSeenAt, lastSeenFrom } = session
      if ((revokedAt ?? session.endsAt) + KEPT_MS <= now) {
        deleteApiToken(database, id)
        this.#remove(kept)
      } else if (lastSeenAt !== kept.savedUseAt) {
        uses.push([id, lastSeenAt, lastSeenFrom])
        kept.savedUseAt = lastSeenAt
      }
    }
    putApiTokenUses(database, uses)
  }

  #tell(ended: readonly Session[]): void {
    if (ended.length === 0) return
    for (const listener of this.#listeners) listener(ended)
  }
}

/** Whether a token may be used from a client address. */
export function isAllowedFrom({ networks }: ApiToken, address: string): boolean {
  if (networks.length === 0) return true
  const bytes = parseAddress(address)
  return bytes !== undefined && matchNetworks(bytes, networks)
}

/** How many candidates of an address are looked up. Each costs a hash, and anybody may send an address full of them. */
const MAX_CANDIDATES = 16

/** The SHA-256 of a token, a character for each byte. */
function digestOf(token: string): string {
  return hash('sha256', token, 'binary')
}

/** Random letters and digits: each is drawn evenly, by a generator for secrets. */
function randomText(length: number): string {
  return Array.from({ length }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
}

/** A new secret, and the row that is kept of it. */
function newRow(
  wanted: Required<Omit<NewApiToken, 'scopes'>>,
  scopes: readonly string[],
  now: number,
): { token: string; row: ApiTokenRow } {
  const token = `hub_${randomText(32)}`
  const { name, subject, addresses, rate, expiresAt } = wanted
  const row: ApiTokenRow = {
    id: `tok_${randomText(16)}`,
    digest: Buffer.from(digestOf(token), 'latin1'),
    last4: token.slice(-4),
    ...{ name, subject, scopes, addresses, rate, expiresAt, createdAt: now },
    ...{ lastUsedAt: undefined, lastUsedFrom: undefined, exposedAt: undefined },
    ...{ revokedAt: undefined, replacedBy: undefined },
  }
  return { token, row }
}

function rowOf(kept: Kept): ApiTokenRow {
  const { id, name, last4, addresses, rate, createdAt, exposedAt, revokedAt, replacedBy } = kept
  const { subject, endsAt, lastSeenAt, lastSeenFrom } = kept.session
  return {
    ...{ id, name, last4, subject, addresses, rate, createdAt, exposedAt, revokedAt, replacedBy },
    digest: Buffer.from(kept.digest, 'latin1'),
    scopes: textsOf(kept.scopes),
    expiresAt: endsAt === Infinity ? undefined : endsAt,
    lastUsedAt: lastSeenAt === 0 ? undefined : lastSeenAt,
    lastUsedFrom: lastSeenAt === 0 ? undefined : lastSeenFrom,
  }
}

function textsOf(scopes: readonly Scope[]): string[] {
  return scopes.map(scopeText)
}

function checkedScopes(texts: readonly string[]): string[] {
  try {
    return textsOf(parseScopes(texts.length === 0 ? DEFAULT_SCOPES : texts))
  } catch (cause) {
    throw refusal('bad scope', cause)
  }
}

function checkedAddresses(addresses: readonly string[]): string[] {
  const distinct = [...new Set(addresses)]
  if (distinct.length > MAX_ADDRESSES) throw refusal('bad address')
  try {
    distinct.forEach(parseNetworks)
  } catch (cause) {
    throw refusal('bad address', cause)
  }
  return distinct
}

function refusal(reason: keyof typeof API_TOKEN_DETAILS, cause?: unknown): GatewayError {
  return new GatewayError('bad-request', { reason, detail: API_TOKEN_DETAILS[reason], cause })
}
