/**
 * What goes through a channel? Records: a type, a length, a time, a body, and zeros up to one of a few sizes, so that the relay does not
 * learn how long a body is. All of it is encrypted.
 */
import { concat, readU16, readU32, u16, u32, type Bytes } from './bytes.ts'
import { MAX_MESSAGE_LENGTH, NoiseError, TAG_LENGTH } from './noise.ts'

/** The types of records. */
export const RECORD = {
  /** The first record of a device. Nothing that a device has sent counts before it. */
  ready: 0x01,
  /** The daemon's answer to it, see messages.ts. */
  welcome: 0x02,
  /** Sent when there is nothing to say, so that silence means that the other is gone. */
  ping: 0x03,
  /** The records that follow in this direction are under the next key. */
  rekey: 0x04,
  /** The last record: a code of {@link CHANNEL_CLOSE} and a sentence. */
  close: 0x05,
  /** The daemon tells a device of something, see messages.ts. */
  note: 0x06,
  /** A device opens a stream: its number. */
  open: 0x10,
  /** The number of a stream, and bytes of it. */
  data: 0x11,
  /** The number of a stream, and how many bytes more the other may send. */
  credit: 0x12,
  /** The number of a stream: the last byte was sent. */
  end: 0x13,
  /** The number of a stream: it is broken off, in both directions. */
  reset: 0x14,
} as const

/** A type of a record. */
export type RecordType = (typeof RECORD)[keyof typeof RECORD]

/** Which party we are. */
export type ChannelSide = 'device' | 'daemon'

/** The types that one party alone sends, and which. All others are for both. */
export const ONLY_FROM: Readonly<Partial<Record<RecordType, ChannelSide>>> = {
  [RECORD.welcome]: 'daemon',
  [RECORD.note]: 'daemon',
  [RECORD.ready]: 'device',
  [RECORD.open]: 'device',
}

/** Why a channel was closed: what the last record says. */
export const CHANNEL_CLOSE = {
  /** One of the two is done. */
  done: 0,
  /** A record broke a rule. */
  protocol: 1,
  /** The device is not listed any more. */
  revoked: 2,
  /** The channel is a day old: meet again. */
  renew: 3,
  /** The daemon stops. */
  restart: 4,
  /** The owner has refused the device, or has not approved it in time. */
  notApproved: 5,
} as const

/** A reason of {@link CHANNEL_CLOSE}. */
export type ChannelCloseReason = keyof typeof CHANNEL_CLOSE

/** A record, decrypted. */
export interface ChannelRecord {
  readonly type: RecordType
  readonly body: Bytes
}

/** A record as it came. */
export interface TimedRecord extends ChannelRecord {
  /** When it was sent, in milliseconds since the sender's channel began, by the sender's clock. Only the sender can lie about it. */
  readonly sentMs: number
}

/** The sizes of encrypted records, in bytes. The last is the longest message of Noise. */
export const RECORD_SIZES: readonly number[] = [64, 256, 1024, 4096, 16_384, MAX_MESSAGE_LENGTH]

/** Where the time stands: behind the type and the length. */
const TIME_AT = 3

const HEAD_LENGTH = TIME_AT + 4

/** The latest time that fits in a record: 49 days. A channel lasts for one. */
const MAX_SENT_MS = 0xffff_ffff

/** The longest body of a record, in bytes. */
export const MAX_BODY_LENGTH = MAX_MESSAGE_LENGTH - TAG_LENGTH - HEAD_LENGTH

const KNOWN_TYPES: ReadonlySet<number> = new Set(Object.values(RECORD))

/** The types whose body is empty. */
const EMPTY_TYPES: ReadonlySet<number> = new Set([RECORD.ready, RECORD.ping, RECORD.rekey])

/** How long an encrypted record is, in bytes. @param length of its body @throws {TypeError} for more than {@link MAX_BODY_LENGTH} */
export function recordSize(length: number): number {
  const size = RECORD_SIZES.find((each) => each >= HEAD_LENGTH + length + TAG_LENGTH)
  if (size === undefined) throw new TypeError('a record is too long')
  return size
}

/** How long a body can be in an encrypted record of at most so many bytes; negative when not even the smallest fits. */
export function longestBody(size: number): number {
  return (RECORD_SIZES.findLast((each) => each <= size) ?? 0) - HEAD_LENGTH - TAG_LENGTH
}

/** A record before it is encrypted, padded, its time 0: see {@link setSentMs}. @throws {TypeError} for a body of more than {@link MAX_BODY_LENGTH} */
export function encodeRecord(type: RecordType, body: Uint8Array): Bytes {
  const record = new Uint8Array(recordSize(body.length) - TAG_LENGTH)
  record.set(concat(Uint8Array.of(type), u16(body.length)))
  record.set(body, HEAD_LENGTH)
  return record
}

/**
 * Writes the time into a record, when it is about to be encrypted: what waits before that is not late.
 * @param record of {@link encodeRecord}
 * @param ms since the channel began, rounded down; 0 when it is less, and {@link MAX_SENT_MS} when it is more
 */
export function setSentMs(record: Bytes, ms: number): void {
  record.set(u32(Math.min(Math.max(Math.floor(ms), 0), MAX_SENT_MS)), TIME_AT)
}

/** Whether an encrypted record can have this length, in bytes. */
export function isRecordSize(length: number): boolean {
  return RECORD_SIZES.includes(length)
}

/**
 * Reads a decrypted record.
 * @param record as long as one of {@link RECORD_SIZES} without its tag
 * @throws {NoiseError} when it breaks a rule
 */
export function decodeRecord(record: Bytes): TimedRecord {
  const [type = 0] = record
  const length = readU16(record, 1)
  const end = HEAD_LENGTH + length
  if (!KNOWN_TYPES.has(type)) throw new NoiseError('a record is of a type that is not known here')
  if (end > record.length || !isZero(record.subarray(end)))
    throw new NoiseError('a record is not padded with zeros')
  if (recordSize(length) !== record.length + TAG_LENGTH)
    throw new NoiseError('a record is longer than its body needs')
  if (length > 0 && EMPTY_TYPES.has(type))
    throw new NoiseError('a record has a body that its type has not')
  const sentMs = readU32(record, TIME_AT)
  return { type: type as RecordType, body: record.slice(HEAD_LENGTH, end), sentMs }
}

function isZero(bytes: Bytes): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}
