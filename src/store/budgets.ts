/** What survives a restart? The state folder and the budgets saved in it. A failure here never stops a request. */
import { chmodSync, lstatSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { SavedBudgets, SlidingWindowLimiter } from '../limits/budget.ts'
import { codeOf } from '../answers/errors.ts'
import { readWholeFile, writeWholeFile } from './whole-file.ts'

/** The tables that are saved, by name. */
export type BudgetTables = Readonly<Record<string, SlidingWindowLimiter>>

const BUDGETS_FILE = 'budgets.json'

/** Full tables, written by us, are smaller than this; in bytes. */
const MAX_BUDGETS_BYTES = 512 * 1024 * 1024

/**
 * Makes the state folder, readable by nobody else. Said loudly when that fails, since restarts then forget budgets.
 * @returns false when the folder, or a link in its place, is another user's (root apart). What is in it could be anybody's
 * then, and it must be neither read nor written; requests go on without it
 */
export function openStateDir(path: string, logger: Logger): boolean {
  const setting = 'GATEWAY_STATE_DIR'
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
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

/** The user whose folder this is, or whose link leads there, unless that is who we are or root. */
function foreignOwner(path: string): number | undefined {
  const own = process.geteuid?.()
  return [lstatSync(path).uid, statSync(path).uid].find((uid) => uid !== own && uid !== 0)
}

/** Saves the budgets: a restart must not be a way to a fresh one. */
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

/** Takes over what another process saved, once each time. A missing file is a first start; a corrupt one is said and ignored. */
export function restoreBudgets(stateDir: string, tables: BudgetTables, logger: Logger): void {
  const path = join(stateDir, BUDGETS_FILE)
  try {
    const saved: unknown = JSON.parse(readWholeFile(path, MAX_BUDGETS_BYTES))
    for (const [name, table] of Object.entries(tables)) {
      const entry =
        typeof saved === 'object' && saved !== null
          ? (saved as Record<string, unknown>)[name]
          : undefined
      if (isSavedBudgets(entry)) table.restore(entry)
      else logger.error({ path, table: name }, 'saved budgets are corrupt')
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    logger.error({ err: error, path }, 'budgets not restored')
  }
  remove(path)
}

/** Removes a file; one that stays does no harm. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The folder cannot be written to, which was said when it was opened.
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
