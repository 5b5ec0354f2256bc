/** What does a test see of SQL? The statements that are run at once, those that are prepared, and the database itself. */
import { DatabaseSync } from 'node:sqlite'
import type { Test } from 'tap'

/** What was seen. */
export interface WatchedSql {
  /** What was run with `exec`, in order. */
  readonly ran: string[]
  /** The statements that were prepared. */
  readonly prepared: string[]
  /** The database that has last run something. */
  readonly database: () => DatabaseSync
  /** The value that a query has, in the database that has last run something. */
  readonly value: (query: string) => unknown
  /** Makes statements with this text fail, until it is undefined. */
  failing: string | undefined
}

/** Watches every database of this process until the test ends. */
export function watchSql(t: Test): WatchedSql {
  const { prototype } = DatabaseSync
  // oxlint-disable-next-line unbound-method -- they are called on a database, and put back at the end
  const { exec, prepare } = prototype
  let database: DatabaseSync | undefined
  const watched: WatchedSql = {
    ran: [],
    prepared: [],
    database() {
      if (database === undefined) throw new Error('no database has run anything')
      return database
    },
    value: (query) => Object.values(prepare.call(watched.database(), query).get() ?? {})[0],
    failing: undefined,
  }
  prototype.exec = function watchedExec(this: DatabaseSync, sql) {
    database = this // oxlint-disable-line no-this-alias -- it is what was called
    watched.ran.push(sql)
    if (sql === watched.failing)
      throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 10 })
    exec.call(this, sql)
  }
  prototype.prepare = function watchedPrepare(this: DatabaseSync, ...args) {
    watched.prepared.push(args[0])
    return prepare.apply(this, args)
  }
  t.teardown(() => Object.assign(prototype, { exec, prepare }))
  return watched
}
