/** Is AES-256-GCM used as its standard says? The vectors of Wycheproof say so. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { seal, sealWithNonce, unseal } from '../../../src/vault/at-rest/sealed-value.ts'

interface Vector {
  readonly tcId: number
  readonly key: string
  readonly iv: string
  readonly aad: string
  readonly msg: string
  readonly ct: string
  readonly tag: string
  readonly result: 'valid' | 'invalid'
}

const { testGroups } = JSON.parse(
  readFileSync(new URL('../vectors/aes_gcm-wycheproof.json', import.meta.url), 'utf8'),
) as { testGroups: Array<{ tests: Vector[] }> }
const vectors = testGroups.flatMap(({ tests }) => tests)
const hex = (text: string) => Buffer.from(text, 'hex')
const key = Buffer.alloc(32, 1)

t.test('the vectors of Wycheproof are opened and sealed, or refused', (t) => {
  t.ok(vectors.length > 60)
  for (const { tcId, iv, aad, msg, ct, tag, result, ...one } of vectors) {
    const opened = unseal(hex(one.key), hex(iv + ct + tag), hex(aad))
    const isValid = result === 'valid'
    t.equal(opened?.toString('hex'), isValid ? msg : undefined, `${tcId} is ${result}`)
    if (isValid)
      t.equal(
        sealWithNonce(hex(one.key), hex(iv), hex(msg), hex(aad)).toString('hex'),
        iv + ct + tag,
        `${tcId} is sealed`,
      )
  }
  t.end()
})

t.test('a seal opens with its key and its additional data only', (t) => {
  const sealed = seal(key, Buffer.from('credential'), 'policy')
  t.equal(unseal(key, sealed, 'policy')?.toString(), 'credential')
  t.equal(unseal(key, sealed, 'policy of another'), undefined)
  t.equal(unseal(Buffer.alloc(32, 2), sealed, 'policy'), undefined)
  t.not(seal(key, Buffer.from('credential'), 'policy').toString('hex'), sealed.toString('hex'))
  t.end()
})

t.test('a seal with any byte changed or missing does not open', (t) => {
  const sealed = seal(key, Buffer.from('credential'), 'policy')
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] ?? 0) ^ 1
    t.equal(unseal(key, changed, 'policy'), undefined, `byte ${at} changed`)
    t.equal(unseal(key, sealed.subarray(0, at), 'policy'), undefined, `${at} bytes long`)
  }
  t.end()
})
