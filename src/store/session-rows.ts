/** How are sessions, endings and watermarks kept in the database? As rows; each function here is one statement. */
import type { DatabaseSync } from 'node:sqlite'
import { putRow } from './sqlite.ts'

/** A session of a browser, or of a paired device. Times are in milliseconds since 1970. */
export interface SessionRow {
  readonly id: string
  readonly subject: string
  readonly kid: string
  readonly tokenId: string
  /** The `jti` of each older token that is still accepted, and until when. */
  readonly superseded: readonly (readonly [tokenId: string, until: number])[]
  readonly createdAt: number
  readonly authenticatedAt: number
  readonly endsAt: number
  readonly methods: readonly string[]
  /** When its person last showed a second factor here; undefined for never. */
  readonly factorAt: number | undefined
  readonly device: string
  readonly address: string
  readonly lastSeenAt: number
  readonly lastSeenFrom: string
  /** The id of the paired device that has the session; undefined for a browser's. */
  readonly boundTo: string | undefined
}

/** Adds a session, or replaces it. */
export function putSession(database: DatabaseSync, row: SessionRow): void {
  putRow(database, 'sessions', {
    id: row.id,
    subject: row.subject,
    kid: row.kid,
    token_id: row.tokenId,
    superseded: JSON.stringify(row.superseded),
    created_at: row.createdAt,
    authenticated_at: row.authenticatedAt,
    ends_at: row.endsAt,
    methods: JSON.stringify(row.methods),
    factor_at: row.factorAt,
    device: row.device,
    address: row.address,
    last_seen_at: row.lastSeenAt,
    last_seen_from: row.lastSeenFrom,
    bound_to: row.boundTo,
  })
}

/** Updates when and from where sessions were last seen. */
export function updateSeen(
  database: DatabaseSync,
  sessions: readonly Pick<SessionRow, 'id' | 'lastSeenAt' | 'lastSeenFrom'>[],
): void {
  const statement = database.prepare(
    'UPDATE sessions SET last_seen_at = ?, last_seen_from = ? WHERE id = ?',
  )
  for (const { id, lastSeenAt, lastSeenFrom } of sessions)
    statement.run(lastSeenAt, lastSeenFrom, id)
}

export function deleteSessions(database: DatabaseSync, ids: Iterable<string>): void {
  const statement = database.prepare('DELETE FROM sessions WHERE id = ?')
  for (const id of ids) statement.run(id)
}

/** Every session. */
export function allSessions(database: DatabaseSync): SessionRow[] {
  return database
    .prepare('SELECT * FROM sessions')
    .all()
    .map((row) => ({
      id: String(row['id']),
      subject: String(row['subject']),
      kid: String(row['kid']),
      tokenId: String(row['token_id']),
      superseded: JSON.parse(String(row['superseded'])) as [string, number][],
      createdAt: Number(row['created_at']),
      authenticatedAt: Number(row['authenticated_at']),
      endsAt: Number(row['ends_at']),
      methods: JSON.parse(String(row['methods'])) as string[],
      factorAt: row['factor_at'] === null ? undefined : Number(row['factor_at']),
      device: String(row['device']),
      address: String(row['address']),
      lastSeenAt: Number(row['last_seen_at']),
      lastSeenFrom: String(row['last_seen_from']),
      boundTo: row['bound_to'] === null ? undefined : String(row['bound_to']),
    }))
}

/** What has ended, or was used up, why, and the time after which nothing could bring it back anyway. */
export type EndingRow = readonly [id: string, cause: string, keepUntil: number]

export function putEndings(database: DatabaseSync, endings: Iterable<EndingRow>): void {
  const statement = database.prepare(
    'INSERT OR REPLACE INTO endings (id, cause, keep_until) VALUES (?, ?, ?)',
  )
  for (const ending of endings) statement.run(...ending)
}

export function putEnding(database: DatabaseSync, ...ending: EndingRow): void {
  putEndings(database, [ending])
}

/** How many endings are read at once. One by one takes twice the time, and 100,000 at once cost 30 MiB more memory. */
const PAGE = 2000

/** Calls a function with every ending. There may be 100,000, and a start waits for them. */
export function eachEnding(database: DatabaseSync, take: (ending: EndingRow) => void): void {
  const statement = database.prepare(
    `SELECT id, cause, keep_until FROM endings WHERE id > ? ORDER BY id LIMIT ${PAGE}`,
  )
  statement.setReturnArrays(true)
  let page: EndingRow[]
  let after = ''
  do {
    page = statement.all(after) as unknown as EndingRow[]
    page.forEach(take)
    after = page.at(-1)?.[0] ?? ''
  } while (page.length === PAGE)
}

/** Every ending. */
export function allEndings(database: DatabaseSync): EndingRow[] {
  const rows: EndingRow[] = []
  eachEnding(database, (row) => rows.push(row))
  return rows
}

/** Deletes what has expired. @param now milliseconds since 1970 */
export function sweepRows(database: DatabaseSync, now: number): void {
  database.prepare('DELETE FROM endings WHERE keep_until <= ?').run(now)
  database.prepare('DELETE FROM sessions WHERE ends_at <= ?').run(now)
}

/**
 * Moves the watermark of a subject, or of everybody (an empty subject), forward, and deletes the sessions that it covers, which
 * need no ending each.
 * @param at milliseconds since 1970
 */
export function putWatermark(database: DatabaseSync, subject: string, at: number): void {
  database
    .prepare(
      'INSERT INTO watermarks (subject, at) VALUES (?, ?) ON CONFLICT (subject) DO UPDATE SET at = max(at, excluded.at)',
    )
    .run(subject, at)
  const covered = 'DELETE FROM sessions WHERE created_at <= ?'
  if (subject === '') database.prepare(covered).run(at)
  else database.prepare(`${covered} AND subject = ?`).run(at, subject)
}

/** Every watermark. */
export function allWatermarks(database: DatabaseSync): [subject: string, at: number][] {
  return database
    .prepare('SELECT subject, at FROM watermarks')
    .all()
    .map((row) => [String(row['subject']), Number(row['at'])])
}
