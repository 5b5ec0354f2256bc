/**
 * Did a person show one of their factors? This is the one place that judges codes and passkeys that are shown. What a verdict
 * uses up, or counts, is on the disk before the caller gets it.
 */
import type { DatabaseSync } from 'node:sqlite'
import { deleteLock, lockOf, putLock } from '../../store/factor-locks.ts'
import {
  backupSetOf,
  lowerLastStep,
  noteFallenCounter,
  passkeysOf,
  raiseCounter,
  totpOf,
  useBackupCode,
  useTotpSteps,
  type PasskeyRow,
} from '../../store/factor-rows.ts'
import type { State } from '../../store/state.ts'
import type { KeyRing } from '../key-ring.ts'
import { backupDigest } from './backup-codes.ts'
import { countWrongCode, lockInForce } from './lock-out.ts'
import type { Site } from './passkeys.ts'
import { CHALLENGE_MS, Pending, type Owned } from './pending.ts'
import { unsealRow } from './sealed-rows.ts'
import { isAhead, matchingSteps, newestStep } from './totp.ts'
import { proven, refused, type Proven, type Refused } from './verdicts.ts'

/** A passkey that was asked for. */
interface Challenge extends Owned {
  readonly site: Site
  readonly purpose: string
}

/** What the judging needs. */
interface FactorProofsParts {
  readonly state: State
  readonly keys: KeyRing | undefined
  /** The wall clock in milliseconds. */
  readonly now: () => number
  /** A clock in milliseconds that never steps. */
  readonly monotonic: () => number
  /** Whether the factors of a person may have been lost. */
  readonly isLost: (subject: string) => boolean
}

/** Judges the factors that people show. */
export class FactorProofs {
  readonly #state: State
  readonly #keys: KeyRing | undefined
  readonly #now: () => number
  readonly #isLost: (subject: string) => boolean
  readonly #challenges: Pending<Challenge>

  constructor({ state, keys, now, monotonic, isLost }: FactorProofsParts) {
    this.#state = state
    this.#keys = keys
    this.#now = now
    this.#isLost = isLost
    this.#challenges = new Pending(CHALLENGE_MS, monotonic)
  }

  /**
   * A challenge for a passkey of a person: the options for `navigator.credentials.get()`, as JSON.
   * @param purpose for what the passkey will be shown
   * @returns undefined when the person has no passkey for this site
   */
  async challenge(
    subject: string,
    { sessionId, site, purpose }: { sessionId: string; site: Site; purpose: string },
  ): Promise<object | undefined> {
    const passkeys = this.#passkeysAt(subject, site)
    if (passkeys.length === 0) return undefined
    const { requestOptions } = await import('./passkeys.ts')
    const options = await requestOptions(site, passkeys)
    this.#challenges.add(options.challenge, { subject, sessionId, site, purpose })
    return options
  }

  /** Removes the challenges of a person. */
  forget(subject: string): void {
    this.#challenges.forget(subject)
  }

  /** Judges a code of an authenticator app. @param code six digits */
  byTotp(subject: string, code: string): Proven | Refused {
    const now = this.#now()
    const kept = this.#state.read((database) => ({
      totp: totpOf(database, subject),
      lock: lockOf(database, subject),
    }))
    const totp = kept?.totp
    if (totp === undefined) return this.#noFactor(subject)
    const lock = lockInForce(kept?.lock, now)
    if (lock !== undefined) {
      if (lock.until !== kept?.lock?.until)
        this.#state.write((database) => putLock(database, subject, lock))
      return { isDone: false, reason: 'locked', lockedUntil: lock.until }
    }
    if (isAhead(totp.lastStep, now)) return refused('clock-behind')
    const secret = unsealRow(this.#keys, 'totp', totp)
    if (typeof secret === 'string') return refused(secret)
    const steps = matchingSteps(secret, code, now)
    let outcome: Proven | Refused = refused('code-used')
    this.#state.write((database) => {
      if (steps === undefined) {
        const lockedUntil = countWrongCode(database, subject, now)
        outcome = {
          ...refused('wrong-code'),
          ...(lockedUntil === undefined ? {} : { lockedUntil }),
        }
      } else if (useTotpSteps(database, totp.id, steps, now)) {
        deleteLock(database, subject)
        outcome = proven('totp', totp.id, now)
      }
    })
    return outcome
  }

  /** Judges a backup code. @param code as {@link backupCodeIn} returns it */
  byBackupCode(subject: string, code: string): Proven | Refused {
    const now = this.#now()
    const set = this.#state.read((database) => backupSetOf(database, subject))
    if (set === undefined) return this.#noFactor(subject)
    const key = unsealRow(this.#keys, 'backup_sets', set)
    if (typeof key === 'string') return refused(key)
    let isUsed: boolean | undefined
    this.#state.write((database) => {
      isUsed = useBackupCode(database, set.id, backupDigest(key, code), now)
      if (isUsed === true) this.#endClockLock(database, subject, now)
    })
    if (isUsed === true) return proven('backup-code', set.id, now)
    return refused(isUsed === undefined ? 'wrong-code' : 'code-used')
  }

  /** Judges a passkey. @param response what `navigator.credentials.get()` returned, as JSON */
  async byPasskey(owner: Owned, response: unknown, purpose: string): Promise<Proven | Refused> {
    const { challengeIn, credentialIn, verifiedCounter } = await import('./passkeys.ts')
    const challenge = challengeIn(response)
    if (challenge === undefined) return refused('passkey-invalid')
    const begun = this.#challenges.take(challenge, owner)
    if (begun === undefined || begun.purpose !== purpose) return refused('challenge-gone')
    const credentialId = credentialIn(response)
    const passkey = this.#passkeysAt(owner.subject, begun.site).find(
      (one) => one.credentialId === credentialId,
    )
    if (passkey === undefined) return refused('passkey-unknown')
    const counter = await verifiedCounter(response, challenge, begun.site, passkey)
    if (counter === undefined) return refused('passkey-invalid')
    const now = this.#now()
    const { id, isSynced } = passkey
    let outcome: Proven | Refused = refused('passkey-unknown') // it was removed meanwhile
    this.#state.write((database) => {
      const isRaised = raiseCounter(database, id, counter, now)
      if (!isRaised && !noteFallenCounter(database, id, now, isSynced)) return
      if (!isRaised && !isSynced) {
        outcome = refused('counter-fell')
        return
      }
      this.#endClockLock(database, owner.subject, now)
      outcome = proven('passkey', id, now)
    })
    return outcome
  }

  /** Codes count again by the clock as it is, because the person has shown another factor. */
  #endClockLock(database: DatabaseSync, subject: string, now: number): void {
    const totp = totpOf(database, subject)
    if (totp !== undefined && isAhead(totp.lastStep, now))
      lowerLastStep(database, subject, newestStep(now))
  }

  #passkeysAt(subject: string, { host }: Site): readonly PasskeyRow[] {
    const all = this.#state.read((database) => passkeysOf(database, subject)) ?? []
    return all.filter(({ rpId }) => rpId === host)
  }

  #noFactor(subject: string): Refused {
    return refused(this.#isLost(subject) ? 'factor-unreadable' : 'not-enrolled')
  }
}
