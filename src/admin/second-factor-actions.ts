/** What does an owner see of the second factors, and what can the machine's owner do for somebody who has lost theirs? */
import { FACTOR_PROBLEM_DETAILS } from '../answers/details.ts'
import { isoTime } from '../identity/iso-time.ts'
import type { Enrolment } from '../identity/second-factor/kept-factors.ts'
import type { ActionInput, ActionResult, StateParts } from './action.ts'
import { membersOf, subjectIn } from './members.ts'

/** The second factors of a person. Times are ISO 8601 in UTC, and null when there was none. */
export interface FactorsView {
  readonly sub: string
  readonly totp: {
    readonly id: string
    readonly createdAt: string | null
    readonly lastUsedAt: string | null
    /** Why its codes are refused: `factor-key-missing`, `factor-unreadable` or `clock-behind`; null when they are not. */
    readonly problem: string | null
  } | null
  readonly passkeys: ReadonlyArray<{
    readonly id: string
    readonly name: string
    /** The host for which it was made. */
    readonly host: string
    /** Whether it can be copied to other devices. */
    readonly synced: boolean
    readonly createdAt: string | null
    readonly lastUsedAt: string | null
    /** When it last counted less than before, so that there may be a copy of it. */
    readonly counterFellAt: string | null
  }>
  readonly backupCodes: {
    readonly createdAt: string | null
    /** How many were not used. */
    readonly left: number
    readonly problem: string | null
  } | null
  /** Until when codes of the app are refused, because too many were wrong. */
  readonly lockedUntil: string | null
  /** What does not work, and what to do; empty when everything does. */
  readonly problems: readonly FactorProblem[]
}

/** Something that does not work with the second factors of a person. */
interface FactorProblem {
  readonly problem: keyof typeof FACTOR_PROBLEM_DETAILS
  /** What it means and what to do. */
  readonly detail: string
}

/** The second factors of everybody. */
export interface FactorsListView {
  readonly secondFactors: readonly FactorsView[]
  /** Whether others may have lost theirs with a damaged state. Nobody knows who, so whoever is not in the list counts as having one. */
  readonly lost: boolean
}

/** The answer when factors were reset. */
export interface ResetView {
  /** Whether there were any. */
  readonly reset: boolean
  /** How many sessions ended. */
  readonly ended: number
  /** Whether the ending is on the disk. */
  readonly saved: boolean
}

export function listFactors({ factors }: StateParts): ActionResult {
  const answer: FactorsListView = {
    secondFactors: factors.list().map(factorsView),
    lost: factors.areSomeLost,
  }
  return { answer }
}

/** What is shown of a person's factors. */
export function factorsView(enrolment: Enrolment): FactorsView {
  const { subject: sub, totp, passkeys, backupCodes, lockedUntil } = enrolment
  return {
    sub,
    totp:
      totp === undefined
        ? null
        : {
            id: totp.id,
            createdAt: isoTime(totp.createdAt),
            lastUsedAt: isoTime(totp.lastUsedAt),
            problem: totp.problem ?? null,
          },
    passkeys: passkeys.map((passkey) => ({
      id: passkey.id,
      name: passkey.name,
      host: passkey.rpId,
      synced: passkey.isSynced,
      createdAt: isoTime(passkey.createdAt),
      lastUsedAt: isoTime(passkey.lastUsedAt),
      counterFellAt: isoTime(passkey.counterFellAt),
    })),
    backupCodes:
      backupCodes === undefined
        ? null
        : {
            createdAt: isoTime(backupCodes.createdAt),
            left: backupCodes.left,
            problem: backupCodes.problem ?? null,
          },
    lockedUntil: isoTime(lockedUntil),
    problems: problemsOf(enrolment),
  }
}

/** What does not work with the second factors of a person, each once. */
export function problemsOf({
  isLost,
  totp,
  backupCodes,
  passkeys,
  lockedUntil,
}: Enrolment): readonly FactorProblem[] {
  const problems = new Set<FactorProblem['problem'] | undefined>([
    isLost ? 'lost' : undefined,
    totp?.problem,
    backupCodes?.problem,
    lockedUntil === undefined ? undefined : 'locked',
    passkeys.some(({ counterFellAt }) => counterFellAt !== undefined) ? 'counter-fell' : undefined,
    backupCodes?.left === 0 ? 'no-backup-codes' : undefined,
  ])
  return [...problems].flatMap((problem) =>
    problem === undefined ? [] : [{ problem, detail: FACTOR_PROBLEM_DETAILS[problem] }],
  )
}

/** Takes every factor of a person away, and ends their sessions: whoever has one of them may not be the person. */
export function resetFactors(
  { factors, sessions }: StateParts,
  { body }: ActionInput,
): ActionResult {
  const sub = subjectIn(membersOf(body, ['sub']).sub, 'sub')
  const isReset = factors.reset(sub) // first, because it may fail, and what was not done is not logged
  const { ended, isSaved } = sessions.endAll('revoked', sub)
  const answer: ResetView = { reset: isReset, ended: ended.length, saved: isSaved }
  return { answer, changed: [sub], isSaved }
}

/** Ends the lock of a person's codes. */
export function unlockFactors({ factors }: StateParts, { body }: ActionInput): ActionResult {
  const sub = subjectIn(membersOf(body, ['sub']).sub, 'sub')
  return { answer: { unlocked: factors.unlock(sub) }, changed: [sub] }
}
