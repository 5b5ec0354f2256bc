/** Does each purpose have a key of its own? HKDF is held against the vectors of Wycheproof, and the tree against mix-ups. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import {
  deriveKey,
  isMacOf,
  macOf,
  newDataKey,
  unwrapDataKey,
  versionKey,
  wrapDataKey,
} from '../../../src/vault/at-rest/key-tree.ts'

interface Vector {
  readonly tcId: number
  readonly ikm: string
  readonly salt: string
  readonly info: string
  readonly size: number
  readonly okm: string
  readonly result: 'valid' | 'invalid'
}

const { testGroups } = JSON.parse(
  readFileSync(new URL('../vectors/hkdf_sha256-wycheproof.json', import.meta.url), 'utf8'),
) as { testGroups: Array<{ tests: Vector[] }> }
const hex = (text: string) => Buffer.from(text, 'hex')
const masterKey = Buffer.alloc(32, 1)

t.test('HKDF-SHA-256 derives what the vectors of Wycheproof say', (t) => {
  const vectors = testGroups.flatMap(({ tests }) => tests)
  t.ok(vectors.length > 80)
  for (const { tcId, ikm, salt, info, size, okm, result } of vectors) {
    const derive = () => deriveKey(hex(ikm), hex(salt), hex(info), size).toString('hex')
    if (result === 'valid') t.equal(derive(), okm, `${tcId}`)
    else t.throws(derive, `${tcId} is too long`)
  }
  t.end()
})

t.test('the data key opens with its master key, vault, salt and wrapping only', (t) => {
  const dataKey = newDataKey()
  const wrapped = wrapDataKey(masterKey, 'vault', dataKey)
  t.same(unwrapDataKey(masterKey, 'vault', wrapped), dataKey)
  const flipped = (bytes: Buffer) =>
    Buffer.from(bytes.map((byte, at) => (at === 20 ? byte ^ 1 : byte)))
  t.equal(unwrapDataKey(Buffer.alloc(32, 2), 'vault', wrapped), undefined)
  t.equal(unwrapDataKey(masterKey, 'other', wrapped), undefined)
  t.equal(unwrapDataKey(masterKey, 'vault', { ...wrapped, salt: flipped(wrapped.salt) }), undefined)
  t.equal(
    unwrapDataKey(masterKey, 'vault', { ...wrapped, wrapped: flipped(wrapped.wrapped) }),
    undefined,
  )
  t.throws(() => wrapDataKey(Buffer.alloc(16), 'vault', dataKey), /16 bytes instead of 32/)
  t.end()
})

t.test('each version, each entry, each data key and the MAC have different keys', (t) => {
  const dataKey = newDataKey()
  const keys = [
    ...[versionKey(dataKey, 'a', 1), versionKey(dataKey, 'a', 2), versionKey(dataKey, 'a1', 1)],
    ...[versionKey(dataKey, 'b', 1), versionKey(newDataKey(), 'a', 1)],
  ].map((key) => key.toString('hex'))
  t.equal(new Set(keys).size, keys.length)
  const mac = macOf(dataKey, 'content')
  t.ok(isMacOf(mac, dataKey, 'content'))
  t.notOk(isMacOf(mac, dataKey, 'contents'))
  t.notOk(isMacOf(mac, newDataKey(), 'content'))
  t.notOk(isMacOf(mac.subarray(1), dataKey, 'content'))
  t.end()
})
