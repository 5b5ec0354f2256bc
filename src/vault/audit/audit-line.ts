/**
 * What does a line of the audit log look like? Canonical JSON: the facts, the row's number, and the hash of the row before, so that no
 * row can be changed, removed, added or moved without changing all rows after it.
 */
import { hash } from 'node:crypto'
import { canonical, type Json } from '../at-rest/canonical.ts'
import type { AuditFacts } from '../audit-row.ts'

/** A row of the log. */
export interface AuditRow extends AuditFacts {
  /** 1, 2, 3, … */
  readonly n: number
  /** When the row was made (RFC 3339, UTC). */
  readonly time: string
  /** The sequence number of the vault file that was saved last; 0 before the first. Every row has it, so the last row does. */
  readonly saved: number
  /** The highest sequence number that a change began with, where it is not `saved`. */
  readonly begun?: number | undefined
  /** The hash of the row before. */
  readonly prev: string
  /** SHA-256 (hex) of the canonical JSON of everything else in the row. */
  readonly hash: string
}

/** The hash before the first row. */
export const NO_HASH = '0'.repeat(64)

/** A longer line is damaged (bytes). The vault writes none, because each text of a row is clipped. */
export const MAX_LINE_BYTES = 1024 * 1024

/** A longer text of a row is clipped, in UTF-16 code units, so that long paths of an agent do not fill the disk. */
const MAX_TEXT = 2048

/** Makes the row after a number and a hash. */
export function makeRow(
  facts: AuditFacts,
  rest: Pick<AuditRow, 'n' | 'time' | 'saved' | 'begun' | 'prev'>,
): AuditRow {
  const pairs = Object.entries(facts).map(([key, value]) => [key, clipped(value)])
  const row = { ...(Object.fromEntries(pairs) as AuditFacts), ...rest }
  return { ...row, hash: hashOf(row) }
}

/** Returns the line of a row, without its line break. */
export function lineOf(row: AuditRow): string {
  return canonical(row as unknown as Json)
}

/** Reads a line. @returns undefined unless it is exactly the line of a row with the right hash */
export function parseLine(line: string): AuditRow | undefined {
  const row = parseObject(line)
  if (row === undefined || !isFlat(row) || !hasNumbers(row)) return undefined
  return row.hash === hashOf(row) && lineOf(row) === line ? row : undefined
}

function parseObject(line: string): AuditRow | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as AuditRow)
      : undefined
  } catch {
    return undefined
  }
}

/** A row has no lists and objects in it. Somebody else's could be nested so deeply that the work on it overflows the stack. */
function isFlat(row: AuditRow): boolean {
  return Object.values(row).every((one) => typeof one === 'string' || typeof one === 'number')
}

function hasNumbers({ n, saved, begun = saved, prev, time, op }: Partial<AuditRow>): boolean {
  const areNumbers = [n, saved, begun].every((one) => Number.isSafeInteger(one))
  return areNumbers && [prev, time, op].every((one) => typeof one === 'string')
}

function hashOf(row: Omit<AuditRow, 'hash'>): string {
  return hash('sha256', canonical({ ...row, hash: undefined }), 'hex')
}

function clipped(value: unknown): unknown {
  return typeof value === 'string' && value.length > MAX_TEXT
    ? `${value.slice(0, MAX_TEXT - 1)}…`
    : value
}
