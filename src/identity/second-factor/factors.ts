/**
 * Which second factors does a person have, and did they show one? This is the one place that judges codes and passkeys. The state
 * file keeps the factors. A verdict that uses something up is on the disk before the caller gets it.
 */
import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import {
  addPasskey,
  allSealed,
  backupSetOf,
  countUnusedCodes,
  deleteBackupCodes,
  deleteLock,
  deletePasskeys,
  deleteTotp,
  enrolledSubjects,
  forgetWrongCodes,
  lockOf,
  lostFactors,
  lowerLastStep,
  noteFallenCounter,
  passkeysOf,
  putBackupCodes,
  putFactorReset,
  putLock,
  putSealed,
  putTotp,
  raiseCounter,
  totpOf,
  useBackupCode,
  useTotpSteps,
  type BackupSetRow,
  type PasskeyRow,
  type SealedSecret,
  type SealedTable,
  type TotpRow,
} from '../../store/factor-rows.ts'
import type { State } from '../../store/state.ts'
import type { KeyRing } from '../key-ring.ts'
import { backupCodeIn, backupDigest, makeBackupCodes } from './backup-codes.ts'
import { countWrongCode, lockInForce } from './lock-out.ts'
import type { Site } from './passkeys.ts'
import { Pending, type Owned } from './pending.ts'
import { seal, unseal, type SealedProblem } from './sealed.ts'
import {
  isAhead,
  matchingSteps,
  newestStep,
  newTotpSecret,
  setUpOf,
  totpCodeIn,
  type TotpSetUp,
} from './totp.ts'

export type { Site } from './passkeys.ts'

/** The kinds of factors. */
type FactorKind = 'totp' | 'passkey' | 'backup-code'

/**
 * Why a proof was refused, or an enrolment:
 * - `not-enrolled`: the person has no factor of this kind.
 * - `malformed-code`: neither six digits nor a backup code. It is not counted.
 * - `wrong-code`, `code-used`: a code that is wrong (counted), or was right once before (not counted).
 * - `locked`: too many wrong codes. Passkeys and backup codes work meanwhile.
 * - `clock-behind`: a code was used that lies more than 10 minutes in the future. A passkey or a backup code ends this.
 * - `factor-key-missing`: the signing key that encrypts it is not configured.
 * - `factor-unreadable`: its row was changed, or was lost with a damaged state.
 * - `challenge-gone`: the passkey answers no challenge of this session and purpose that still counts.
 * - `passkey-unknown`, `passkey-invalid`: it is no passkey of this person here, or its answer is not right.
 * - `counter-fell`: the passkey is bound to a device and counted less than before, so there is a copy of it.
 * - `factor-needed`: once a factor exists, an enrolment needs one to be shown.
 * - `enrolment-gone`: it was not begun in this session, or too long ago, or too many wrong codes were tried.
 * - `passkey-known`, `too-many-passkeys`: this passkey is registered already, or the person has 20.
 */
export type FactorRefusal =
  | 'not-enrolled'
  | 'malformed-code'
  | 'wrong-code'
  | 'code-used'
  | 'locked'
  | 'clock-behind'
  | SealedProblem
  | 'challenge-gone'
  | 'passkey-unknown'
  | 'passkey-invalid'
  | 'counter-fell'
  | 'factor-needed'
  | 'enrolment-gone'
  | 'passkey-known'
  | 'too-many-passkeys'

/** What a person shows: a code of their app or a backup code, as typed, or what `navigator.credentials.get()` returned, as JSON. */
export type FactorProof =
  | { readonly kind: 'code'; readonly code: string }
  | { readonly kind: 'passkey'; readonly response: unknown }

/** A refusal. */
export interface Refused {
  readonly isDone: false
  readonly reason: FactorRefusal
  /** Until when codes are locked, in milliseconds since 1970, when this try has locked them or they were locked before. */
  readonly lockedUntil?: number
}

/** A factor that was shown. */
export interface Proven {
  readonly isDone: true
  readonly factor: FactorKind
  readonly factorId: string
  /** `amr` values (RFC 8176). */
  readonly methods: readonly string[]
  /** Milliseconds since 1970. */
  readonly at: number
}

/** What an enrolment has added. */
export interface Enrolled {
  readonly isDone: true
  readonly factorId: string
  /** New backup codes, when the person had none. Nobody can be shown them again. */
  readonly backupCodes: readonly string[] | undefined
}

/** Who enrols. */
export interface Enroller {
  readonly sessionId: string
  /** Whether the person has shown a factor for this enrolment. Without it, only a first factor can be enrolled. */
  readonly hasProof: boolean
}

/** An authenticator app that a person has. Times are in milliseconds since 1970. */
export interface KeptTotp {
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

/** Something that happened with a factor, for the log. It has no secret. */
export interface FactorEvent {
  readonly what: 'shown' | 'added' | 'refused'
  readonly subject: string
  readonly sessionId: string
  /** The client's address; undefined when it is not known. */
  readonly client: string | undefined
  /** `code`: it is neither a code of an app nor a backup code. */
  readonly factor: FactorKind | 'code'
  /** Which factor it was; undefined for a refusal. */
  readonly factorId?: string | undefined
  /** For what it was shown; undefined when it was to be added. */
  readonly purpose: string | undefined
  /** Why it was refused. */
  readonly reason?: FactorRefusal | undefined
  /** Until when codes are locked, in milliseconds since 1970; with `wrong-code` this try has locked them. */
  readonly lockedUntil?: number | undefined
}

/** Who shows or adds a factor, and from where. */
interface Shower {
  readonly sessionId: string
  /** The client's address, for the log. */
  readonly client?: string | undefined
}

/** What the factors need. */
export interface SecondFactorParts {
  readonly state: State
  /** The keys that encrypt secrets. Undefined for a command without the signing secret, which can list, reset and unlock. */
  readonly keys: KeyRing | undefined
  /** The name of the workspace, which authenticator apps and browsers show. */
  readonly workspace: string
  /** The wall clock in milliseconds. */
  readonly now?: () => number
  /** A clock in milliseconds that never steps, for how long a challenge counts. */
  readonly monotonic?: () => number
  /** Is told of everything that is shown, added or refused. */
  readonly onEvent?: (event: FactorEvent) => void
}

/** How long a challenge of a passkey counts, in milliseconds: 5 minutes. */
const CHALLENGE_MS = 300_000

/** How long an authenticator app can be set up, in milliseconds: 10 minutes. */
const SET_UP_MS = 600_000

/** How many wrong codes end the set-up of an authenticator app. */
const SET_UP_TRIES = 5

/** How many passkeys a person can have. */
export const MAX_PASSKEYS = 20

/** The longest name of a passkey, in characters. */
const MAX_NAME_LENGTH = 64

const TOTP_METHODS = ['otp'] as const
/** A passkey is two factors: what a person has, and the PIN or finger that the authenticator has verified. */
const DEVICE_METHODS = ['hwk', 'mfa'] as const
const SYNCED_METHODS = ['swk', 'mfa'] as const

/** What is begun and waits for its confirmation. */
interface Challenge extends Owned {
  readonly site: Site
  readonly purpose: string
}
interface PasskeySetUp extends Owned {
  readonly site: Site
  readonly hasProof: boolean
}
interface TotpDraft extends Owned {
  readonly secret: Buffer
  readonly hasProof: boolean
  tries: number
}

/** The second factors of a workspace. */
export class SecondFactors {
  readonly #state: State
  readonly #keys: KeyRing | undefined
  readonly #workspace: string
  readonly #now: () => number
  readonly #onEvent: ((event: FactorEvent) => void) | undefined
  readonly #challenges: Pending<Challenge>
  readonly #passkeySetUps: Pending<PasskeySetUp>
  readonly #totpDrafts: Pending<TotpDraft>
  /** Who has a factor. It is asked when an owner acts or opens a terminal, and no request asks the database. */
  #enrolled: ReadonlySet<string> = new Set()
  /** Whether it is known who has a factor. */
  #isLoaded = false
  /** Whose factors cannot have been lost, after a state was damaged; undefined when none were lost. */
  #notLost: ReadonlySet<string> | undefined

  constructor({
    state,
    keys,
    workspace,
    now = Date.now,
    monotonic = () => performance.now(),
    onEvent,
  }: SecondFactorParts) {
    this.#state = state
    this.#keys = keys
    this.#workspace = workspace
    this.#now = now
    this.#onEvent = onEvent
    this.#challenges = new Pending(CHALLENGE_MS, monotonic)
    this.#passkeySetUps = new Pending(CHALLENGE_MS, monotonic)
    this.#totpDrafts = new Pending(SET_UP_MS, monotonic)
  }

  /** Reads who has a factor, again after another process has changed it, and encrypts what is under an older key again. */
  load(): void {
    this.#isLoaded = false // and nobody counts as without a factor, should this fail
    const known = this.#state.read((database) => ({
      enrolled: enrolledSubjects(database),
      lost: lostFactors(database),
    }))
    if (known === undefined) return
    this.#enrolled = new Set(known.enrolled)
    this.#notLost = known.lost.at === undefined ? undefined : new Set(known.lost.resets)
    this.#isLoaded = true
    this.rewrap()
  }

  /** Whether a person has a second factor. One that cannot be read, or may have been lost, counts. */
  isEnrolled(subject: string): boolean {
    return this.#enrolled.has(subject) || this.#isLost(subject)
  }

  /** The factors of a person. */
  enrolmentOf(subject: string): Enrolment {
    const isLost = this.#isLost(subject)
    const none = { totp: undefined, passkeys: [], backupCodes: undefined, lockedUntil: undefined }
    const kept = this.#state.read((database) => this.#keptOf(database, subject))
    return { subject, isLost: isLost || kept === undefined, ...(kept ?? none) }
  }

  /** Whether factors may have been lost, of persons that nobody can name. */
  get areSomeLost(): boolean {
    return !this.#isLoaded || this.#notLost !== undefined
  }

  /** The factors of everybody who has one. */
  list(): Enrolment[] {
    return [...this.#enrolled].toSorted().map((subject) => this.enrolmentOf(subject))
  }

  /**
   * Judges what a person shows. A code or challenge that was right is used up, and a wrong code is counted, on the disk.
   * @param purpose for what it is shown, the same as for {@link challenge}
   * @throws {GatewayError} `state-unavailable`
   */
  async prove(
    subject: string,
    about: Shower & { readonly proof: FactorProof; readonly purpose: string },
  ): Promise<Proven | Refused> {
    const { proof, purpose, sessionId } = about
    if (proof.kind === 'passkey') {
      const verdict = await this.#provePasskey({ subject, sessionId }, proof.response, purpose)
      return this.#told(subject, 'passkey', about, verdict)
    }
    const code = totpCodeIn(proof.code)
    if (code !== undefined)
      return this.#told(subject, 'totp', about, this.#proveTotp(subject, code))
    const backupCode = backupCodeIn(proof.code)
    return backupCode === undefined
      ? this.#told(subject, 'code', about, refused('malformed-code'))
      : this.#told(subject, 'backup-code', about, this.#proveBackupCode(subject, backupCode))
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

  /** Begins to set up an authenticator app. It replaces the one before when it is confirmed. */
  beginTotp(
    subject: string,
    { sessionId, hasProof }: Enroller,
  ): ({ readonly isDone: true; readonly id: string } & TotpSetUp) | Refused {
    if (!hasProof && this.isEnrolled(subject)) return refused('factor-needed')
    const [id, secret] = [newId('app'), newTotpSecret()]
    this.#totpDrafts.add(id, { subject, sessionId, secret, hasProof, tries: 0 })
    return { isDone: true, id, ...setUpOf(secret, this.#workspace, subject) }
  }

  /** What {@link beginTotp} has returned, for showing it again after a wrong code; undefined when its time is over. */
  totpSetUp(subject: string, { sessionId, id }: { sessionId: string; id: string }) {
    const draft = this.#totpDrafts.find(id, { subject, sessionId })
    return draft === undefined ? undefined : setUpOf(draft.secret, this.#workspace, subject)
  }

  /**
   * Adds the authenticator app when it shows a right code, which is used up. A wrong one may be corrected.
   * @throws {GatewayError} `state-unavailable`; the set-up can be confirmed later then
   */
  confirmTotp(
    subject: string,
    set: Shower & { readonly id: string; readonly code: string },
  ): Enrolled | Refused {
    return this.#told(subject, 'totp', set, this.#confirmTotp(subject, set))
  }

  #confirmTotp(
    subject: string,
    { sessionId, id, code }: Shower & { readonly id: string; readonly code: string },
  ): Enrolled | Refused {
    const draft = this.#totpDrafts.find(id, { subject, sessionId })
    if (draft === undefined) return refused('enrolment-gone')
    if (!draft.hasProof && this.isEnrolled(subject)) return refused('factor-needed') // meanwhile
    const digits = totpCodeIn(code)
    if (digits === undefined) return refused('malformed-code')
    const now = this.#now()
    const steps = matchingSteps(draft.secret, digits, now)
    if (steps === undefined) {
      if (++draft.tries < SET_UP_TRIES) return refused('wrong-code')
      this.#totpDrafts.take(id, draft)
      return refused('enrolment-gone')
    }
    const row: TotpRow = {
      ...{ id, subject, lastStep: steps[1], createdAt: now, lastUsedAt: undefined },
      ...seal(this.#ring, draft.secret, contextOf({ table: 'totp', id, subject })),
    }
    const result = this.#enrol(subject, id, (database) => {
      deleteTotp(database, subject, now)
      putTotp(database, row)
      forgetWrongCodes(database, subject)
      return true
    })
    this.#totpDrafts.take(id, draft)
    return result
  }

  /** Begins to add a passkey: the options for `navigator.credentials.create()`, as JSON. */
  async beginPasskey(
    subject: string,
    { sessionId, hasProof, site }: Enroller & { readonly site: Site },
  ): Promise<{ readonly isDone: true; readonly options: object } | Refused> {
    if (!hasProof && this.isEnrolled(subject)) return refused('factor-needed')
    const known = this.#state.read((database) => passkeysOf(database, subject)) ?? []
    if (known.length >= MAX_PASSKEYS) return refused('too-many-passkeys')
    const { creationOptions } = await import('./passkeys.ts')
    const workspace = this.#workspace
    const here = known.filter(({ rpId }) => rpId === site.host)
    const options = await creationOptions(site, { workspace, subject, known: here })
    this.#passkeySetUps.add(options.challenge, { subject, sessionId, site, hasProof })
    return { isDone: true, options }
  }

  /**
   * Adds a passkey.
   * @param response what `navigator.credentials.create()` returned, as JSON
   * @param name how the person calls it; the date when it is empty
   * @throws {GatewayError} `state-unavailable`
   */
  async confirmPasskey(
    subject: string,
    made: Shower & { readonly response: unknown; readonly name: string },
  ): Promise<Enrolled | Refused> {
    return this.#told(subject, 'passkey', made, await this.#confirmPasskey(subject, made))
  }

  async #confirmPasskey(
    subject: string,
    { sessionId, response, name }: Shower & { readonly response: unknown; readonly name: string },
  ): Promise<Enrolled | Refused> {
    const { challengeIn, verifiedPasskey } = await import('./passkeys.ts')
    const challenge = challengeIn(response)
    if (challenge === undefined) return refused('passkey-invalid')
    const setUp = this.#passkeySetUps.take(challenge, { subject, sessionId })
    if (setUp === undefined) return refused('enrolment-gone')
    const passkey = await verifiedPasskey(response, challenge, setUp.site)
    if (passkey === undefined) return refused('passkey-invalid')
    // Here nothing waits any more, so that of two first enrolments at once only one is the first.
    if (!setUp.hasProof && this.isEnrolled(subject)) return refused('factor-needed')
    const now = this.#now()
    const row: PasskeyRow = {
      ...{ id: newId('key'), subject, rpId: setUp.site.host, ...passkey },
      ...{ name: nameOf(name, now), createdAt: now },
      ...{ lastUsedAt: undefined, counterFellAt: undefined },
    }
    const known = this.#state.read((database) => passkeysOf(database, subject)) ?? []
    if (known.length >= MAX_PASSKEYS) return refused('too-many-passkeys')
    return this.#enrol(subject, row.id, (database) => addPasskey(database, row))
  }

  /**
   * Makes new backup codes. Those before count no more.
   * @throws {GatewayError} `state-unavailable`
   */
  newBackupCodes(subject: string): Enrolled | Refused {
    const hasOther = this.#state.read((database) => hasPrimary(database, subject))
    if (hasOther !== true) return refused('not-enrolled')
    const { row, codes, digests } = this.#newBackupSet(subject)
    this.#state.write((database) => putBackupCodes(database, row, digests))
    return { isDone: true, factorId: row.id, backupCodes: codes }
  }

  /**
   * Removes an authenticator app or a passkey. The backup codes go with the last one.
   * @returns false when the person has no such factor
   * @throws {GatewayError} `state-unavailable`
   */
  remove(subject: string, factorId: string): boolean {
    const now = this.#now()
    let isRemoved = false
    this.#state.write((database) => {
      isRemoved =
        deleteTotp(database, subject, now, factorId) ||
        deletePasskeys(database, subject, now, factorId)
      if (!isRemoved || hasPrimary(database, subject)) return
      deleteBackupCodes(database, subject, now)
      forgetWrongCodes(database, subject)
    })
    this.load()
    return isRemoved
  }

  /**
   * Removes every factor of a person, who can then enrol again with a fresh sign-in. The caller ends their sessions.
   * @returns whether they had one, or may have lost one
   * @throws {GatewayError} `state-unavailable`
   */
  reset(subject: string): boolean {
    const wasEnrolled = this.isEnrolled(subject)
    const now = this.#now()
    this.#state.write((database) => {
      deleteTotp(database, subject, now)
      deletePasskeys(database, subject, now)
      deleteBackupCodes(database, subject, now)
      forgetWrongCodes(database, subject)
      putFactorReset(database, subject, now)
    })
    for (const table of [this.#challenges, this.#passkeySetUps, this.#totpDrafts])
      table.forget(subject)
    this.load()
    return wasEnrolled
  }

  /**
   * Ends the lock of a person's codes, by wrong codes or by a code that lies in the future.
   * @returns whether they were locked
   * @throws {GatewayError} `state-unavailable`
   */
  unlock(subject: string): boolean {
    const now = this.#now()
    let wasLocked = false
    this.#state.write((database) => {
      wasLocked = lockInForce(lockOf(database, subject), now) !== undefined
      forgetWrongCodes(database, subject)
      if (lowerLastStep(database, subject, newestStep(now))) wasLocked = true
    })
    return wasLocked
  }

  /** Encrypts every secret under the key that signs now, if its own is still known. Called at the start and when keys change. */
  rewrap(): void {
    const keys = this.#keys
    if (keys === undefined) return
    const isOld = ({ kid }: SealedSecret) => kid !== keys.signing.kid && keys.has(kid)
    const old = this.#state.read((database) => allSealed(database).filter(isOld)) ?? []
    if (old.length === 0) return
    this.#state.writeSurely((database) => {
      for (const one of allSealed(database).filter(isOld)) {
        const secret = unseal(keys, one, contextOf(one))
        if (typeof secret !== 'string')
          putSealed(database, one.table, one.id, seal(keys, secret, contextOf(one)))
      }
    })
  }

  #proveTotp(subject: string, code: string): Proven | Refused {
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
    const secret = this.#unseal('totp', totp)
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
        outcome = proven('totp', totp.id, TOTP_METHODS, now)
      }
    })
    return outcome
  }

  #proveBackupCode(subject: string, code: string): Proven | Refused {
    const now = this.#now()
    const set = this.#state.read((database) => backupSetOf(database, subject))
    if (set === undefined) return this.#noFactor(subject)
    const key = this.#unseal('backup_sets', set)
    if (typeof key === 'string') return refused(key)
    let isUsed: boolean | undefined
    this.#state.write((database) => {
      isUsed = useBackupCode(database, set.id, backupDigest(key, code), now)
      if (isUsed === true) this.#endClockLock(database, subject, now)
    })
    if (isUsed === true) return proven('backup-code', set.id, TOTP_METHODS, now)
    return refused(isUsed === undefined ? 'wrong-code' : 'code-used')
  }

  async #provePasskey(owner: Owned, response: unknown, purpose: string): Promise<Proven | Refused> {
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
      outcome = proven('passkey', id, isSynced ? SYNCED_METHODS : DEVICE_METHODS, now)
    })
    return outcome
  }

  /** Tells of a verdict, and returns it. */
  #told<Verdict extends Proven | Enrolled | Refused>(
    subject: string,
    factor: FactorEvent['factor'],
    { sessionId, client, purpose }: Shower & { readonly purpose?: string },
    verdict: Verdict,
  ): Verdict {
    const done = purpose === undefined ? 'added' : 'shown'
    this.#onEvent?.({
      ...{ subject, sessionId, client, factor, purpose },
      ...(verdict.isDone
        ? { what: done, factorId: verdict.factorId }
        : { what: 'refused', reason: verdict.reason, lockedUntil: verdict.lockedUntil }),
    })
    return verdict
  }

  /** Codes count again by the clock as it is, because the person has shown another factor. */
  #endClockLock(database: DatabaseSync, subject: string, now: number): void {
    const totp = totpOf(database, subject)
    if (totp !== undefined && isAhead(totp.lastStep, now))
      lowerLastStep(database, subject, newestStep(now))
  }

  /** Writes a new factor, and backup codes with it when the person has none. @param add whether it was added */
  #enrol(
    subject: string,
    factorId: string,
    add: (database: DatabaseSync) => boolean,
  ): Enrolled | Refused {
    const set = this.#newBackupSet(subject)
    let isAdded = false
    let isFirst = false
    this.#state.write((database) => {
      isAdded = add(database)
      isFirst = isAdded && backupSetOf(database, subject) === undefined
      if (isFirst) putBackupCodes(database, set.row, set.digests)
    })
    if (!isAdded) return refused('passkey-known')
    this.load()
    return { isDone: true, factorId, backupCodes: isFirst ? set.codes : undefined }
  }

  #newBackupSet(subject: string): {
    row: BackupSetRow
    codes: readonly string[]
    digests: readonly Buffer[]
  } {
    const { codes, key, digests } = makeBackupCodes()
    const id = newId('codes')
    const sealed = seal(this.#ring, key, contextOf({ table: 'backup_sets', id, subject }))
    return { row: { id, subject, createdAt: this.#now(), ...sealed }, codes, digests }
  }

  #keptOf(
    database: DatabaseSync,
    subject: string,
  ): Pick<Enrolment, 'totp' | 'passkeys' | 'backupCodes' | 'lockedUntil'> {
    const now = this.#now()
    const totp = totpOf(database, subject)
    const set = backupSetOf(database, subject)
    return {
      totp: totp === undefined ? undefined : this.#keptTotp(totp, now),
      passkeys: passkeysOf(database, subject).map(keptPasskey),
      backupCodes:
        set === undefined
          ? undefined
          : {
              createdAt: set.createdAt,
              left: countUnusedCodes(database, set.id),
              problem: this.#problemOf('backup_sets', set),
            },
      lockedUntil: lockInForce(lockOf(database, subject), now)?.until,
    }
  }

  #keptTotp(row: TotpRow, now: number): KeptTotp {
    const { id, createdAt, lastUsedAt, lastStep } = row
    const problem =
      this.#problemOf('totp', row) ?? (isAhead(lastStep, now) ? 'clock-behind' : undefined)
    return { id, createdAt, lastUsedAt, problem }
  }

  #problemOf(table: SealedTable, row: TotpRow | BackupSetRow): SealedProblem | undefined {
    if (this.#keys === undefined) return undefined // this process cannot know
    const secret = this.#unseal(table, row)
    return typeof secret === 'string' ? secret : undefined
  }

  #unseal(table: SealedTable, row: TotpRow | BackupSetRow): Buffer | SealedProblem {
    const { id, subject } = row
    return this.#keys === undefined
      ? 'factor-key-missing'
      : unseal(this.#keys, row, contextOf({ table, id, subject }))
  }

  #passkeysAt(subject: string, { host }: Site): readonly PasskeyRow[] {
    const all = this.#state.read((database) => passkeysOf(database, subject)) ?? []
    return all.filter(({ rpId }) => rpId === host)
  }

  #noFactor(subject: string): Refused {
    return refused(this.#isLost(subject) ? 'factor-unreadable' : 'not-enrolled')
  }

  #isLost(subject: string): boolean {
    if (!this.#isLoaded) return true
    return (
      this.#notLost !== undefined && !this.#notLost.has(subject) && !this.#enrolled.has(subject)
    )
  }

  get #ring(): KeyRing {
    if (this.#keys === undefined) throw new Error('there is no signing key')
    return this.#keys
  }
}

/** What a sealed secret belongs to. */
function contextOf({
  table,
  id,
  subject,
}: {
  readonly table: SealedTable
  readonly id: string
  readonly subject: string
}): string {
  return `${table}\0${id}\0${subject}`
}

/** Whether a person has a factor other than backup codes. */
function hasPrimary(database: DatabaseSync, subject: string): boolean {
  return totpOf(database, subject) !== undefined || passkeysOf(database, subject).length > 0
}

function keptPasskey(row: PasskeyRow): KeptPasskey {
  const { id, name, rpId, isSynced, createdAt, lastUsedAt, counterFellAt } = row
  return { id, name, rpId, isSynced, createdAt, lastUsedAt, counterFellAt }
}

/** A name without control characters. */
function nameOf(text: string, now: number): string {
  const name = text.replaceAll(/\p{C}/gu, ' ').trim().slice(0, MAX_NAME_LENGTH).toWellFormed()
  return name === '' ? `passkey of ${new Date(now).toISOString().slice(0, 10)}` : name
}

function newId(prefix: string): string {
  return `${prefix}_${randomBytes(12).toString('base64url')}`
}

function refused(reason: FactorRefusal): Refused {
  return { isDone: false, reason }
}

function proven(
  factor: FactorKind,
  factorId: string,
  methods: readonly string[],
  at: number,
): Proven {
  return { isDone: true, factor, factorId, methods, at }
}
