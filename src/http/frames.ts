/** Where does one WebSocket frame end and the next begin? Boundaries only (RFC 6455 section 5.2); contents are not read. */

/** Who sends the frames: a client masks them, a server does not. */
export type FrameSender = 'client' | 'server'

/** Frame header bytes are at most: 2, 8 for a 64-bit length, 4 for the mask. */
const MAX_HEADER_BYTES = 14

/**
 * Follows the frames of one direction as they pass in chunks of any size. It refuses what no peer can send in good
 * faith, above all bytes that are no frames: an HTTP request smuggled behind an upgrade ends the connection instead of
 * reaching a service (CVE-2026-130647).
 */
export class FrameFollower {
  readonly #masked: boolean
  readonly #header = Buffer.alloc(MAX_HEADER_BYTES)
  #headerBytes = 0
  #payloadLeft = 0
  #broken = false

  constructor(sender: FrameSender) {
    this.#masked = sender === 'client'
  }

  /** Whether the last byte seen was the last of a frame, so that a frame of ours may follow. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0 && this.#payloadLeft === 0 && !this.#broken
  }

  /**
   * Takes the next bytes.
   * @param stopAtBoundary take no more than the rest of the frame that is under way: nothing when there is none
   * @returns how many bytes were taken, or -1 when they are no legal frames: nothing may be relayed after that
   */
  follow(chunk: Uint8Array, stopAtBoundary = false): number {
    let at = 0
    while (at < chunk.length) {
      if (stopAtBoundary && this.atBoundary) return at
      if (this.#payloadLeft > 0) {
        const skipped = Math.min(this.#payloadLeft, chunk.length - at)
        this.#payloadLeft -= skipped
        at += skipped
      } else {
        this.#header[this.#headerBytes++] = chunk[at++] ?? 0
        this.#readHeader()
      }
      if (this.#broken) return -1
    }
    return at
  }

  #readHeader(): void {
    const [first = 0, second = 0] = this.#header
    if (this.#headerBytes < 2) return
    const isMasked = (second & 0x80) !== 0
    const length7 = second & 0x7f
    if (this.#headerBytes === 2 && !isLegal(first, length7, isMasked, this.#masked)) {
      this.#broken = true
      return
    }
    const lengthBytes = length7 === 127 ? 8 : length7 === 126 ? 2 : 0
    if (this.#headerBytes < 2 + lengthBytes + (isMasked ? 4 : 0)) return
    const length =
      lengthBytes === 8
        ? Number(this.#header.readBigUInt64BE(2))
        : lengthBytes === 2
          ? this.#header.readUInt16BE(2)
          : length7
    this.#headerBytes = 0
    this.#payloadLeft = length
    if (!Number.isSafeInteger(length)) this.#broken = true
  }
}

function isLegal(
  first: number,
  length7: number,
  isMasked: boolean,
  mustBeMasked: boolean,
): boolean {
  const opcode = first & 0x0f
  if (isMasked !== mustBeMasked) return false
  if ((opcode > 0x2 && opcode < 0x8) || opcode > 0xa) return false
  const isControl = opcode >= 0x8
  return !isControl || ((first & 0x80) !== 0 && length7 <= 125)
}

/** A close frame (RFC 6455 section 5.5.1). @param mask needed towards a service, since the gateway is its client there */
export function closeFrame(code: number, reason: string, mask?: Uint8Array): Buffer {
  const payload = Buffer.concat([
    Buffer.from([code >> 8, code & 0xff]),
    Buffer.from(reason),
  ]).subarray(0, 125)
  if (mask === undefined) return Buffer.concat([Buffer.from([0x88, payload.length]), payload])
  const masked = payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0))
  return Buffer.concat([Buffer.from([0x88, 0x80 | payload.length]), mask, masked])
}
