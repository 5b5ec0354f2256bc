/**
 * How is SQLite loaded? With `node:sqlite`, without the warning that older releases of Node 24 print when it is loaded: it would be
 * the first line of every command.
 */
import type { DatabaseSync as Database } from 'node:sqlite'

// Not imported by name: Node loads imports before the first line of any module runs, and would warn then.
export const { DatabaseSync } = withoutSqliteWarning(() => process.getBuiltinModule('node:sqlite'))
export type DatabaseSync = Database

/** Runs a function, and drops the warning that SQLite is experimental. Any other warning passes, as does this one later. */
export function withoutSqliteWarning<T>(load: () => T): T {
  // oxlint-disable-next-line unbound-method -- it is put back below, and called on process
  const { emitWarning } = process
  const filtered: typeof emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    const isIt = rest[0] === 'ExperimentalWarning' && String(warning).startsWith('SQLite ')
    if (!isIt) (emitWarning as (...all: unknown[]) => void).call(process, warning, ...rest)
  }
  process.emitWarning = filtered
  try {
    return load()
  } finally {
    process.emitWarning = emitWarning
  }
}
