/**
 * What becomes of one use? Its audit row is written before anything is dialled, it is ended when the lease is revoked, the agent
 * goes away or the service is too slow, and its completing row is written last.
 */
import { hostOf, newestOf } from '../policy.ts'
import type { Use } from '../use.ts'
import { VaultError, type VaultErrorCode } from '../vault-errors.ts'
import type { Parts } from './parts.ts'

/** Why a use was ended before its time: the lease was revoked, the agent went away, or the fault of the service. */
export type Cause = 'cut' | 'aborted' | VaultError

/** How a use ended, for the audit log. */
type Ending = 'done' | 'cut' | 'aborted' | 'failed' | VaultErrorCode

/** One use, from the door to the end of the answer. */
export class RunningUse {
  readonly use: Use
  readonly method: string
  readonly #parts: Parts
  readonly #ended = new AbortController()
  readonly #began: number
  #row: number | undefined
  #cause: Cause | undefined
  #timer: NodeJS.Timeout | undefined
  #isReflected = false
  /** The status of the answer; undefined while there is none. */
  status: number | undefined
  /** The bytes of the answer's body that were passed on. */
  bytes = 0

  constructor(parts: Parts, use: Use, method: string) {
    this.#parts = parts
    this.use = use
    this.method = method
    this.#began = parts.now()
    use.lease.revoked.addEventListener('abort', this.#cut)
    if (use.lease.revoked.aborted) this.#cut()
  }

  /** Fires when the use is ended before its time. */
  get signal(): AbortSignal {
    return this.#ended.signal
  }

  /** Why it was ended before its time; undefined unless it was. */
  get cause(): Cause | undefined {
    return this.#cause
  }

  readonly #cut = (): void => this.end('cut')

  /** Ends the use before its time. The first cause counts. */
  end(cause: Cause): void {
    if (this.#cause !== undefined) return
    this.#cause = cause
    this.#ended.abort()
  }

  /** @throws {VaultError} when the use was ended already */
  refuseIfEnded(): void {
    if (this.#cause === undefined) return
    throw this.#cause instanceof VaultError ? this.#cause : leaseRevoked()
  }

  /** Writes the row of the use. @throws {VaultError} `audit-unavailable`, and then nothing may be dialled */
  async begin(): Promise<void> {
    this.#row = await this.#write({
      op: 'use',
      version: newestOf(this.use.entry).version,
      ...this.#facts(),
    })
    this.refuseIfEnded()
  }

  /** Ends the use unless something happens within this time. Replaces an earlier limit. */
  expect(what: 'connection' | 'answer' | 'more', ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.end(new VaultError('service-timeout', `no ${what} within ${ms / 1000} s`))
    }, ms)
  }

  /** Something happened: the time begins again. */
  touch(): void {
    this.#timer?.refresh()
  }

  /** Notes that the answer contains the credential. It is called any number of times and counts once. */
  reflected(): void {
    if (this.#isReflected) return
    this.#isReflected = true
    const { logger, onReflected } = this.#parts
    const { entry, agent } = this.use
    const { service } = entry.policy
    logger.warn({ service, agent }, 'a service repeated its credential, which was masked')
    void this.#write({ op: 'reflected', of: this.#row, ...this.#facts() }).catch(() =>
      logger.error({ service }, 'the audit row of a repeated credential could not be written'),
    )
    onReflected(entry)
  }

  /**
   * Writes the completing row, or notes a denial when the use has no row, so that nothing was dialled. Never throws. The row is in the
   * file afterwards, and nobody waits until it is on the disk.
   */
  complete(ending: Ending): void {
    clearTimeout(this.#timer)
    this.use.lease.revoked.removeEventListener('abort', this.#cut)
    const facts = { ...this.#facts(), reason: ending }
    if (this.#row === undefined) {
      this.#parts.denials.note(facts)
      return
    }
    const { status, bytes } = this
    const ms = this.#parts.now() - this.#began
    this.#parts.audit
      .writeLater({ op: 'use', of: this.#row, status, bytes, ms, ...facts })
      .catch(() => {
        const { service } = this.use.entry.policy
        this.#parts.logger.error({ service, ending }, 'the end of a use could not be audited')
      })
  }

  #facts() {
    const { agent, entry, lease, path } = this.use
    const { id, policy } = entry
    const { service } = policy
    const facts = { agent, service, entry: id, lease: lease.shortHash, host: hostOf(policy) }
    return { ...facts, method: this.method, path }
  }

  async #write(facts: Parameters<Parts['audit']['writeSoon']>[0]): Promise<number> {
    try {
      return await this.#parts.audit.writeSoon(facts)
    } catch (error) {
      if (error instanceof VaultError) throw error
      throw new VaultError('audit-unavailable', 'the audit log cannot be written', { cause: error })
    }
  }
}

/** The refusal of a use whose lease was revoked before its answer began. */
export function leaseRevoked(): VaultError {
  return new VaultError('lease-revoked', 'the lease was revoked while the request was running')
}
