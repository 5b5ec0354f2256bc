/**
 * What gets a person in who has lost their device? Ten codes of 80 random bits, each for once. They are shown when they are made; kept
 * is their HMAC-SHA-256, so that a copy of the file has none of them.
 */
import { createHmac, randomBytes } from 'node:crypto'

/** How many codes a person gets. */
const CODES = 10

/** The size of a code in bytes: 80 bits, so that nobody guesses one. */
const CODE_BYTES = 10

/** 32 characters, without those that people confuse (Crockford's base32). */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'

/** The size of the key of the digests, in bytes. */
const KEY_BYTES = 32

const CODE = /^[0-9a-hjkmnp-tv-z]{16}$/

/** New codes, as they are shown, and the key with which their digests are made. */
export interface NewBackupCodes {
  /** Such as `0k3f-9x2m-7qtz-p4cv`. */
  readonly codes: readonly string[]
  readonly key: Buffer
  readonly digests: readonly Buffer[]
}

export function makeBackupCodes(): NewBackupCodes {
  const key = randomBytes(KEY_BYTES)
  const bare = Array.from({ length: CODES }, newCode)
  return {
    codes: bare.map((code) => code.replaceAll(/(.{4})(?!$)/g, '$1-')),
    key,
    digests: bare.map((code) => backupDigest(key, code)),
  }
}

/** A text as a backup code, however it is typed: with other spaces, capitals, O for 0, or I and L for 1. */
export function backupCodeIn(text: string): string | undefined {
  const code = text
    .replaceAll(/[\s-]/g, '')
    .toLowerCase()
    .replaceAll('o', '0')
    .replaceAll(/[il]/g, '1')
  return CODE.test(code) ? code : undefined
}

/** The digest under which a code is found. Without the key nobody can try codes against it. */
export function backupDigest(key: Uint8Array, code: string): Buffer {
  return createHmac('sha256', key).update(code).digest()
}

function newCode(): string {
  let bits = BigInt(`0x${randomBytes(CODE_BYTES).toString('hex')}`)
  let code = ''
  for (let i = 0; i < (CODE_BYTES * 8) / 5; i++) {
    code += ALPHABET[Number(bits & 31n)]
    bits >>= 5n
  }
  return code
}
