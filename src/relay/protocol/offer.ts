/** What does a pairing link say? The daemon's key, a secret to prove that one has seen the link, and where to meet the daemon. */
import { concat, readU32, sha256, u32, utf8, type Bytes } from './bytes.ts'
import { PLACE_ID_LENGTH } from './places.ts'

/** The versions of the protocol that this release speaks, the best first. Both parties' lists are part of every handshake. */
export const PROTOCOL_VERSIONS: readonly number[] = [1]

/** What a link offers, to whoever uses it first. */
export interface Offer {
  /** The version of the protocol, 1. */
  readonly version: number
  /** Whether the device needs no approval by the owner. */
  readonly isApproved: boolean
  /** The daemon's static public key, 32 bytes. */
  readonly daemonKey: Bytes
  /** The pre-shared key of `IKpsk1`, 32 bytes. */
  readonly psk: Bytes
  /** The id of the meeting place, 16 bytes. */
  readonly place: Bytes
  /** When the offer ends, in seconds since 1970. */
  readonly expiresAt: number
  /** The relay: `wss://host[:port]`, or `ws://` on a loopback host. */
  readonly relay: string
}

/** The error of a link that is none of ours, or that is damaged. */
export class OfferError extends Error {
  override readonly name = 'OfferError'
}

/** How long an offer is good, in seconds. */
export const OFFER_SECONDS = 600

const FLAG_APPROVED = 1
const FLAG_PLAIN = 2
const KEY_LENGTH = 32
const HEAD_LENGTH = 2 + KEY_LENGTH * 2 + PLACE_ID_LENGTH + 4

/** The longest `host[:port]` of a relay, in bytes. */
const MAX_AUTHORITY_LENGTH = 255

/** A longer text is no offer. Three digits hold 10 bits. */
const MAX_DIGITS = Math.ceil((HEAD_LENGTH + MAX_AUTHORITY_LENGTH) * 8 * 0.302)

/** Loopback hosts, which need no TLS. */
const PLAIN_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?$/
const AUTHORITY = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/

/**
 * The bytes of an offer.
 * @throws {OfferError} when the relay is no origin of a WebSocket, or plain on another machine
 * @throws {TypeError} when another field has a value that does not fit
 */
export function encodeOffer(offer: Offer): Bytes {
  const { version, isApproved, daemonKey, psk, place, expiresAt, relay } = offer
  if (!PROTOCOL_VERSIONS.includes(version) || !isU32(expiresAt))
    throw new TypeError('an offer has a version or an end that does not fit')
  const lengths = [daemonKey.length, psk.length, place.length]
  if (lengths.join() !== [KEY_LENGTH, KEY_LENGTH, PLACE_ID_LENGTH].join())
    throw new TypeError('a key or the place of an offer has another length')
  const isPlain = relay.startsWith('ws://')
  const authority = relay.slice(schemeOf(isPlain).length)
  if (!relay.startsWith(schemeOf(isPlain)) || !isAuthority(authority, isPlain))
    throw new OfferError('the relay must be wss://host[:port], or ws:// on a loopback host')
  const flags = (isApproved ? FLAG_APPROVED : 0) | (isPlain ? FLAG_PLAIN : 0)
  const head = Uint8Array.of(version, flags)
  return concat(head, daemonKey, psk, place, u32(expiresAt), utf8(authority))
}

function isU32(value: number): boolean {
  return value === value >>> 0
}

function schemeOf(isPlain: boolean): 'ws://' | 'wss://' {
  return isPlain ? 'ws://' : 'wss://'
}

/** Reads an offer. Whether it has ended is for the caller to say. @throws {OfferError} */
export function decodeOffer(bytes: Bytes): Offer {
  const [version = 0, flags = 0] = bytes
  if (!PROTOCOL_VERSIONS.includes(version))
    throw new OfferError(
      `the link is cut or damaged, or of another release (protocol version ${version})`,
    )
  if (bytes.length <= HEAD_LENGTH) throw new OfferError('the link is cut off')
  if ((flags & ~(FLAG_APPROVED | FLAG_PLAIN)) !== 0)
    throw new OfferError('the link says something that is not known here')
  let at = 2
  const take = (length: number): Bytes => bytes.slice(at, (at += length))
  const daemonKey = take(KEY_LENGTH)
  const psk = take(KEY_LENGTH)
  const place = take(PLACE_ID_LENGTH)
  const expiresAt = readU32(take(4), 0)
  const isPlain = (flags & FLAG_PLAIN) !== 0
  if (bytes.length > HEAD_LENGTH + MAX_AUTHORITY_LENGTH)
    throw new OfferError('the link is too long')
  const authority = String.fromCharCode(...bytes.slice(HEAD_LENGTH))
  if (!isAuthority(authority, isPlain)) throw new OfferError('the link names no relay')
  const relay = schemeOf(isPlain) + authority
  const isApproved = (flags & FLAG_APPROVED) !== 0
  return { version, isApproved, daemonKey, psk, place, expiresAt, relay }
}

/** Whether a text is `host[:port]`, in the one spelling that a URL has: so that a WebSocket takes it, and nobody reads another host. */
function isAuthority(text: string, isPlain: boolean): boolean {
  if (text.length > MAX_AUTHORITY_LENGTH || !(isPlain ? PLAIN_HOST : AUTHORITY).test(text))
    return false
  const url = schemeOf(isPlain) + text
  return URL.canParse(url) && new URL(url).host === text
}

/**
 * An offer as the digits of a link's fragment. Digits, because a QR code holds a third more of them than of other characters: a link
 * fits version 7, which a terminal of 80 columns and 30 lines shows.
 */
export function offerDigits(offer: Offer): string {
  let number = 0n
  for (const byte of encodeOffer(offer)) number = (number << 8n) | BigInt(byte)
  return number.toString()
}

/** Reads the digits of a link. @throws {OfferError} */
export function offerOfDigits(digits: string): Offer {
  if (digits.length > MAX_DIGITS || !/^[1-9][0-9]*$/.test(digits))
    throw new OfferError('the link has no offer behind its #')
  const hex = BigInt(digits).toString(16)
  // The first byte is the version, which is not 0.
  const pairs = (hex.length % 2 === 0 ? hex : `0${hex}`).match(/../g) ?? []
  return decodeOffer(Uint8Array.from(pairs, (pair) => Number.parseInt(pair, 16)))
}

/** Reads a link: what stands behind its `#`, or the digits alone. @throws {OfferError} */
export function offerOfLink(link: string): Offer {
  return offerOfDigits(link.trim().split('#').at(-1) ?? '')
}

/** What both parties mix into their handshake of an offer, so that nobody can put one in the place of another. */
export function offerHash(offer: Offer): Promise<Bytes> {
  return sha256(utf8('workspace-gateway offer'), encodeOffer(offer))
}
