/** How are API tokens kept in the database? As rows; each function here is one statement. The token itself is in none. */
import type { DatabaseSync } from 'node:sqlite'
import { putRow } from './sqlite.ts'

/** An API token. Times are in milliseconds since 1970. */
export interface ApiTokenRow {
  readonly id: string
  /** SHA-256 of the token, 32 bytes. */
  readonly digest: Uint8Array
  readonly name: string
  /** The last four characters of the token, by which a person recognizes it. */
  readonly last4: string
  readonly subject: string
  readonly scopes: readonly string[]
  /** The networks from which the token is allowed; empty for everywhere. */
  readonly addresses: readonly string[]
  /** Requests a minute; undefined when the token has no budget of its own. */
  readonly rate: number | undefined
  readonly createdAt: number
  /** Undefined for a token without expiry. */
  readonly expiresAt: number | undefined
  /** Undefined for a token that was never used. */
  readonly lastUsedAt: number | undefined
  readonly lastUsedFrom: string | undefined
  /** When it was seen in a place where others read it. */
  readonly exposedAt: number | undefined
  readonly revokedAt: number | undefined
  /** The id of the token that replaces it. */
  readonly replacedBy: string | undefined
}

/** Adds a token, or replaces it. */
export function putApiToken(database: DatabaseSync, row: ApiTokenRow): void {
  putRow(database, 'api_tokens', {
    id: row.id,
    digest: row.digest,
    name: row.name,
    last4: row.last4,
    subject: row.subject,
    scopes: JSON.stringify(row.scopes),
    addresses: JSON.stringify(row.addresses),
    rate: row.rate,
    created_at: row.createdAt,
    expires_at: row.expiresAt,
    last_used_at: row.lastUsedAt,
    last_used_from: row.lastUsedFrom,
    exposed_at: row.exposedAt,
    revoked_at: row.revokedAt,
    replaced_by: row.replacedBy,
  })
}

/** A use of a token: its id, when it was used in milliseconds since 1970, and from where. */
export type ApiTokenUse = readonly [id: string, at: number, from: string]

/** Notes when and from where tokens were last used. */
export function putApiTokenUses(database: DatabaseSync, uses: readonly ApiTokenUse[]): void {
  if (uses.length === 0) return
  const statement = database.prepare(
    'UPDATE api_tokens SET last_used_at = ?, last_used_from = ? WHERE id = ?',
  )
  for (const [id, at, from] of uses) statement.run(at, from, id)
}

export function deleteApiToken(database: DatabaseSync, id: string): void {
  database.prepare('DELETE FROM api_tokens WHERE id = ?').run(id)
}

/** Every token, the oldest first. */
export function allApiTokens(database: DatabaseSync): ApiTokenRow[] {
  return database
    .prepare('SELECT * FROM api_tokens ORDER BY created_at, id')
    .all()
    .map((row) => ({
      id: String(row['id']),
      digest: row['digest'] as Uint8Array,
      name: String(row['name']),
      last4: String(row['last4']),
      subject: String(row['subject']),
      scopes: JSON.parse(String(row['scopes'])) as string[],
      addresses: JSON.parse(String(row['addresses'])) as string[],
      rate: numberIn(row['rate']),
      createdAt: Number(row['created_at']),
      expiresAt: numberIn(row['expires_at']),
      lastUsedAt: numberIn(row['last_used_at']),
      lastUsedFrom: textIn(row['last_used_from']),
      exposedAt: numberIn(row['exposed_at']),
      revokedAt: numberIn(row['revoked_at']),
      replacedBy: textIn(row['replaced_by']),
    }))
}

function numberIn(value: unknown): number | undefined {
  return value === null ? undefined : Number(value)
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
