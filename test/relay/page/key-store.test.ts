/** Does a device keep its key in the best way that its browser has, and does it say which that is? */
import t from 'tap'
import type { PairedDevice } from '../../../src/relay/client/paired-device.ts'
import type { Shelf } from '../../../src/relay/page/database.ts'
import { forgetPairing, makeKeys, readPairing } from '../../../src/relay/page/key-store.ts'
import { deviceId } from '../../../src/relay/protocol/handshake.ts'
import { randomBytes } from '../../../src/relay/protocol/bytes.ts'
import type { NoiseKeyPair } from '../../../src/relay/protocol/noise.ts'

/** A browser's shelf. @param lose what it gives back in the place of a value */
function shelfOf(lose: (value: unknown) => unknown = (value) => value) {
  const records = new Map<string, unknown>()
  const lost = (value: object) =>
    Object.fromEntries(
      Object.entries(value).map(([name, one]): [string, unknown] => [
        name,
        name === 'secret'
          ? Object.fromEntries(
              Object.entries(one as object).map(([key, each]) => [key, lose(each)]),
            )
          : one,
      ]),
    )
  const shelf: Shelf = {
    get: (name) => Promise.resolve(records.get(name)),
    put: (name, value) => Promise.resolve(void records.set(name, lost(value as object))),
    async remove(name, isIt = () => true) {
      if (isIt(records.get(name))) records.delete(name)
    },
  }
  return { shelf, records }
}

/** Loses keys of some algorithms. */
const losing =
  (...names: string[]) =>
  (value: unknown) =>
    value instanceof CryptoKey && names.includes(value.algorithm.name) ? null : value

async function deviceWith(own: NoiseKeyPair): Promise<PairedDevice> {
  return {
    ...{ own, daemonKey: randomBytes(32), placeSecret: randomBytes(32) },
    ...{ relay: 'wss://relay.example.com', host: 'houston.hubify.com', target: 'gateway' },
    ...{ kind: 'page', name: 'Phone', id: await deviceId(own.publicKey) },
  }
}

t.test(
  'a name that was kept before the rule for names is read without what nobody sees',
  async (t) => {
    for (const [name, shown] of [
      ['Ann\u200b ', 'Ann'],
      ['\u2060', 'unnamed'],
    ] as const) {
      const { shelf } = shelfOf()
      const keys = await makeKeys(shelf)
      await keys.keep({ ...(await deviceWith(keys.own)), name })
      t.equal((await readPairing(shelf))?.device.name, shown)
    }
  },
)

for (const { title, lose, lasting } of [
  { title: 'keeps keys', lose: losing(), lasting: 'kept' },
  { title: 'loses X25519 keys', lose: losing('X25519'), lasting: 'wrapped' },
] as const)
  t.test(`a browser that ${title} knows the device when it comes back`, async (t) => {
    const { shelf, records } = shelfOf(lose)
    t.equal(await readPairing(shelf), undefined)
    const keys = await makeKeys(shelf)
    t.equal(keys.lasting, lasting)
    t.equal(records.size, 0, 'nothing stays of the trial')
    const device = await deviceWith(keys.own)
    await keys.keep(device)
    const back = await readPairing(shelf)
    t.equal(back?.lasting, lasting)
    t.same({ ...back?.device, own: undefined }, { ...device, own: undefined })
    const withOffset = { ...device, clockOffset: 2_592_000_000 }
    await keys.keep(withOffset)
    t.same(
      { ...(await readPairing(shelf))?.device, own: undefined },
      { ...withOffset, own: undefined },
    )
    for (const own of [keys.own, back?.device.own]) {
      t.equal(own?.privateKey.extractable, false)
      await t.rejects(crypto.subtle.exportKey('pkcs8', own?.privateKey as CryptoKey))
    }
    const theirs = await crypto.subtle.generateKey({ name: 'X25519' }, false, ['deriveBits'])
    const secretOf = (own: NoiseKeyPair) =>
      crypto.subtle.deriveBits({ name: 'X25519', public: theirs.publicKey }, own.privateKey, 256)
    t.same(
      new Uint8Array(await secretOf(back?.device.own as NoiseKeyPair)),
      new Uint8Array(await secretOf(keys.own)),
      'it is the same key',
    )
  })

t.test(
  'a browser that loses every key, or keeps nothing at all, pairs for this visit',
  async (t) => {
    const refuse = () => Promise.reject(new Error('no database in a private window'))
    const { shelf: forgetful } = shelfOf(losing('X25519', 'AES-GCM'))
    for (const shelf of [forgetful, { get: refuse, put: refuse, remove: refuse }]) {
      const keys = await makeKeys(shelf)
      t.equal(keys.lasting, 'this-visit')
      t.equal(keys.own.privateKey.extractable, false)
      await keys.keep(await deviceWith(keys.own))
      t.equal(await readPairing(shelf), undefined)
    }
  },
)

t.test('a pairing stays until another one has succeeded', async (t) => {
  const { shelf } = shelfOf()
  const first = await makeKeys(shelf)
  const device = await deviceWith(first.own)
  await first.keep(device)
  const second = await makeKeys(shelf)
  t.equal((await readPairing(shelf))?.device.id, device.id)
  await second.keep(await deviceWith(second.own))
  t.not((await readPairing(shelf))?.device.id, device.id)
})

t.test('a device that is forgotten leaves the pairing of another tab', async (t) => {
  const { shelf, records } = shelfOf()
  const [first, second] = [await makeKeys(shelf), await makeKeys(shelf)]
  const [old, next] = [await deviceWith(first.own), await deviceWith(second.own)]
  await first.keep(old)
  await second.keep(next)
  await forgetPairing(shelf, old)
  t.equal((await readPairing(shelf))?.device.id, next.id)
  await forgetPairing(shelf, next)
  t.equal(records.size, 0)
})

t.test('a record that is damaged, or has the key of another device, is no pairing', async (t) => {
  const { shelf, records } = shelfOf()
  const keys = await makeKeys(shelf)
  await keys.keep(await deviceWith(keys.own))
  const kept = records.get('this-device') as { publicKey: Uint8Array; secret: object }
  const other = await makeKeys(shelf)
  for (const damaged of [
    null,
    'text',
    {},
    { ...kept, version: 2 },
    { ...kept, secret: { how: 'kept', privateKey: null } },
    { ...kept, secret: { how: 'elsewhere' } },
    { ...kept, publicKey: other.own.publicKey },
    { ...kept, device: undefined },
  ]) {
    records.set('this-device', damaged)
    t.equal(await readPairing(shelf), undefined, JSON.stringify(damaged)?.slice(0, 40))
  }
  records.set('this-device', kept)
  t.ok(await readPairing(shelf))
})
