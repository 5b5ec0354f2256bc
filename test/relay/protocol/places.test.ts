/** Do daemon and device find the same place each day, and does nobody else? Held against RFC 5869, computed a second time with HMAC. */
import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { concat, randomBytes, u32, utf8 } from '../../../src/relay/protocol/bytes.ts'
import {
  dayOf,
  dayPlaceKey,
  PLACE_ID_LENGTH,
  PLACE_KEY_LENGTH,
  placeId,
} from '../../../src/relay/protocol/places.ts'
import { fromHex, toHex } from '../../helpers/noise-keys.ts'

/** HKDF-SHA-256, RFC 5869 section 2. */
function hkdf(
  salt: Uint8Array,
  material: Uint8Array,
  info: Uint8Array,
  length: number,
): Uint8Array {
  const key = createHmac('sha256', salt).update(material).digest()
  let [block, all]: Uint8Array[] = [new Uint8Array(0), new Uint8Array(0)]
  for (let i = 1; (all?.length ?? 0) < length; i++) {
    block = createHmac('sha256', key)
      .update(concat(block ?? new Uint8Array(0), info, Uint8Array.of(i)))
      .digest()
    all = concat(all ?? new Uint8Array(0), block)
  }
  return (all ?? new Uint8Array(0)).slice(0, length)
}

t.test('the second computation is the one of RFC 5869', async (t) => {
  // Appendix A.1 and A.3.
  const material = new Uint8Array(22).fill(0x0b)
  t.equal(
    toHex(
      hkdf(fromHex('000102030405060708090a0b0c'), material, fromHex('f0f1f2f3f4f5f6f7f8f9'), 42),
    ),
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  )
  t.equal(
    toHex(hkdf(fromHex(''), material, fromHex(''), 42)),
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  )
})

t.test('the place of a day is derived from the secret of the pairing', async (t) => {
  const secret = randomBytes(32)
  const days = [0, 1, 20_000, 2 ** 32 - 1]
  const keys = await Promise.all(days.map((day) => dayPlaceKey(secret, day)))
  for (const [i, day] of days.entries()) {
    const info = concat(utf8('workspace-gateway place of the day'), u32(day))
    t.equal(toHex(keys[i] ?? secret), toHex(hkdf(fromHex(''), secret, info, PLACE_KEY_LENGTH)))
  }
  t.equal(new Set(keys.map(toHex)).size, days.length)
  t.not(toHex(await dayPlaceKey(randomBytes(32), 1)), toHex(keys[1] ?? secret))
})

t.test('the id of a place is the hash of its key, which the id does not tell', async (t) => {
  const key = randomBytes(PLACE_KEY_LENGTH)
  const digest = createHash('sha256').update('workspace-gateway meeting place').update(key).digest()
  t.equal(toHex(await placeId(key)), toHex(digest.subarray(0, PLACE_ID_LENGTH)))
})

t.test('a day changes at midnight UTC', async (t) => {
  const midnight = Date.UTC(2026, 10, 29)
  t.equal(dayOf(midnight) - dayOf(midnight - 1), 1)
  t.equal(dayOf(midnight + 86_399_999), dayOf(midnight))
})
