/** Which second factors does a person have? What is said of them, which has no secret. */
import type { DatabaseSync } from 'node:sqlite'
import { lockOf } from '../../store/factor-locks.ts'
import {
  backupSetOf,
  countUnusedCodes,
  passkeysOf,
  totpOf,
  type PasskeyRow,
  type SealedTable,
  type TotpRow,
} from '../../store/factor-rows.ts'
import type { KeyRing } from '../key-ring.ts'
import { lockInForce } from './lock-out.ts'
import type { SealedProblem } from './sealed.ts'
import { unsealRow, type SealedRow } from './sealed-rows.ts'
import { isAhead } from './totp.ts'

/** An authenticator app that a person has. Times are in milliseconds since 1970. */
interface KeptTotp {
  readonly id: string
  readonly createdAt: number
  readonly lastUsedAt: number | undefined
  /** Why its codes are refused at present, besides a lock. */
  readonly problem: SealedProblem | 'clock-behind' | undefined
}

/** A passkey that a person has. */
type KeptPasskey = Pick<
  PasskeyRow,
  'id' | 'name' | 'rpId' | 'isSynced' | 'createdAt' | 'lastUsedAt' | 'counterFellAt'
>

/** The backup codes that a person has. */
interface KeptBackupCodes {
  readonly createdAt: number
  /** How many were not used. */
  readonly left: number
  readonly problem: SealedProblem | undefined
}

/** The factors of a person. */
export interface Enrolment {
  readonly subject: string
  readonly totp: KeptTotp | undefined
  readonly passkeys: readonly KeptPasskey[]
  readonly backupCodes: KeptBackupCodes | undefined
  /** Until when codes of the app are refused because of wrong ones, in milliseconds since 1970. */
  readonly lockedUntil: number | undefined
  /** Whether the factors may have been lost with a damaged state, or cannot be read. Only the machine's owner can help then. */
  readonly isLost: boolean
}

/** What is kept of a person. */
export type KeptFactors = Pick<Enrolment, 'totp' | 'passkeys' | 'backupCodes' | 'lockedUntil'>

/** What a person has whose factors are not known. */
export const NO_KEPT_FACTORS: KeptFactors = {
  totp: undefined,
  passkeys: [],
  backupCodes: undefined,
  lockedUntil: undefined,
}

/**
 * What a person has.
 * @param keys undefined when this process has no signing key, and cannot know what cannot be read
 * @param now milliseconds since 1970
 */
export function keptFactors(
  database: DatabaseSync,
  subject: string,
  keys: KeyRing | undefined,
  now: number,
): KeptFactors {
  const totp = totpOf(database, subject)
  const set = backupSetOf(database, subject)
  return {
    totp: totp === undefined ? undefined : keptTotp(totp, keys, now),
    passkeys: passkeysOf(database, subject).map(keptPasskey),
    backupCodes:
      set === undefined
        ? undefined
        : {
            createdAt: set.createdAt,
            left: countUnusedCodes(database, set.id),
            problem: problemOf('backup_sets', set, keys),
          },
    lockedUntil: lockInForce(lockOf(database, subject), now)?.until,
  }
}

/** Whether a person has a factor other than backup codes. */
export function hasPrimary(database: DatabaseSync, subject: string): boolean {
  return totpOf(database, subject) !== undefined || passkeysOf(database, subject).length > 0
}

function keptTotp(row: TotpRow, keys: KeyRing | undefined, now: number): KeptTotp {
  const { id, createdAt, lastUsedAt, lastStep } = row
  const problem =
    problemOf('totp', row, keys) ?? (isAhead(lastStep, now) ? 'clock-behind' : undefined)
  return { id, createdAt, lastUsedAt, problem }
}

function problemOf(
  table: SealedTable,
  row: SealedRow,
  keys: KeyRing | undefined,
): SealedProblem | undefined {
  if (keys === undefined) return undefined // this process cannot know
  const secret = unsealRow(keys, table, row)
  return typeof secret === 'string' ? secret : undefined
}

function keptPasskey(row: PasskeyRow): KeptPasskey {
  const { id, name, rpId, isSynced, createdAt, lastUsedAt, counterFellAt } = row
  return { id, name, rpId, isSynced, createdAt, lastUsedAt, counterFellAt }
}
