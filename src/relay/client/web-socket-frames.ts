/** What are the frames of a WebSocket, as its client writes and reads them? Those of RFC 6455 section 5, without extensions. */
import { concat, randomBytes, readU16, readU32, u16, u32, type Bytes } from '../protocol/bytes.ts'
import type { StreamReader } from './stream-reader.ts'

/** The opcodes of RFC 6455 section 5.2. */
export const OPCODE = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const

/** One frame as it was received. */
export interface Frame {
  readonly isLast: boolean
  readonly opcode: number
  readonly payload: Bytes
}

/** The error of frames that break a rule. Its code is for the close frame. */
export class FrameError extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

/** Close codes of RFC 6455 section 7.4.1. */
export const CLOSE = {
  normal: 1000,
  /** A frame broke a rule. */
  protocol: 1002,
  /** The other party has given no code. Never sent. */
  none: 1005,
  /** The connection ended without a close frame. Never sent. */
  abnormal: 1006,
  /** A text that is not UTF-8. */
  notText: 1007,
  tooLong: 1009,
} as const

const FIN = 0x80
const MASKED = 0x80
const LENGTH_16 = 126
const LENGTH_64 = 127

/** The longest payload of a control frame, in bytes. */
export const MAX_CONTROL_BYTES = 125

/** A frame with a whole message, masked with a new key as every frame of a client (section 5.3). */
export function encodeFrame(opcode: number, payload: Uint8Array): Bytes {
  const key = randomBytes(4)
  const masked = payload.map((byte, i) => byte ^ (key[i & 3] ?? 0))
  return concat(Uint8Array.of(FIN | opcode), lengthField(payload.length), key, masked)
}

function lengthField(length: number): Bytes {
  if (length < LENGTH_16) return Uint8Array.of(MASKED | length)
  if (length <= 0xffff) return concat(Uint8Array.of(MASKED | LENGTH_16), u16(length))
  return concat(Uint8Array.of(MASKED | LENGTH_64), u32(0), u32(length))
}

/**
 * Reads one frame of a server; undefined when the stream ends before one.
 * @param max the longest payload, in bytes
 * @throws {FrameError} for a frame that breaks a rule, or is too long
 * @throws {RemoteError} `bad-answer`, `cut` when the stream ends within one
 */
export async function readFrame(reader: StreamReader, max: number): Promise<Frame | undefined> {
  const start = await reader.upTo(1)
  if (start === undefined) return undefined
  const [first = 0, second = 0] = concat(start, await reader.exactly(1))
  const opcode = first & 0x0f
  if ((first & 0x70) !== 0) throw new FrameError(CLOSE.protocol, 'a frame has a reserved bit')
  if (!KNOWN.has(opcode)) throw new FrameError(CLOSE.protocol, 'a frame has an unknown opcode')
  if ((second & MASKED) !== 0) throw new FrameError(CLOSE.protocol, 'a server masks its frames')
  const isLast = (first & FIN) !== 0
  const isControl = opcode >= OPCODE.close
  const length = await readLength(reader, second)
  if (isControl && (!isLast || length > MAX_CONTROL_BYTES))
    throw new FrameError(CLOSE.protocol, 'a control frame is in pieces, or too long')
  if (!isControl && length > max) throw new FrameError(CLOSE.tooLong, 'a message is too long')
  return { isLast, opcode, payload: await reader.exactly(length) }
}

const KNOWN: ReadonlySet<number> = new Set(Object.values(OPCODE))

/** The length of a payload, which must be written in as few bytes as it can be. */
async function readLength(reader: StreamReader, second: number): Promise<number> {
  const short = second & 0x7f
  if (short < LENGTH_16) return short
  const isShortest = (length: number, least: number): number => {
    if (length < least) throw new FrameError(CLOSE.protocol, 'a length is not the shortest')
    return length
  }
  if (short === LENGTH_16) return isShortest(readU16(await reader.exactly(2), 0), LENGTH_16)
  const bytes = await reader.exactly(8)
  if (readU32(bytes, 0) !== 0) throw new FrameError(CLOSE.tooLong, 'a message is too long')
  return isShortest(readU32(bytes, 4), 0x1_0000)
}
