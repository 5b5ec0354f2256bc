/** What does the link keep, and what does it refuse to use? Its key and its devices, in files for its user alone; never a new key silently. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DeviceList, MAX_DEVICES, type Device } from '../../../src/relay/link/device-list.ts'
import { loadIdentity, replaceIdentity } from '../../../src/relay/link/identity.ts'
import { Offers } from '../../../src/relay/link/offers.ts'
import { PlacePace } from '../../../src/relay/link/place-pace.ts'
import { LinkFileError, prepareFolder } from '../../../src/relay/link/private-file.ts'
import { randomBytes } from '../../../src/relay/protocol/bytes.ts'
import { deviceId } from '../../../src/relay/protocol/handshake.ts'
import { generateKeyPair } from '../../../src/relay/protocol/noise.ts'
import { LinkBusyError } from '../../../src/relay/link/link.ts'
import { linkFor, targetFor } from '../../helpers/link.ts'
import { temporaryFolder } from '../../helpers/process.ts'

const mode = (path: string) => statSync(path).mode & 0o777

async function newDevice(): Promise<Device> {
  const { publicKey: key } = await generateKeyPair()
  return {
    ...{ id: await deviceId(key), key, placeSecret: randomBytes(32), name: 'Phone' },
    ...{ kind: 'page', sub: 'alice', state: 'approved' },
    ...{ pairedAt: Date.UTC(2026, 0, 2), lastSeenAt: undefined },
  }
}

t.test('the key is made once, for its user alone, and is the same ever after', async (t) => {
  const folder = temporaryFolder(t)
  const made = await loadIdentity(folder, true)
  t.equal(mode(join(folder, 'daemon-keypair.json')), 0o600)
  t.match(JSON.parse(readFileSync(join(folder, 'daemon-keypair.json'), 'utf8')), { version: 1 })
  t.same((await loadIdentity(folder, false)).publicKey, made.publicKey)
  t.notSame((await replaceIdentity(folder)).publicKey, made.publicKey)
})

t.test(
  'a key that is damaged, readable by others or missing is refused, and stays as it is',
  async (t) => {
    const folder = temporaryFolder(t)
    const path = join(folder, 'daemon-keypair.json')
    await loadIdentity(folder, true)
    const good = readFileSync(path, 'utf8')
    const [other, publicKey] = [temporaryFolder(t), /"publicKey":"([^"]+)"/.exec(good)?.[1] ?? '']
    await loadIdentity(other, true)
    const foreign = readFileSync(join(other, 'daemon-keypair.json'), 'utf8')
    const bad: Array<[text: string, why: RegExp]> = [
      ['', /damaged/],
      ['{', /damaged/],
      ['[]', /damaged/],
      [good.slice(0, -20), /damaged/],
      [good.replace('"version":1', '"version":2'), /another version/],
      [good.replace(/"privateKey":"[^"]+"/, '"privateKey":"AAAA"'), /damaged/],
      [foreign.replace(/"publicKey":"[^"]+"/, `"publicKey":"${publicKey}"`), /damaged/],
    ]
    for (const [text, why] of bad) {
      writeFileSync(path, text)
      await t.rejects(loadIdentity(folder, true), { message: why, name: 'LinkFileError' }, text)
      t.equal(readFileSync(path, 'utf8'), text, 'it is not replaced')
    }
    writeFileSync(path, good)
    chmodSync(path, 0o640)
    await t.rejects(loadIdentity(folder, true), /can be read by others \(mode 0640\)/)
    rmSync(path)
    symlinkSync(join(other, 'daemon-keypair.json'), path)
    await t.rejects(loadIdentity(folder, true), /it is a link/)
    rmSync(path)
    await t.rejects(loadIdentity(folder, false), /is missing/)
    t.notOk(existsSync(path), 'no new one')
  },
)

t.test('devices are written at once, and read back as they were', async (t) => {
  const folder = temporaryFolder(t)
  const list = await DeviceList.open(folder, 0)
  const [a, b] = [await newDevice(), await newDevice()]
  list.put(a)
  list.put({ ...b, state: 'waiting', sub: 'zoë "the" owner' })
  t.equal(mode(join(folder, 'devices.json')), 0o600)
  const again = await DeviceList.open(folder, 0)
  t.same(again.all(), list.all())
  t.same(again.approved(), [a.id])
  again.change({ ...b, state: 'approved' })
  again.remove([a.id])
  t.same((await DeviceList.open(folder, 0)).all(), [{ ...b, state: 'approved' }])
})

t.test('a name of before the rule for names is listed without what nobody sees', async (t) => {
  const folder = temporaryFolder(t)
  const list = await DeviceList.open(folder, 0)
  list.put({ ...(await newDevice()), name: 'Ann\u200b ' })
  list.put({ ...(await newDevice()), name: '\u2060' })
  const names = (await DeviceList.open(folder, 0)).all().map(({ name }) => name)
  t.same(names, ['Ann', 'unnamed'])
})

t.test('when a device was seen is written once an hour, or with another change', async (t) => {
  const folder = temporaryFolder(t)
  const list = await DeviceList.open(folder, 0)
  const device = await newDevice()
  list.put(device)
  const seen = async () => (await DeviceList.open(folder, 0)).get(device.id)?.lastSeenAt
  list.seen(device.id, 1000)
  list.writeSeen(3_599_999)
  t.equal(await seen(), undefined)
  list.writeSeen(3_600_000)
  t.equal(await seen(), 1000)
  list.seen(device.id, 2000)
  list.writeSeen(3_600_001)
  t.equal(await seen(), 1000)
  list.writeSeen(3_600_002, true)
  t.equal(await seen(), 2000)
})

t.test('a list of devices that is damaged or readable by others is refused', async (t) => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'devices.json')
  const list = await DeviceList.open(folder, 0)
  for (let i = 0; i < 2; i++) list.put(await newDevice())
  const good = readFileSync(path, 'utf8')
  const [first = ''] = /\{"id".*\}/.exec(good) ?? []
  const many = Array.from({ length: MAX_DEVICES + 1 }, () => first).join(',')
  for (const text of [
    ...['', '{}', '[]', good.slice(0, -9), good.replace('"version":1', '"version":9')],
    ...[good.replace('"approved"', '"owner"'), good.replace('"page"', '"pager"')],
    ...[good.replace('"sub":"alice"', '"sub":""'), good.replace('"Phone"', '"\\u001b[2J"')],
    ...[good.replace(/"key":"./, '"key":"'), good.replace(/"id":"./, '"id":"%')],
    ...[good.replace('"lastSeenAt":null', '"lastSeenAt":5'), good.replace('2026-01-02T', 'x')],
    `{"version":1,"devices":[${first},${first}]}`,
    `{"version":1,"devices":[${many}]}`,
    '{"version":1,"devices":[null]}',
  ]) {
    writeFileSync(path, text)
    await t.rejects(DeviceList.open(folder, 0), LinkFileError, text)
    t.equal(readFileSync(path, 'utf8'), text, 'it is not replaced')
  }
  writeFileSync(path, good)
  chmodSync(path, 0o644)
  await t.rejects(DeviceList.open(folder, 0), /mode 0644/)
})

t.test('a folder in which others could exchange files is refused', async (t) => {
  const folder = join(temporaryFolder(t), 'a', 'b')
  prepareFolder(folder)
  t.equal(mode(folder), 0o700)
  chmodSync(folder, 0o770)
  t.throws(() => prepareFolder(folder), /LINK_STATE_DIR .* can be written by others/)
})

t.test('a second link with the same folder, or the same socket, does not start', async (t) => {
  const [folder, target] = [temporaryFolder(t), await targetFor(t)]
  const env = { LINK_TARGET: target.url }
  const relay = 'ws://127.0.0.1:1'
  await linkFor(t, relay, env, { folder })
  await t.rejects(linkFor(t, relay, env, { folder }), LinkBusyError)
  const elsewhere = join(folder, 'other')
  mkdirSync(elsewhere)
  await t.rejects(linkFor(t, relay, { ...env, LINK_STATE_DIR: elsewhere }, { folder }), {
    code: 'EADDRINUSE',
  })
})

t.test(
  'devices without a key are refused at the start, and a relay that no link can name',
  async (t) => {
    const [folder, target] = [temporaryFolder(t), await targetFor(t)]
    const env = { LINK_TARGET: target.url }
    prepareFolder(join(folder, 'state'))
    const list = await DeviceList.open(join(folder, 'state'), 0)
    list.put(await newDevice())
    await t.rejects(
      linkFor(t, 'ws://127.0.0.1:1', env, { folder }),
      /daemon-keypair.json is missing/,
    )
    await t.rejects(
      linkFor(t, 'ws://127.0.0.2:1', env, { folder }),
      /LINK_RELAY_URL "ws:\/\/127.0.0.2:1" cannot be in a pairing link/,
    )
  },
)

t.test('eight links are open at most, and each ends with its time', async (t: Test) => {
  let now = 5000
  const offers = new Offers(() => now)
  const make = () =>
    offers.make({
      ...{ sub: 'alice', isApproved: false, daemonKey: new Uint8Array(32) },
      relay: 'wss://relay.example.com',
    })
  const made = []
  for (let i = 0; i < 8; i++) made.push(await make())
  t.equal(await make(), undefined)
  const [first] = made
  if (first === undefined) throw new Error('none was made')
  t.equal(first.offer.expiresAt, 605)
  t.ok(offers.use(first))
  t.notOk(offers.use(first), 'once')
  t.ok((await make()) !== undefined)
  now = 605_000
  t.equal(offers.all().length, 0)
  t.ok(offers.sweep())
  t.notOk(offers.sweep())
})

t.test(
  'a place hears thirty knocks in any minute, and remembers so many first messages',
  async (t) => {
    let now = 0
    const pace = new PlacePace(() => now)
    const knock = () => {
      const isHeard = pace.mayKnock()
      if (isHeard) pace.ended()
      return isHeard
    }
    for (let i = 0; i < 30; i++) t.ok(knock())
    now = 59_999
    t.notOk(knock())
    now = 60_000
    t.ok(knock())
    const first = randomBytes(192)
    t.ok(pace.isNew(first))
    t.notOk(pace.isNew(first))
    t.notOk(pace.isNew(Uint8Array.from(first, (byte, i) => (i < 32 ? byte : 0))), 'the same key')
    for (let i = 0; i < 1023; i++) pace.isNew(randomBytes(32))
    t.notOk(pace.isNew(first))
    pace.isNew(randomBytes(32))
    t.ok(pace.isNew(first), 'the oldest is forgotten, so that the memory is bounded')
  },
)
