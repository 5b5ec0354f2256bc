/**
 * In which pieces is output sent on? What a person types is answered at once. A program that prints without a pause does so in pieces of
 * 4 KiB, each of which would cost this process, the gateway and the browser a turn of their own; such output is joined.
 */
import { FROM_TTYD } from '../protocol.ts'

/** So much output within {@link WINDOW_MS} is more than an answer to what somebody typed, in bytes. */
const BULK_BYTES = 16 * 1024
const WINDOW_MS = 16

/** How long output of such a program waits for more, in milliseconds: half of the time that a display shows a picture. */
const WAIT_MS = 8

/** The output goes on being joined while at least this much comes within {@link WAIT_MS}, in bytes. */
const STILL_BULK_BYTES = 8 * 1024

/** How much is joined at most, in bytes. */
const MAX_BATCH_BYTES = 64 * 1024

const OUTPUT = Buffer.of(FROM_TTYD.output)

/** Joins the output of one client. */
export class OutputBatch {
  readonly #elapsed: () => number
  readonly #write: (message: Buffer) => void
  #texts: Buffer[] = []
  #bytes = 0
  #timer: NodeJS.Timeout | undefined
  #windowBegan = -Infinity
  #windowBytes = 0
  #isBulkUntil = -Infinity

  /** @param write sends a message */
  constructor(elapsed: () => number, write: (message: Buffer) => void) {
    this.#elapsed = elapsed
    this.#write = write
  }

  /** Sends a message, at once or a moment later, and never before one that was sent earlier. */
  send(message: Buffer): void {
    const isJoined =
      message[0] === FROM_TTYD.output && message.length < MAX_BATCH_BYTES && this.#isBulk(message)
    if (isJoined) this.#add(message)
    else {
      this.flush()
      this.#write(message)
    }
  }

  /** Sends what waits. */
  flush(): void {
    const { length } = this.#texts
    if (length === 0) return
    if (this.#bytes >= STILL_BULK_BYTES) this.#isBulkUntil = this.#elapsed() + WAIT_MS
    const message = Buffer.concat([OUTPUT, ...this.#texts])
    this.drop()
    this.#write(message)
  }

  /** Forgets what waits. */
  drop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#texts = []
    this.#bytes = 0
  }

  #add(message: Buffer): void {
    if (this.#bytes + message.length > MAX_BATCH_BYTES) this.flush()
    this.#texts.push(message.subarray(1))
    this.#bytes += message.length
    this.#timer ??= setTimeout(() => this.flush(), WAIT_MS)
  }

  #isBulk({ length }: Buffer): boolean {
    if (this.#texts.length > 0) return true
    const now = this.#elapsed()
    if (now - this.#windowBegan > WINDOW_MS) {
      this.#windowBegan = now
      this.#windowBytes = 0
    }
    this.#windowBytes += length
    return this.#windowBytes > BULK_BYTES || now < this.#isBulkUntil
  }
}
