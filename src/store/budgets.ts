/** What survives a restart? The rate-limit counts (budgets), saved in the state folder. A failure here never stops a request. */
import { chmodSync, lstatSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { SavedBudgets, SlidingWindowLimiter } from '../limits/budget.ts'
import { codeOf } from '../answers/errors.ts'
import { makeFolder } from './make-folder.ts'
import { readWholeFile, writeWholeFile } from './whole-file.ts'

/** The tables of rate-limit counts that are saved, by name. */
export type BudgetTables = Readonly<Record<string, SlidingWindowLimiter>>

const BUDGETS_FILE = 'budgets.json'

/** The largest file that is read, in bytes. Full tables make a smaller one. */
const MAX_BUDGETS_BYTES = 512 * 1024 * 1024

/**
 * Creates the state folder with mode 700. A failure is logged as an error, because restarts then reset the rate limits.
 * @returns false when the folder, or a link in its place, belongs to another user than this one and root. Its content could
 * come from that user, so it must be neither read nor written. The gateway serves requests without it
 */
export function openStateDir(path: string, logger: Logger): boolean {
  const setting = 'GATEWAY_STATE_DIR'
  try {
    makeFolder(path, 0o700)
    const owner = foreignOwner(path)
    if (owner !== undefined) {
      logger.error({ setting, path, owner }, 'state folder is another user’s and is not used')
      return false
    }
    chmodSync(path, 0o700)
  } catch (error) {
    logger.error({ err: error, setting, path }, 'state folder cannot be used')
  }
  return true
}

/** The owner of the folder or of the link to it, if that is neither this user nor root. */
export function foreignOwner(path: string): number | undefined {
  const own = process.geteuid?.()
  return [lstatSync(path).uid, statSync(path).uid].find((uid) => uid !== own && uid !== 0)
}

/** Saves the budgets, so that a restart does not reset a rate limit. */
export function saveBudgets(stateDir: string, tables: BudgetTables, logger: Logger): void {
  const path = join(stateDir, BUDGETS_FILE)
  try {
    const saved = Object.fromEntries(
      Object.entries(tables).map(([name, table]) => [name, table.save()]),
    )
    writeWholeFile(path, JSON.stringify(saved))
  } catch (error) {
    logger.error({ err: error, path }, 'budgets not saved')
  }
}

/**
 * Restores the budgets that another process saved, and removes the file, so that it is used once. A missing file means a first
 * start, and a missing table an older program, which had no such table. What is corrupt is logged and ignored.
 */
export function restoreBudgets(stateDir: string, tables: BudgetTables, logger: Logger): void {
  const path = join(stateDir, BUDGETS_FILE)
  try {
    const saved: unknown = JSON.parse(readWholeFile(path, MAX_BUDGETS_BYTES))
    const entries: Record<string, unknown> =
      typeof saved === 'object' && saved !== null ? { ...saved } : {}
    const isOlder = Object.keys(tables).some((name) => name in entries)
    for (const [name, table] of Object.entries(tables)) {
      const entry = entries[name]
      if (isSavedBudgets(entry)) table.restore(entry)
      else if (entry === undefined && isOlder) continue
      else logger.error({ path, table: name }, 'saved budgets are corrupt')
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    logger.error({ err: error, path }, 'budgets not restored')
  }
  remove(path)
}

/** Removes a file, and ignores a failure, because the file does no harm. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The folder is not writable. That was logged when the folder was opened.
  }
}

function isSavedBudgets(value: unknown): value is SavedBudgets {
  if (typeof value !== 'object' || value === null) return false
  const { savedAt, clock, entries } = value as Record<string, unknown>
  return (
    Number.isFinite(savedAt) &&
    Number.isFinite(clock) &&
    Array.isArray(entries) &&
    entries.every(isSavedEntry)
  )
}

function isSavedEntry(entry: unknown): boolean {
  if (!Array.isArray(entry) || entry.length !== 3) return false
  const [key, ages, counts] = entry as unknown[]
  return (
    typeof key === 'string' && isNumbers(ages) && isNumbers(counts) && ages.length === counts.length
  )
}

function isNumbers(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((one) => typeof one === 'number' && Number.isFinite(one) && one >= 0)
  )
}
