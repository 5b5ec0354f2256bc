/** Which tables does the state have? One migration a version; `user_version` says how many a database has had. */
import type { DatabaseSync } from 'node:sqlite'

/** `application_id` of every state file, so that a database of another program is told apart ("wsgt" in ASCII). */
export const APPLICATION_ID = 0x77_73_67_74

/**
 * The migrations in order. One that was released never changes.
 *
 * What bounds the tables of second factors? Only persons whom the login service let in have rows, and nothing of a person is deleted
 * by age, because who has no factor can set one up with a sign-in alone. A person has one row of `totp`, 20 of `passkeys`, one of
 * `backup_sets` and ten of `backup_codes` there, one of `factor_locks`, and fewer than 700 of `wrong_codes`: 20 of seven days and
 * one for each lock, which takes 15 minutes and more (src/identity/second-factor/lock-out.ts). `removed_factors` has 10,000 rows at most
 * (removed-factors.ts), and `factor_resets` one for each person that the machine's owner has reset.
 */
export const MIGRATIONS: readonly string[] = [
  `CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    kid TEXT NOT NULL, -- the key that signed the token of the session
    token_id TEXT NOT NULL, -- jti of the newest token
    superseded TEXT NOT NULL, -- JSON: pairs of the jti of an older token and when it stops being accepted
    created_at INTEGER NOT NULL, -- this and every other time: milliseconds since 1970
    authenticated_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    methods TEXT NOT NULL, -- JSON: amr
    device TEXT NOT NULL, -- User-Agent
    address TEXT NOT NULL,
    last_seen_at INTEGER NOT NULL,
    last_seen_from TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE endings ( -- sessions that ended before their time, and tickets that signed in
    id TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    keep_until INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE watermarks (
    subject TEXT PRIMARY KEY, -- empty: everybody
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE, -- SHA-256 of the token
    name TEXT NOT NULL,
    last4 TEXT NOT NULL,
    subject TEXT NOT NULL,
    scopes TEXT NOT NULL, -- JSON
    addresses TEXT NOT NULL, -- JSON
    rate INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    last_used_from TEXT,
    exposed_at INTEGER,
    revoked_at INTEGER,
    replaced_by TEXT
  ) STRICT, WITHOUT ROWID;`,
  `ALTER TABLE sessions ADD COLUMN factor_at INTEGER; -- when its person last showed a second factor
  CREATE TABLE totp ( -- an authenticator app; a person has one at most
    subject TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kid TEXT NOT NULL, -- the signing key under which the secret is encrypted
    sealed BLOB NOT NULL, -- the secret, encrypted
    last_step INTEGER NOT NULL, -- the newest time step of which a code was used up (RFC 6238)
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    credential_id TEXT NOT NULL UNIQUE, -- base64url
    rp_id TEXT NOT NULL, -- the host for which it was made
    name TEXT NOT NULL,
    public_key BLOB NOT NULL, -- COSE
    counter INTEGER NOT NULL,
    is_synced INTEGER NOT NULL, -- 1: it can be copied to other devices; 0: it is bound to one
    transports TEXT NOT NULL, -- JSON
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    counter_fell_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX passkeys_of ON passkeys (subject);
  CREATE TABLE backup_sets ( -- the key of the digests of a person's backup codes
    subject TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kid TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE backup_codes (
    digest BLOB PRIMARY KEY, -- HMAC-SHA-256
    set_id TEXT NOT NULL,
    used_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX backup_codes_of ON backup_codes (set_id);
  CREATE TABLE wrong_codes (subject TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
  CREATE INDEX wrong_codes_of ON wrong_codes (subject);
  CREATE TABLE factor_locks ( -- kept until a right code, because the next lock is twice as long
    subject TEXT PRIMARY KEY,
    until INTEGER NOT NULL,
    count INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE removed_factors ( -- the newest, by id, so that restoring a backup does not bring them back
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX removed_factors_at ON removed_factors (at);
  CREATE TABLE factor_resets ( -- persons whose factors were reset, and not lost
    subject TEXT PRIMARY KEY,
    at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;`,
  // The paired device on whose connections alone the token of a session is good.
  'ALTER TABLE sessions ADD COLUMN bound_to TEXT',
]

/** What a database says of itself. */
export interface Stamp {
  readonly applicationId: number
  /** How many migrations it has had. */
  readonly version: number
  /** How many tables it has. A new database has none. */
  readonly tables: number
}

/** @param schema the name under which the database is attached */
export function stampOf(database: DatabaseSync, schema = 'main'): Stamp {
  const tables = `SELECT count(*) FROM ${schema}.sqlite_schema WHERE type = 'table'`
  return {
    applicationId: numberIn(database, `PRAGMA ${schema}.application_id`),
    version: numberIn(database, `PRAGMA ${schema}.user_version`),
    tables: numberIn(database, tables),
  }
}

function numberIn(database: DatabaseSync, query: string): number {
  return Number(Object.values(database.prepare(query).get() ?? {})[0])
}

/** Brings a database to the newest version, each migration in a transaction of its own. */
export function migrate(database: DatabaseSync, migrations: readonly string[] = MIGRATIONS): void {
  for (let { version } = stampOf(database); version < migrations.length; version++)
    inTransaction(database, () => {
      database.exec(
        `${migrations[version]}; PRAGMA user_version = ${version + 1}; PRAGMA application_id = ${APPLICATION_ID}`,
      )
    })
}

/** Runs statements in one transaction, which is rolled back when one of them throws. */
export function inTransaction(database: DatabaseSync, work: () => void): void {
  database.exec('BEGIN IMMEDIATE')
  try {
    work()
    database.exec('COMMIT')
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/**
 * What the table `meta` holds: the version of the program that wrote the file, what happened to the file before it, when second
 * factors were lost with it, and until when removed ones are not listed any more (milliseconds since 1970).
 */
export type MetaName = 'written-by' | 'damaged' | 'factors-lost' | 'removals-forgotten'

/** An entry of the table `meta`; undefined when there is none. */
export function metaOf(database: DatabaseSync, name: MetaName): string | undefined {
  const row = database.prepare('SELECT value FROM meta WHERE name = ?').get(name)
  return row === undefined ? undefined : String(row['value'])
}

/** Sets an entry of the table `meta`; undefined deletes it. */
export function setMeta(database: DatabaseSync, name: MetaName, value: string | undefined): void {
  if (value === undefined) database.prepare('DELETE FROM meta WHERE name = ?').run(name)
  else database.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(name, value)
}

/** What became of a state that could not be trusted. */
export interface Damage {
  /** When it was found, in ISO 8601. */
  readonly at: string
  readonly reason: string
  /** The name in the state folder under which the file was kept; undefined when it was gone. */
  readonly movedTo?: string | undefined
}

/** The damage of the state before this one; undefined when there was none, or a start has found this one sound since. */
export function damageOf(database: DatabaseSync): Damage | undefined {
  const damage = metaOf(database, 'damaged')
  return damage === undefined ? undefined : (JSON.parse(damage) as Damage)
}
