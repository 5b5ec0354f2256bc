/** Where do a WebSocket frame and a message end? FrameFollower reads frame headers only (RFC 6455 section 5.2), never payloads. */

/** The sender of the frames: a client must mask them, a server must not. */
export type FrameSender = 'client' | 'server'

const CLOSE = 0x8

/**
 * Where {@link FrameFollower.follow} stops. `frame`: at the end of the current frame. `message`: at the end of the current
 * message, which has several frames when it is fragmented, or before a close frame, which ends the connection.
 */
export type StopAt = 'frame' | 'message'

/**
 * Tracks the frame boundaries of one direction, in chunks of any size. It rejects bytes that are not legal frames, so an HTTP
 * request that is smuggled behind an upgrade ends the connection and never reaches a service (CVE-2026-130647).
 */
export class FrameFollower {
  readonly #masked: boolean
  /** How many bytes of an incomplete header have come: 2, then up to 8 of a longer length, then 4 of a mask. */
  #headerBytes = 0
  // Numbers and no buffer for the header: two buffers would be half a kilobyte more for each open WebSocket.
  #first = 0
  #second = 0
  #length = 0
  #payloadLeft = 0
  /**
   * Whether no message may be inserted: one has begun and its last frame has not come, with control frames in between (RFC 6455
   * section 5.4), or a close frame has come, after which nothing is sent.
   */
  #isInMessage = false
  #broken = false

  constructor(sender: FrameSender) {
    this.#masked = sender === 'client'
  }

  /** Whether no frame is incomplete. Only then can the gateway insert a control frame of its own. */
  get atBoundary(): boolean {
    return this.#headerBytes === 0 && this.#payloadLeft === 0 && !this.#broken
  }

  /** Whether no message is incomplete either. Only then can the gateway insert a message of its own. */
  get isBetweenMessages(): boolean {
    return this.atBoundary && !this.#isInMessage
  }

  /**
   * Reads the next bytes.
   * @param stopAt where to stop reading; reads nothing when the follower is there already
   * @returns the number of bytes read, or -1 when they are not legal frames: then relay nothing more
   */
  follow(chunk: Uint8Array, stopAt?: StopAt): number {
    let at = 0
    while (at < chunk.length) {
      if (stopAt !== undefined && this.#isAtStop(stopAt, chunk[at])) return at
      if (this.#payloadLeft > 0) {
        const skipped = Math.min(this.#payloadLeft, chunk.length - at)
        this.#payloadLeft -= skipped
        at += skipped
      } else {
        this.#readHeader(chunk[at++] ?? 0)
      }
      if (this.#broken) return -1
    }
    return at
  }

  #isAtStop(stopAt: StopAt, next = 0): boolean {
    if (stopAt === 'frame' || (next & 0x0f) === CLOSE) return this.atBoundary
    return this.isBetweenMessages
  }

  #readHeader(byte: number): void {
    const at = this.#headerBytes++
    if (at === 0) {
      this.#first = byte
      return
    }
    if (at === 1) {
      this.#second = byte
      this.#length = 0
    }
    const first = this.#first
    const length7 = this.#second & 0x7f
    const isMasked = this.#second >= 0x80
    if (at === 1 && !isLegal(first, length7, isMasked, this.#masked)) {
      this.#broken = true
      return
    }
    const lengthEnd = 2 + (length7 === 127 ? 8 : length7 === 126 ? 2 : 0)
    if (at > 1 && at < lengthEnd) this.#length = this.#length * 256 + byte
    if (this.#headerBytes < lengthEnd + (isMasked ? 4 : 0)) return
    const length = length7 < 126 ? length7 : this.#length
    this.#headerBytes = 0
    this.#payloadLeft = length
    if (!isControl(first)) this.#isInMessage = (first & 0x80) === 0
    else if ((first & 0x0f) === CLOSE) this.#isInMessage = true
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
  return !isControl(first) || ((first & 0x80) !== 0 && length7 <= 125)
}

/** @param first the first byte of a frame */
function isControl(first: number): boolean {
  return (first & 0x08) !== 0
}

/** Builds a binary message as a server sends it, in one frame. With permessage-deflate it is legal too: not every message must be compressed (RFC 7692 section 6). */
export function binaryMessage(payload: Buffer): Buffer {
  const { length } = payload
  if (length < 126) return Buffer.concat([Buffer.from([0x82, length]), payload])
  if (length > 0xffff) throw new Error('a message of the gateway has at most 65,535 bytes')
  return Buffer.concat([Buffer.from([0x82, 126, length >> 8, length & 0xff]), payload])
}

/** Builds a close frame (RFC 6455 section 5.5.1). @param mask required towards a service, where the gateway is the client */
export function closeFrame(code: number, reason: string, mask?: Uint8Array): Buffer {
  const payload = Buffer.concat([
    Buffer.from([code >> 8, code & 0xff]),
    Buffer.from(reason),
  ]).subarray(0, 125)
  if (mask === undefined) return Buffer.concat([Buffer.from([0x88, payload.length]), payload])
  const masked = payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0))
  return Buffer.concat([Buffer.from([0x88, 0x80 | payload.length]), mask, masked])
}
