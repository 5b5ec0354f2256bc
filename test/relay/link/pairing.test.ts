/** Who gets in by a pairing link? Whoever has seen it, once, in time, and after the owner's approval. Each refusal reaches no service. */
import t from 'tap'
import { randomBytes } from '../../../src/relay/protocol/bytes.ts'
import { generateKeyPair } from '../../../src/relay/protocol/noise.ts'
import { offerOfLink } from '../../../src/relay/protocol/offer.ts'
import {
  arrive,
  comeTo,
  connected,
  knockAt,
  linkFor,
  pairedDevice,
  placeOf,
  targetFor,
  TestDevice,
} from '../../helpers/link.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { relayFor } from '../../helpers/relay.ts'
import { eventually, until } from '../../helpers/waiting.ts'

const NOBODY_THERE = 4404

async function scene(t: Parameters<typeof linkFor>[0], env: Record<string, string> = {}) {
  const relay = await relayFor(t)
  const target = await targetFor(t)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url, ...env })
  await connected(link)
  /** Waits until the link has left a place. */
  const left = (place: Parameters<typeof knockAt>[2]) =>
    until('the link has left the place', async () => {
      return (await knockAt(t, relay.url, place).closed()) === NOBODY_THERE
    })
  return { relay, target, link, left }
}

t.test(
  'a device waits for the owner, who sees the same code, and then reaches the service',
  async (t) => {
    const { target, link } = await scene(t)
    const device = await pairedDevice(t, await link.offer(), 'My phone')
    const { device: id, state, host, target: kind } = await device.welcomed()
    t.same({ state, host, kind }, { state: 'waiting', host: 'houston.hubify.com', kind: 'service' })
    const [listed] = await link.devices()
    t.match(listed, {
      ...{ id, name: 'My phone', kind: 'page', state: 'waiting', sub: 'alice' },
      ...{ code: device.code, isConnected: true, lastSeenAt: null },
    })
    t.equal(target.sockets.length, 0)
    const { status } = await link.ask('POST', `/v1/devices/${id}/approve`, { sub: 'bob' })
    t.equal(status, 200)
    await eventually(() => device.notes.length > 0, 'the device hears of it')
    t.match(device.notes, [{ kind: 'approved', name: 'My phone' }])
    const { stream, state: ends, text } = device.open()
    await stream.write(Buffer.from('hello'))
    await eventually(() => text() === 'hello', 'the service answers')
    stream.end()
    await eventually(() => ends.closed === 'closed', 'both ends are over')
    t.match(await link.devices(), [{ state: 'approved', sub: 'bob' }])
  },
)

t.test(
  'a device that waits cannot open a stream: its channel ends, and the service hears nothing',
  async (t) => {
    const { target, link } = await scene(t)
    const device = await pairedDevice(t, await link.offer())
    device.open()
    t.equal(await device.ended(), 'protocol')
    t.equal(target.sockets.length, 0)
  },
)

t.test('a link that says so, and the setting, let a device in without approval', async (t) => {
  const { link } = await scene(t)
  const device = await pairedDevice(t, await link.offer({ isApproved: true }))
  t.equal((await device.welcomed()).state, 'approved')
  const { link: open } = await scene(t, { LINK_AUTO_APPROVE: 'true' })
  t.equal((await (await pairedDevice(t, await open.offer())).welcomed()).state, 'approved')
})

t.test('a link that was used is no meeting place any more', async (t) => {
  const { target, link, left } = await scene(t)
  const offer = await link.offer()
  await pairedDevice(t, offer)
  await left(offer.place)
  t.equal((await link.devices()).length, 1)
  t.equal(target.sockets.length, 0)
})

t.test('of two devices that use a link at once, one gets in', async (t) => {
  const { target, link } = await scene(t)
  const offer = await link.offer({ isApproved: true })
  const [a, b] = [await arrive(t, { offer }), await arrive(t, { offer })]
  const devices = [new TestDevice(a), new TestDevice(b)]
  await eventually(
    () => devices.every(({ welcome, end }) => welcome !== undefined || end !== undefined),
    'both are answered',
  )
  const refused = devices.filter(({ welcome }) => welcome === undefined)
  t.equal(refused.length, 1)
  t.equal(await refused[0]?.ended(), 'notApproved')
  t.equal((await link.devices()).length, 1)
  t.equal(target.sockets.length, 0)
})

t.test('a link ends after ten minutes, also for a device that has begun before', async (t) => {
  const { target, link, left } = await scene(t)
  const offer = await link.offer({ isApproved: true })
  const inTime = await arrive(t, { offer })
  link.clock.turn(598_000) // a link has whole seconds
  await new TestDevice(inTime).welcomed()
  const late = await link.offer({ isApproved: true })
  const begun = await arrive(t, { offer: late })
  link.clock.turn(600_000)
  t.equal(await new TestDevice(begun).ended(), 'notApproved')
  link.clock.pass(5000)
  await left(late.place)
  t.match(await link.status(), { offers: 0, devices: 1 })
  t.equal(target.sockets.length, 0)
})

t.test('after five failures a link has burnt', async (t) => {
  const { target, link, left } = await scene(t)
  const { json } = await link.ask('POST', '/v1/offers', { sub: 'alice', isApproved: true })
  const offer = offerOfLink(String(json['link']))
  const guess = { ...offer, psk: randomBytes(32) }
  for (let i = 0; i < 4; i++) await t.rejects(arrive(t, { offer: guess }), /closed with/)
  t.equal((await link.status()).offers, 1)
  await t.rejects(arrive(t, { offer: guess }), /closed with/)
  await until('it has burnt', async () => (await link.status()).offers === 0)
  t.match((await link.ask('GET', `/v1/offers/${String(json['id'])}`)).json, { state: 'burnt' })
  await left(offer.place)
  t.equal((await link.devices()).length, 0)
  t.equal(target.sockets.length, 0)
})

t.test('a handshake that is answered and never proven is a failure too', async (t) => {
  const { link } = await scene(t)
  const offer = await link.offer()
  for (let i = 1; i <= 5; i++) {
    const { socket } = await arrive(t, { offer })
    socket.close()
    await eventually(
      () => link.log().split('a handshake has failed').length > i,
      'the link has noticed',
    )
  }
  await until('it has burnt', async () => (await link.status()).offers === 0)
  t.equal((await link.devices()).length, 0)
})

t.test('a first message that is sent again is not answered, and burns nothing', async (t) => {
  const { relay, target, link } = await scene(t)
  const offer = await link.offer()
  const { first, socket } = await arrive(t, { offer })
  for (let i = 0; i < 20; i++) {
    const replay = await comeTo(t, relay.url, offer.place)
    replay.socket.send(first)
    await replay.closed()
    t.same(replay.heard, [])
  }
  t.equal((await link.status()).offers, 1)
  t.ok(socket.readyState === 1)
  t.equal((await link.devices()).length, 0)
  t.equal(target.sockets.length, 0)
})

t.test('at one place no more than four devices are met at once', async (t) => {
  const { relay, link } = await scene(t)
  const offer = await link.offer()
  const begun = []
  for (let i = 0; i < 4; i++) begun.push(await arrive(t, { offer }))
  const fifth = await comeTo(t, relay.url, offer.place)
  await eventually(() => link.log().includes('a knock was not heard'), 'the fifth is one too many')
  t.same(fifth.heard, [])
  begun[0]?.socket.close()
  await until('one of the four has gone', async () => {
    const count = link.log().split('a knock was not heard').length
    const next = await comeTo(t, relay.url, offer.place)
    next.socket.send(new Uint8Array(1))
    await eventually(
      () => !next.isOpen() || link.log().split('a knock was not heard').length > count,
      'it is refused, or not heard',
    )
    return !next.isOpen()
  })
})

t.test(
  'links die with the link: a restart makes new ones, and paired devices come back',
  async (t) => {
    const relay = await relayFor(t)
    const target = await targetFor(t)
    const folder = temporaryFolder(t)
    const env = { LINK_TARGET: target.url }
    const before = await linkFor(t, relay.url, env, { folder })
    const open = await before.offer({ isApproved: true })
    const device = await pairedDevice(t, await before.offer({ isApproved: true }))
    const held = device.open()
    await held.stream.write(Buffer.from('x'))
    await eventually(() => held.text() === 'x', 'the stream is open')
    await before.running.close()
    t.equal(await device.ended(), 'restart')
    t.equal(held.state.closed, 'reset')
    const after = await linkFor(t, relay.url, env, { folder })
    await connected(after)
    t.match(await after.status(), { devices: 1, offers: 0 })
    const again = new TestDevice(await arrive(t, { paired: device.paired, now: after.clock.now() }))
    t.equal((await again.welcomed()).state, 'approved')
    t.equal(await knockAt(t, relay.url, open.place).closed(), NOBODY_THERE)
  },
)

t.test(
  'a paired device is met on the place of yesterday, today and tomorrow, and at midnight they move',
  async (t) => {
    const { link, left } = await scene(t)
    const { paired } = await pairedDevice(t, await link.offer({ isApproved: true }))
    const day = 86_400_000
    const now = link.clock.now()
    for (const at of [now - day, now, now + day])
      await new TestDevice(await arrive(t, { paired, now: at })).welcomed()
    await left(await placeOf(paired, now + 2 * day))
    link.clock.turn(day / 2)
    link.clock.pass(5000)
    // A channel is kept open by pings alone, which this test does not wait for: they are over.
    await new TestDevice(await arrive(t, { paired, now: now + 2 * day })).welcomed()
    await left(await placeOf(paired, now - day))
  },
)

t.test('at the place of a device no other device is answered, also a paired one', async (t) => {
  const { target, link } = await scene(t)
  const a = await pairedDevice(t, await link.offer({ isApproved: true }))
  const b = await pairedDevice(t, await link.offer({ isApproved: true }))
  const now = link.clock.now()
  const place = await placeOf(a.paired, now)
  await t.rejects(arrive(t, { paired: b.paired, now, place }), /closed with/)
  const stranger = { ...a.paired, own: await generateKeyPair() }
  await t.rejects(arrive(t, { paired: stranger, now, place }), /closed with/)
  await new TestDevice(await arrive(t, { paired: a.paired, now, place })).welcomed()
  t.equal(target.sockets.length, 0)
})

t.test(
  'a device that says nothing for ten seconds is given up, before and after the handshake',
  async (t) => {
    const { relay, link } = await scene(t)
    const offer = await link.offer()
    const silent = await comeTo(t, relay.url, offer.place)
    const { socket } = await arrive(t, { offer })
    let isClosed = false
    socket.on('close', () => {
      isClosed = true
    })
    // The knock of the silent one came first, so that the link has its seat by now.
    link.clock.pass(9_000)
    t.ok(silent.isOpen() && !isClosed)
    link.clock.pass(2_000)
    await silent.closed()
    await eventually(() => isClosed, 'the other is closed too')
    t.equal((await link.devices()).length, 0)
  },
)

t.test('eight devices wait at most, for an hour at most', async (t) => {
  const { link } = await scene(t)
  const waiting = []
  for (let i = 0; i < 8; i++) waiting.push(await pairedDevice(t, await link.offer()))
  const ninth = new TestDevice(await arrive(t, { offer: await link.offer() }))
  t.equal(await ninth.ended(), 'notApproved')
  t.equal((await link.devices()).length, 8)
  link.clock.turn(3_590_000)
  link.clock.pass(5000)
  t.equal((await link.devices()).length, 8)
  link.clock.pass(5000)
  await until('they are forgotten', async () => (await link.devices()).length === 0)
  for (const device of waiting) t.equal(await device.ended(), 'notApproved')
})

t.test('a device that pairs again with its key takes the place of its old self', async (t) => {
  const { link } = await scene(t)
  const first = await pairedDevice(t, await link.offer({ isApproved: true }))
  const offer = await link.offer()
  const again = new TestDevice(await arrive(t, { offer, own: first.paired.own }))
  t.equal((await again.welcomed()).state, 'waiting', 'it waits again')
  t.equal(await first.ended(), 'done')
  t.equal((await link.devices()).length, 1)
})

t.test('devices hear of each other, and those that wait hear nothing', async (t) => {
  const { link } = await scene(t)
  const phone = await pairedDevice(t, await link.offer({ isApproved: true }), 'Phone')
  const waits = await pairedDevice(t, await link.offer(), 'Tablet')
  const { device: id } = await waits.welcomed()
  await pairedDevice(t, await link.offer({ isApproved: true }), 'Laptop')
  await link.ask('DELETE', `/v1/devices/${id}`)
  await eventually(() => phone.notes.length === 3, 'all of it was told')
  t.match(phone.notes, [
    { kind: 'device-waiting', name: 'Tablet' },
    { kind: 'device-approved', name: 'Laptop' },
    { kind: 'device-revoked', name: 'Tablet' },
  ])
  t.same(waits.notes, [])
  t.equal(await waits.ended(), 'revoked')
})

t.test('the log has no key, no place, no ticket and no link', async (t) => {
  const { link, relay } = await scene(t)
  const offer = await link.offer({ isApproved: true })
  const device = await pairedDevice(t, offer)
  await link.ask('DELETE', `/v1/devices/${(await device.welcomed()).device}`)
  await device.ended()
  await t.rejects(arrive(t, { offer: { ...(await link.offer()), psk: randomBytes(32) } }))
  const { own, placeSecret } = device.paired
  const secrets = [offer.psk, offer.place, offer.daemonKey, own.publicKey, placeSecret].map(
    (bytes) => Buffer.from(bytes),
  )
  secrets.push(Buffer.from(await placeOf(device.paired, link.clock.now())))
  t.match(link.log(), 'a device has paired')
  for (const secret of secrets)
    for (const encoding of ['hex', 'base64', 'base64url'] as const)
      t.notMatch(link.log(), secret.toString(encoding))
  t.notMatch(link.log(), offer.link.split('#')[1] ?? '?')
  t.notMatch(relay.log(), offer.link.split('#')[1] ?? '?')
})
