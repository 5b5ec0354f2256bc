/** Which tables does the state have? One migration a version; `user_version` says how many a database has had. */
import type { DatabaseSync } from 'node:sqlite'

/** The migrations in order. One that was released never changes. */
const MIGRATIONS: readonly string[] = [
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
]

/** Brings a database to the newest version. */
export function migrate(database: DatabaseSync): void {
  const { user_version: version } = database.prepare('PRAGMA user_version').get() as {
    user_version: number
  }
  for (let i = version; i < MIGRATIONS.length; i++)
    database.exec(`BEGIN IMMEDIATE; ${MIGRATIONS[i]}; PRAGMA user_version = ${i + 1}; COMMIT`)
}
