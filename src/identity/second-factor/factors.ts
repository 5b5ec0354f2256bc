/**
 * The second factors of a workspace: who has one, and how are they set up, shown and removed? The state file keeps them; what is
 * shown is judged by proofs.ts, what a person has is read by kept-factors.ts.
 */
import { randomBytes } from 'node:crypto'
import type { DatabaseSync } from 'node:sqlite'
import { forgetWrongCodes, lockOf } from '../../store/factor-locks.ts'
import {
  addPasskey,
  backupSetOf,
  deleteBackupCodes,
  deletePasskeys,
  deleteTotp,
  enrolledSubjects,
  lostFactors,
  lowerLastStep,
  passkeysOf,
  putBackupCodes,
  putFactorReset,
  putTotp,
  type BackupSetRow,
  type PasskeyRow,
  type TotpRow,
} from '../../store/factor-rows.ts'
import type { State } from '../../store/state.ts'
import type { KeyRing } from '../key-ring.ts'
import { backupCodeIn, makeBackupCodes } from './backup-codes.ts'
import { hasPrimary, keptFactors, NO_KEPT_FACTORS, type Enrolment } from './kept-factors.ts'
import { lockInForce } from './lock-out.ts'
import type { Site } from './passkeys.ts'
import { CHALLENGE_MS, Pending, type Owned } from './pending.ts'
import { FactorProofs } from './proofs.ts'
import { rewrapRows, sealRow } from './sealed-rows.ts'
import {
  matchingSteps,
  newestStep,
  newTotpSecret,
  setUpOf,
  totpCodeIn,
  type TotpSetUp,
} from './totp.ts'
import {
  refused,
  type Enrolled,
  type FactorEvent,
  type FactorProof,
  type Proven,
  type Refused,
} from './verdicts.ts'

/** Who enrols. */
export interface Enroller {
  readonly sessionId: string
  /** Whether the person has shown a factor for this enrolment. Without it, only a first factor can be enrolled. */
  readonly hasProof: boolean
}

/** Who shows or adds a factor, and from where. */
interface Shower {
  readonly sessionId: string
  /** The client's address, for the log. */
  readonly client?: string | undefined
}

/** A passkey that a browser has made. */
interface MadePasskey {
  readonly response: unknown
  readonly name: string
  readonly hasEnded: () => boolean
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

/** How long an authenticator app can be set up, in milliseconds: 10 minutes. */
const SET_UP_MS = 600_000

/** How many wrong codes end the set-up of an authenticator app. */
const SET_UP_TRIES = 5

/** How many passkeys a person can have. */
export const MAX_PASSKEYS = 20

/** The longest name of a passkey, in characters. */
const MAX_NAME_LENGTH = 64

/** What is begun and waits for its confirmation. */
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
  readonly #proofs: FactorProofs
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
    this.#proofs = new FactorProofs({
      ...{ state, keys, now, monotonic },
      isLost: (subject) => this.#isLost(subject),
    })
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
    const kept = this.#state.read((database) =>
      keptFactors(database, subject, this.#keys, this.#now()),
    )
    return { subject, isLost: isLost || kept === undefined, ...(kept ?? NO_KEPT_FACTORS) }
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
      const verdict = await this.#proofs.byPasskey({ subject, sessionId }, proof.response, purpose)
      return this.#told(subject, 'passkey', about, verdict)
    }
    const code = totpCodeIn(proof.code)
    if (code !== undefined)
      return this.#told(subject, 'totp', about, this.#proofs.byTotp(subject, code))
    const backupCode = backupCodeIn(proof.code)
    return backupCode === undefined
      ? this.#told(subject, 'code', about, refused('malformed-code'))
      : this.#told(subject, 'backup-code', about, this.#proofs.byBackupCode(subject, backupCode))
  }

  /**
   * A challenge for a passkey of a person: the options for `navigator.credentials.get()`, as JSON.
   * @param purpose for what the passkey will be shown
   * @returns undefined when the person has no passkey for this site
   */
  challenge(
    subject: string,
    about: { readonly sessionId: string; readonly site: Site; readonly purpose: string },
  ): Promise<object | undefined> {
    return this.#proofs.challenge(subject, about)
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
      ...sealRow(this.#ring, 'totp', { id, subject }, draft.secret),
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
   * @param hasEnded whether the session has ended since the request came
   * @throws {GatewayError} `state-unavailable`
   */
  async confirmPasskey(subject: string, made: Shower & MadePasskey): Promise<Enrolled | Refused> {
    return this.#told(subject, 'passkey', made, await this.#confirmPasskey(subject, made))
  }

  async #confirmPasskey(
    subject: string,
    { sessionId, response, name, hasEnded }: Shower & MadePasskey,
  ): Promise<Enrolled | Refused> {
    const { challengeIn, verifiedPasskey } = await import('./passkeys.ts')
    const challenge = challengeIn(response)
    if (challenge === undefined) return refused('passkey-invalid')
    const owner = { subject, sessionId }
    const begun = this.#passkeySetUps.find(challenge, owner)
    if (begun === undefined) return refused('enrolment-gone')
    const passkey = await verifiedPasskey(response, challenge, begun.site)
    // Here nothing waits any more, so that of two first enrolments at once only one is the first. It is taken only now, because
    // a reset or the end of the session meanwhile must not be followed by a passkey of whoever was to be shut out.
    const setUp = this.#passkeySetUps.take(challenge, owner)
    if (setUp === undefined || hasEnded()) return refused('enrolment-gone')
    if (passkey === undefined) return refused('passkey-invalid')
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
    for (const table of [this.#proofs, this.#passkeySetUps, this.#totpDrafts]) table.forget(subject)
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
    if (this.#keys !== undefined) rewrapRows(this.#state, this.#keys)
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
    const sealed = sealRow(this.#ring, 'backup_sets', { id, subject }, key)
    return { row: { id, subject, createdAt: this.#now(), ...sealed }, codes, digests }
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

/** A name without control characters. */
function nameOf(text: string, now: number): string {
  const name = text.replaceAll(/\p{C}/gu, ' ').trim().slice(0, MAX_NAME_LENGTH).toWellFormed()
  return name === '' ? `passkey of ${new Date(now).toISOString().slice(0, 10)}` : name
}

function newId(prefix: string): string {
  return `${prefix}_${randomBytes(12).toString('base64url')}`
}
