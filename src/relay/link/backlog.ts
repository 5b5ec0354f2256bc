/**
 * How much may wait in the link, for targets that do not read and for devices that do not? One sum for all channels, because each alone
 * may keep megabytes, and a stolen device opens what it can. When it is too much, the channel that keeps most is closed.
 */

/** What may wait altogether, in bytes: eight channels with every stream held up in both directions. */
const MAX_BYTES = 128 * 1024 * 1024

/** What a piece takes beside its bytes, in bytes: its buffer, its place in two queues, and who is told of it. */
const PIECE_BYTES = 640

/** What waits in all channels. */
export class Backlog {
  readonly #limit: number
  readonly #shares = new Set<BacklogShare>()
  #total = 0

  /** @param limit in bytes. Default: 128 MiB. */
  constructor(limit: number = MAX_BYTES) {
    this.#limit = limit
  }

  /** The part of one channel. @param shed closes the channel. It is called once at most, and the part has ended then. */
  share(shed: () => void): BacklogShare {
    const share: BacklogShare = new BacklogShare(
      (change) => {
        this.#total += change
        if (change > 0 && this.#total > this.#limit) this.#shedLargest()
      },
      shed,
      () => this.#shares.delete(share),
    )
    this.#shares.add(share)
    return share
  }

  #shedLargest(): void {
    let largest: BacklogShare | undefined
    for (const share of this.#shares)
      if (largest === undefined || share.bytes > largest.bytes) largest = share
    largest?.shed()
  }
}

/** What waits in one channel. */
export class BacklogShare {
  readonly #changed: (change: number) => void
  readonly #shed: () => void
  readonly #forget: () => void
  #bytes = 0
  #hasEnded = false

  /** Made by {@link Backlog.share}. */
  constructor(changed: (change: number) => void, shed: () => void, forget: () => void) {
    this.#changed = changed
    this.#shed = shed
    this.#forget = forget
  }

  /** How much waits. */
  get bytes(): number {
    return this.#bytes
  }

  /** More waits. @param bytes of one piece @returns says that it waits no longer; call it once */
  add(bytes: number): () => void {
    const cost = bytes + PIECE_BYTES
    this.#change(cost)
    return () => this.#change(-cost)
  }

  /** Closes the channel. */
  shed(): void {
    this.end()
    this.#shed()
  }

  /** The channel has ended: what waits in it goes with it. */
  end(): void {
    if (this.#hasEnded) return
    this.#change(-this.#bytes)
    this.#hasEnded = true
    this.#forget()
  }

  #change(bytes: number): void {
    if (this.#hasEnded) return
    this.#bytes += bytes
    this.#changed(bytes)
  }
}
