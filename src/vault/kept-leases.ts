/**
 * How does a lease live as long as a program? It is renewed before it ends, for 12 hours at most, and given back afterwards. The
 * token stays the same, because the program has read it already.
 */
import { renewLease, revokeLease, VaultNotReachedError, VaultRefusedError } from './agent-client.ts'
import { LONGEST_SECONDS, type LeaseAnswer } from './protocol.ts'

/** What is known when a lease cannot be used any longer. */
export type Ended = (service: string, why: string) => void

/** What may be replaced. */
export interface KeepOptions {
  readonly now?: () => number
  /** How long leases are renewed, in milliseconds. Default: 12 hours. */
  readonly longestMs?: number
}

/** The time before a lease is asked for again, when the vault does not answer, and the shortest time before a renewal (ms). */
const RETRY_MS = 10_000
const SHORTEST_MS = 100

/** The leases of one program. */
export class KeptLeases {
  readonly #socket: string
  readonly #onEnd: Ended
  readonly #now: () => number
  readonly #until: number
  /** By token. Undefined when it is not renewed any longer. */
  readonly #timers = new Map<string, NodeJS.Timeout | undefined>()
  #isOver = false

  constructor(socket: string, onEnd: Ended, options: KeepOptions = {}) {
    this.#socket = socket
    this.#onEnd = onEnd
    this.#now = options.now ?? Date.now
    this.#until = this.#now() + (options.longestMs ?? LONGEST_SECONDS * 1000)
  }

  /** Renews the lease from now on, and gives it back at the end. */
  keep(service: string, { token, expires_at: expiresAt }: LeaseAnswer): void {
    if (this.#isOver) return
    const left = Date.parse(expiresAt) - this.#now()
    this.#plan(service, { token, expiresAt: Date.parse(expiresAt) }, (left * 2) / 3)
  }

  /** Gives every lease back. One that the vault does not take back ends by itself within 15 minutes. */
  async close(): Promise<void> {
    this.#isOver = true
    for (const timer of this.#timers.values()) clearTimeout(timer)
    const tokens = [...this.#timers.keys()]
    await Promise.allSettled(tokens.map((token) => revokeLease(this.#socket, token)))
  }

  #plan(service: string, lease: { token: string; expiresAt: number }, inMs: number): void {
    const timer = setTimeout(() => void this.#renew(service, lease), Math.max(SHORTEST_MS, inMs))
    this.#timers.set(lease.token, timer)
  }

  async #renew(service: string, lease: { token: string; expiresAt: number }): Promise<void> {
    this.#timers.set(lease.token, undefined)
    if (this.#now() >= this.#until) {
      this.#onEnd(service, 'it was renewed for as long as it can be; start the program again')
      return
    }
    try {
      this.keep(service, await renewLease(this.#socket, lease.token))
    } catch (error) {
      if (!this.#isOver) this.#onFailure(service, lease, error)
    }
  }

  /** A vault that starts anew may answer later; a refusal stays one. */
  #onFailure(service: string, lease: { token: string; expiresAt: number }, error: unknown): void {
    const isKnown = error instanceof VaultRefusedError || error instanceof VaultNotReachedError
    const why = isKnown ? error.message : String(error)
    const mayComeBack = error instanceof VaultNotReachedError || isOverloaded(error)
    const left = lease.expiresAt - this.#now()
    if (mayComeBack && left > 0) this.#plan(service, lease, Math.min(RETRY_MS, left / 2))
    else this.#onEnd(service, why)
  }
}

function isOverloaded(error: unknown): boolean {
  return error instanceof VaultRefusedError && (error.status === 429 || error.status >= 500)
}
