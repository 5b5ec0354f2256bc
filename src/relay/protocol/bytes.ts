/** How are bytes put together and written as text, in Node and in browsers alike? With these few functions. */

/** Bytes that belong to their holder alone, as WebCrypto takes them. */
export type Bytes = Uint8Array<ArrayBuffer>

/**
 * Characters that change how the text around them is shown, or that a terminal obeys: controls, line separators, and marks of direction
 * (Unicode Standard Annex 9). Texts of the other party are shown without them.
 */
export const UNSHOWN = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu

const encoder = new TextEncoder()

/** The bytes of a text, in UTF-8. */
export function utf8(text: string): Bytes {
  return encoder.encode(text)
}

/** All parts, one after the other. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, { length }) => size + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A number as 2 bytes, the most significant first. */
export function u16(value: number): Bytes {
  return Uint8Array.of(value >>> 8, value & 0xff)
}

/** A number as 4 bytes, the most significant first. */
export function u32(value: number): Bytes {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff)
}

/** Reads 2 bytes as a number. The caller knows that they are there. */
export function readU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

/** Reads 4 bytes as a number without a sign. The caller knows that they are there. */
export function readU32(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at) * 0x1_0000 + readU16(bytes, at + 2)
}

/** Whether both have the same bytes. The time tells where they differ: not for secrets. */
export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** Bytes as base64url without padding (RFC 4648 section 5). */
export function toBase64Url(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** The bytes of a base64url text; undefined for any other text, also for one that another text stands for. */
export function fromBase64Url(text: string): Bytes | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(plain, (character) => character.charCodeAt(0))
  return toBase64Url(bytes) === text ? bytes : undefined
}

/** Random bytes, fit for keys. */
export function randomBytes(length: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(length))
}

/** SHA-256 of all parts, one after the other. */
export async function sha256(...parts: readonly Uint8Array[]): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(...parts)))
}
