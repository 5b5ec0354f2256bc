/**
 * How do device and daemon begin? The device writes a first message, for the holder of the daemon's key alone; the daemon answers with a
 * second. Nothing is negotiated in clear: what both must agree on is in the prologue, and a difference ends the handshake.
 */
import { concat, sha256, toBase64Url, u16, utf8, type Bytes } from './bytes.ts'
import {
  KEY_LENGTH,
  NoiseError,
  NoiseHandshake,
  TAG_LENGTH,
  type NoiseKeyPair,
  type NoiseResult,
} from './noise.ts'
import { offerHash, PROTOCOL_VERSIONS, type Offer } from './offer.ts'

/** What the parties meet for: to pair by an offer, or as those who were paired before. */
export type Purpose =
  | { readonly kind: 'pair'; readonly offer: Offer }
  | { readonly kind: 'session'; readonly place: Bytes }

/** What a device says of itself in its first message. Without forward secrecy: whoever learns the daemon's key later can read it. */
export interface DeviceHello {
  /** A page of a browser, or `workspace-gateway remote`. */
  readonly kind: 'page' | 'command'
  /** What the owner sees: see {@link isDeviceName}. */
  readonly name: string
}

/** A handshake that is over. The other party is known, but may still be a replay until its first record was decrypted. */
export interface Met extends NoiseResult {
  /** The static key of the other party. */
  readonly theirKey: Bytes
}

/** The longest name of a device, in bytes. */
export const MAX_NAME_BYTES = 64

/** What {@link isDeviceName} wants, for messages. */
export const NAME_RULE = `1 to ${MAX_NAME_BYTES} bytes of characters that can be seen, and single spaces between them`

/**
 * An emoji, or a character that nobody sees: marks of format and direction, what Unicode says to ignore where it is not supported, halves
 * of characters, and the braille cell without dots. An emoji may be made of such characters too, in the sequences that Unicode recommends
 * (Unicode Technical Standard 51, RGI) and no others.
 */
const EMOJI_OR_UNSEEN = /(\p{RGI_Emoji})|[\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800]/gv

/** Bytes of the first message: always the same, so that it tells nothing. */
export const FIRST_MESSAGE_LENGTH = KEY_LENGTH + (KEY_LENGTH + TAG_LENGTH) + (96 + TAG_LENGTH)

/** Bytes of the second message. */
export const SECOND_MESSAGE_LENGTH = KEY_LENGTH + TAG_LENGTH

const HELLO_LENGTH = 96
const KINDS = ['page', 'command'] as const
const NONE = new Uint8Array(0)

async function prologueOf(purpose: Purpose): Promise<Bytes> {
  const versions = Uint8Array.of(PROTOCOL_VERSIONS.length, ...PROTOCOL_VERSIONS)
  const isPairing = purpose.kind === 'pair'
  return concat(
    utf8('workspace-gateway relay'),
    versions, // the daemon's
    versions, // the device's: a party of another release puts its own list here, and the other's as it believes it to be
    Uint8Array.of(isPairing ? 1 : 2),
    isPairing ? purpose.offer.place : purpose.place,
    isPairing ? await offerHash(purpose.offer) : new Uint8Array(32),
  )
}

function pskOf(purpose: Purpose): { pattern: 'IK' } | { pattern: 'IKpsk1'; psk: Bytes } {
  return purpose.kind === 'pair' ? { pattern: 'IKpsk1', psk: purpose.offer.psk } : { pattern: 'IK' }
}

/** A device that waits for the daemon's message. */
export interface BegunHandshake {
  readonly first: Bytes
  /** @throws {NoiseError} when the message is not the daemon's answer to the first */
  readonly finish: (second: Bytes) => Promise<Met>
}

/** Begins as the device. */
export async function beginHandshake(options: {
  readonly purpose: Purpose
  readonly own: NoiseKeyPair
  readonly daemonKey: Bytes
  readonly hello: DeviceHello
}): Promise<BegunHandshake> {
  const { purpose, own, daemonKey, hello } = options
  const prologue = await prologueOf(purpose)
  const noise = await NoiseHandshake.begin({
    ...pskOf(purpose),
    ...{ prologue, own, responderKey: daemonKey },
  })
  const first = await noise.write(encodeHello(hello))
  const finish = async (second: Bytes): Promise<Met> => {
    if (second.length !== SECOND_MESSAGE_LENGTH)
      throw new NoiseError('the second message has another length')
    await noise.read(second)
    return { ...(await noise.split()), theirKey: daemonKey }
  }
  return { first, finish }
}

/** A daemon that has read the first message. */
export interface ReadHandshake {
  /** The static key that the device has shown. */
  readonly deviceKey: Bytes
  readonly hello: DeviceHello
  /** Writes the second message. */
  readonly answer: () => Promise<{ readonly second: Bytes; readonly met: Met }>
}

/** Reads the first message as the daemon. @throws {NoiseError} when it is not for this daemon and this purpose */
export async function readHandshake(options: {
  readonly purpose: Purpose
  readonly own: NoiseKeyPair
  readonly first: Bytes
}): Promise<ReadHandshake> {
  const { purpose, own, first } = options
  if (first.length !== FIRST_MESSAGE_LENGTH)
    throw new NoiseError('the first message has another length')
  const prologue = await prologueOf(purpose)
  const noise = await NoiseHandshake.begin({ ...pskOf(purpose), prologue, own })
  const hello = decodeHello(await noise.read(first))
  const deviceKey = noise.theirStaticKey ?? NONE
  const answer = async () => {
    const second = await noise.write(NONE)
    return { second, met: { ...(await noise.split()), theirKey: deviceKey } }
  }
  return { deviceKey, hello, answer }
}

/** The name of a device for programs: 22 characters, of its key. */
export async function deviceId(deviceKey: Bytes): Promise<string> {
  return toBase64Url((await sha256(utf8('workspace-gateway device'), deviceKey)).slice(0, 16))
}

/** Six digits that daemon and device both show, so that the owner knows which of several devices waits for approval. */
export function comparisonCode(handshakeHash: Bytes): string {
  const number = new DataView(handshakeHash.buffer, handshakeHash.byteOffset).getUint32(0)
  const digits = String(number % 1_000_000).padStart(6, '0')
  return `${digits.slice(0, 3)} ${digits.slice(3)}`
}

/**
 * Whether a device can have this name: {@link NAME_RULE}. The owner decides by it, so it has nothing that a terminal obeys, that changes
 * how the text around it is shown, or that nobody sees: two names that look the same would be different ones.
 */
export function isDeviceName(name: string): boolean {
  return deviceNameIn(name) === name
}

/** What a text has of a name that a device can have, cut where it is too long; undefined when nothing of it can be seen. */
export function deviceNameIn(text: string): string | undefined {
  const name = fitting(text)
    .replaceAll(EMOJI_OR_UNSEEN, '$1')
    .replaceAll(/[\p{Cc}\p{Z}]+/gu, ' ')
    .trim()
  return /[\p{L}\p{N}\p{P}\p{S}]/u.test(name) ? name : undefined
}

/** As many characters as {@link MAX_NAME_BYTES} has room for. */
function fitting(text: string): string {
  let fit = ''
  let size = 0
  for (const character of text) {
    size += utf8(character).length
    if (size > MAX_NAME_BYTES) break
    fit += character
  }
  return fit
}

function encodeHello({ kind, name }: DeviceHello): Bytes {
  if (!isDeviceName(name)) throw new TypeError('a device cannot have this name')
  const bytes = utf8(name)
  const head = concat(Uint8Array.of(KINDS.indexOf(kind)), u16(bytes.length), bytes)
  return concat(head, new Uint8Array(HELLO_LENGTH - head.length))
}

function decodeHello(bytes: Bytes): DeviceHello {
  const [kind = 0, , length = 0] = bytes
  const known = KINDS[kind]
  const isPadded = bytes.subarray(3 + length).every((byte) => byte === 0)
  if (bytes.length !== HELLO_LENGTH || known === undefined || !isPadded || bytes[1] !== 0)
    throw new NoiseError('a device says something that is not known here')
  const name = textOf(bytes.subarray(3, 3 + length))
  if (!isDeviceName(name)) throw new NoiseError('a device has a name that it cannot have')
  return { kind: known, name }
}

function textOf(bytes: Bytes): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new NoiseError('the name of a device is no text', { cause })
  }
}
