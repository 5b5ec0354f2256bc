/** What survives a restart? The state folder and the budgets saved in it. A failure here never stops a request. */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { SavedBudgets, SlidingWindowLimiter } from './budget.ts'
import { codeOf } from './errors.ts'

/** The tables that are saved, by name. */
export type BudgetTables = Readonly<Record<string, SlidingWindowLimiter>>

const BUDGETS_FILE = 'budgets.json'

/** Makes the state folder, readable by nobody else. Said loudly when that fails, since restarts then forget budgets. */
export function openStateDir(path: string, logger: Logger): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    chmodSync(path, 0o700)
  } catch (error) {
    logger.error({ err: error, setting: 'GATEWAY_STATE_DIR', path }, 'state folder cannot be used')
  }
}

/** Saves the budgets: a restart must not be a way to a fresh one. */
export function saveBudgets(stateDir: string, tables: BudgetTables, logger: Logger): void {
  const path = join(stateDir, BUDGETS_FILE)
  const draft = `${path}.${process.pid}.tmp`
  try {
    const saved = Object.fromEntries(
      Object.entries(tables).map(([name, table]) => [name, table.save()]),
    )
    writeFileSync(draft, JSON.stringify(saved), { mode: 0o600 })
    renameSync(draft, path)
  } catch (error) {
    logger.error({ err: error, path }, 'budgets not saved')
    remove(draft)
  }
}

/** Takes over what another process saved, once each time. A missing file is a first start; a corrupt one is said and ignored. */
export function restoreBudgets(stateDir: string, tables: BudgetTables, logger: Logger): void {
  const path = join(stateDir, BUDGETS_FILE)
  try {
    const saved: unknown = JSON.parse(readFileSync(path, 'utf8'))
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
