/**
 * What can a relay do to those who meet at it? It changes, repeats, crosses and makes up the messages of handshakes, leads devices elsewhere,
 * gives places away, and knocks without end. Nobody gets in by it, the service hears nothing, and the link does a bounded amount of work.
 */
import v8 from 'node:v8'
import t from 'tap'
import { Seat } from '../../src/relay/link/seat.ts'
import { randomBytes, toBase64Url, type Bytes } from '../../src/relay/protocol/bytes.ts'
import {
  FIRST_MESSAGE_LENGTH,
  readHandshake,
  SECOND_MESSAGE_LENGTH,
} from '../../src/relay/protocol/handshake.ts'
import { generateKeyPair, NoiseError } from '../../src/relay/protocol/noise.ts'
import { decodeOffer, encodeOffer, OfferError } from '../../src/relay/protocol/offer.ts'
import { encodeDaemonMessage } from '../../src/relay/protocol/relay-wire.ts'
import {
  attackedScene,
  commandBytes,
  toldOf,
  type AttackedDevice,
  type AttackedScene,
} from '../helpers/attacked.ts'
import { arrive, connected, linkFor, TestDevice } from '../helpers/link.ts'
import { honest, type Malice, type MaliciousRoom } from '../helpers/malicious-relay.ts'
import { Daemon, relayFor } from '../helpers/relay.ts'
import { pairing, watch } from '../helpers/remote-device.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually, until } from '../helpers/waiting.ts'

type Tap = Parameters<typeof attackedScene>[0]

/** A device that was paired, has run a command, and has left. */
async function absentDevice(
  scene: AttackedScene,
): Promise<AttackedDevice & { room: MaliciousRoom }> {
  const device = await scene.pair()
  await scene.first(device)
  const room = scene.relay.rooms.at(-1) as MaliciousRoom
  device.remote.close()
  await scene.closed(device.device)
  return { ...device, room }
}

/** Nothing was dialled since, and nobody is connected. */
async function nothingHappened(t: Tap, scene: AttackedScene, dialled: number): Promise<void> {
  const devices = await scene.link.devices()
  t.notOk(devices.some(({ isConnected }) => isConnected))
  t.equal(scene.received.length, dialled, 'the service was not dialled')
}

function flipped(message: Bytes, bit: number): Bytes {
  const changed = message.slice()
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return changed
}

/** The last bit of the ephemeral key, which X25519 itself does not read. */
const UNREAD_BIT = 31 * 8 + 7

const lastBit = (length: number) => length * 8 - 1

/** What may be done to a message of the handshake. */
const HANDSHAKES: ReadonlyArray<readonly [title: string, malice: Malice]> = [
  ...[0, UNREAD_BIT, 40 * 8, 79 * 8, lastBit(FIRST_MESSAGE_LENGTH)].map(
    (bit) =>
      [
        `a first message whose bit ${bit} is flipped opens nothing`,
        ({ way, number, message }) =>
          way === 'up' && number === 0 ? [flipped(message, bit)] : [message],
      ] as const satisfies readonly [string, Malice],
  ),
  ...[0, UNREAD_BIT, lastBit(SECOND_MESSAGE_LENGTH)].map(
    (bit) =>
      [
        `a second message whose bit ${bit} is flipped opens nothing`,
        ({ way, number, message }) =>
          way === 'down' && number === 0 ? [flipped(message, bit)] : [message],
      ] as const satisfies readonly [string, Malice],
  ),
  [
    'a first message that is delivered twice opens nothing',
    ({ way, number, message }) => (way === 'up' && number === 0 ? [message, message] : [message]),
  ],
  [
    'a first message that is sent back to the device opens nothing',
    ({ way, number, message, room }) =>
      way === 'up' && number === 0 ? [{ room, way: 'down', message }] : [message],
  ],
  [
    'a second message that is sent back to the link opens nothing',
    ({ way, number, message, room }) =>
      way === 'down' && number === 0 ? [{ room, way: 'up', message }, message] : [message],
  ],
  [
    'a message of the relay between those of the handshake opens nothing',
    ({ way, number, message }) =>
      way === 'up' && number === 0 ? [randomBytes(FIRST_MESSAGE_LENGTH), message] : [message],
  ],
  [
    'a second message of the relay’s own opens nothing',
    ({ way, number, message }) =>
      way === 'down' && number === 0 ? [randomBytes(SECOND_MESSAGE_LENGTH)] : [message],
  ],
  [
    'a first record that the relay keeps, before another one, opens nothing',
    ({ way, number, message }) =>
      way === 'up' && number === 1 ? [randomBytes(64), message] : [message],
  ],
]

for (const [title, malice] of HANDSHAKES)
  t.test(title, async (t) => {
    const scene = await attackedScene(t)
    const { device } = await absentDevice(scene)
    const { relay, received, link } = scene
    const [dialled, rooms] = [received.length, relay.rooms.length]
    relay.malice = malice
    const again = scene.meet(device)
    t.not(await toldOf(again), '')
    t.notOk(again.states.some(({ kind }) => kind === 'open'))
    await eventually(() => relay.seatCounts.open === 0, 'the link has left too')
    await nothingHappened(t, scene, dialled)
    t.equal(relay.rooms.length, rooms + 1, 'one attempt, one handshake')
    relay.malice = honest
    const later = scene.meet(device)
    await later.remote.whenOpen()
    await scene.first(later)
    t.equal((await link.devices()).length, 1)
  })

t.test('a message of the handshake that the relay keeps is waited for ten seconds', async (t) => {
  const scene = await attackedScene(t)
  const { device } = await absentDevice(scene)
  const { relay, received, link } = scene
  for (const kept of ['up', 'down'] as const) {
    const { opened } = relay.seatCounts
    relay.malice = ({ way, number, message }) => (way === kept && number === 0 ? [] : [message])
    const again = scene.meet(device)
    await eventually(() => relay.seatCounts.opened > opened, 'the link has come')
    const room = relay.rooms.at(-1) as MaliciousRoom
    await eventually(() => room.sent[kept].length === 1, 'the message was sent')
    link.clock.pass(11_000)
    await eventually(() => relay.seatCounts.open === 0, 'the link has given up')
    t.not(await toldOf(again), '')
    again.remote.close()
    await nothingHappened(t, scene, received.length)
  }
})

t.test('two devices whose connections the relay crosses both get nowhere', async (t) => {
  const scene = await attackedScene(t)
  const devices = [(await absentDevice(scene)).device, (await absentDevice(scene)).device]
  const { relay, received } = scene
  const dialled = received.length
  const crossed: MaliciousRoom[] = []
  // The link comes once both are there, and each of its seats is joined with the other device.
  relay.seats = (room) => crossed[1 - crossed.indexOf(room)] ?? room
  for (const place of relay.places)
    relay.usurpers.set(place, (room) => {
      if (crossed.push(room) === 2) for (const each of crossed) relay.tellDaemon(each)
    })
  const both = devices.map((device) => scene.meet(device))
  for (const each of both) t.not(await toldOf(each), '')
  t.notOk(both.some(({ states }) => states.some(({ kind }) => kind === 'open')))
  await eventually(() => relay.seatCounts.open === 0, 'the link has left')
  await nothingHappened(t, scene, dialled)
})

t.test('two handshakes whose second messages are crossed both fail', async (t) => {
  const scene = await attackedScene(t)
  const { device } = await absentDevice(scene)
  const { relay, received } = scene
  const dialled = received.length
  const held: Array<{ room: MaliciousRoom; message: Bytes }> = []
  relay.malice = ({ way, number, message, room }) => {
    if (way === 'up' || number > 0) return [message]
    held.push({ room, message })
    const [a, b] = held
    if (a === undefined || b === undefined) return []
    return [
      { room: a.room, way: 'down', message: b.message },
      { room: b.room, way: 'down', message: a.message },
    ]
  }
  const both = [scene.meet(device), scene.meet(device)]
  for (const each of both)
    t.match(await toldOf(each), /is not the workspace, or something has changed/)
  await eventually(() => relay.seatCounts.open === 0, 'the link has left')
  await nothingHappened(t, scene, dialled)
})

t.test('a device that the relay leads to another place is not understood there', async (t) => {
  const scene = await attackedScene(t)
  const { relay, received } = scene
  const absent = await absentDevice(scene)
  const elsewhere = await linkFor(t, relay.url, scene.env)
  await connected(elsewhere)
  const { place: other } = await elsewhere.offer({ isApproved: true })
  await relay.sits(other)
  const { place: offered } = await scene.offer()
  const [dialled, answers] = [received.length, relay.answers]
  for (const place of [offered, other]) {
    relay.leads = () => toBase64Url(place)
    const lost = scene.meet(absent.device)
    t.not(await toldOf(lost), '')
    await eventually(() => relay.seatCounts.open === 0, 'it was left')
  }
  relay.leads = () => toBase64Url(other)
  const own = watch(t, await pairing(await scene.offer()), { clock: scene.deviceClock() })
  t.equal((await own.until('ended')).kind, 'ended')
  t.equal(relay.answers, answers, 'no handshake was answered')
  t.equal((await elsewhere.devices()).length, 0)
  await nothingHappened(t, scene, dialled)
})

t.test(
  'a whole session that the relay plays again proves nothing, after a restart too',
  async (t) => {
    const scene = await attackedScene(t)
    const { relay, received, link } = scene
    const { device } = await absentDevice(scene)
    const again = scene.meet(device)
    await again.remote.whenOpen()
    await scene.first(again)
    const { place, sent } = relay.rooms.at(-1) as MaliciousRoom
    again.remote.close()
    await scene.closed(device)
    const dialled = received.length
    const [first = new Uint8Array(), ...rest] = sent.up
    const play = async () => {
      const { answers } = relay
      const replay = relay.knock(place)
      await replay.until(() => replay.isSeated)
      replay.deliver('up', first)
      await replay.until(() => relay.answers > answers || !replay.isSeated)
      for (const message of rest) replay.deliver('up', message)
      await replay.until(() => !replay.isSeated)
      return relay.answers - answers
    }
    t.equal(await play(), 0, 'the running link does not even answer')
    await link.running.close()
    await until('the relay has noticed', () => relay.daemons === 0)
    const folder = link.config.stateDir.replace(/\/state$/, '')
    const restarted = await linkFor(t, relay.url, scene.env, { folder, clock: link.clock })
    await relay.sits(place)
    t.equal(await play(), 1, 'a new one answers once, and hears no record of it')
    t.equal(await play(), 0, 'and does not answer twice')
    t.notOk((await restarted.devices()).some(({ isConnected }) => isConnected))
    t.equal(received.length, dialled, 'the service was not dialled')
  },
)

t.test('a first message that is played a thousand times is not answered', async (t) => {
  const scene = await attackedScene(t)
  const { relay, received, link } = scene
  const { device } = await absentDevice(scene)
  const met = scene.meet(device)
  await met.remote.whenOpen()
  const { place, sent } = relay.rooms.at(-1) as MaliciousRoom
  const [first = new Uint8Array()] = sent.up
  met.remote.close()
  await scene.closed(device)
  const [dialled, answers] = [received.length, relay.answers]
  const seats = () => v8.queryObjects(Seat, { format: 'count' })
  const before = seats()
  const notHeard = () => link.log().split('a knock was not heard').length - 1
  // The device itself has knocked once in this minute.
  for (let played = 0; played < 1000; played++) {
    if (played % 30 === 29) {
      const count = notHeard()
      relay.knock(place)
      await eventually(() => notHeard() > count, 'the 31st knock of a minute is not heard')
      link.clock.pass(60_000)
    }
    const replay = relay.knock(place)
    await replay.until(() => replay.isSeated)
    replay.deliver('up', first)
    await replay.until(() => !replay.isSeated)
  }
  t.equal(relay.answers, answers, 'none was answered')
  t.equal(relay.seatCounts.most, 1)
  t.ok(seats() < before + 30, 'of a thousand seats few are still in memory')
  await nothingHappened(t, scene, dialled)
})

t.test('a relay that knocks without end gets four seats at a place, and 64 in all', async (t) => {
  const scene = await attackedScene(t)
  const { relay, received, link } = scene
  for (let i = 0; i < 3; i++) await absentDevice(scene)
  const dialled = received.length
  for (let i = 0; i < 8; i++) await scene.offer()
  const { answers, places } = relay
  t.equal(places.length, 8 + 3 * 3, 'of the offers, and of three days of each device')
  const notHeard = () => link.log().split('a knock was not heard').length - 1
  const [one = ''] = places
  for (let i = 0; i < 1000; i++) relay.knock(one)
  await eventually(() => notHeard() === 996, 'of a thousand four are heard')
  await eventually(() => relay.seatCounts.open === 4, 'and are answered')
  for (const place of places.slice(1)) for (let i = 0; i < 10; i++) relay.knock(place)
  for (let i = 0; i < 100; i++) relay.knock(randomBytes(16)) // where nobody sits
  await eventually(() => notHeard() === 996 + 160 - 60, 'of the others, 60')
  await eventually(() => relay.seatCounts.open === 64, 'as many have come')
  link.clock.pass(11_000)
  await eventually(() => relay.seatCounts.open === 0, 'who says nothing is left')
  t.equal(relay.seatCounts.most, 64)
  t.equal(relay.answers, answers, 'no handshake was answered')
  await nothingHappened(t, scene, dialled)
})

t.test('a command that the relay holds back for 90 seconds is not run', async (t) => {
  const scene = await attackedScene(t)
  const { relay, received, link } = scene
  const device = await scene.pair()
  await scene.first(device)
  const room = relay.rooms.at(-1) as MaliciousRoom
  const dialled = received.length
  const held: Bytes[] = []
  relay.malice = ({ way, message }) => {
    if (way === 'down') return [message]
    held.push(message)
    return []
  }
  const command = device.command('/late')
  await eventually(() => held.length >= 7, 'the relay has the whole command')
  for (let s = 0; s < 95; s += 5) link.clock.pass(5000)
  for (const message of held) room.deliver('up', message)
  await t.rejects(command)
  await scene.closed(device.device)
  t.equal(received.length, dialled, 'the service was not dialled')
})

t.test('a relay that drips records makes no command 90 seconds late', async (t) => {
  for (const seconds of [85, 90]) {
    const scene = await attackedScene(t)
    const { relay, received, link } = scene
    const device = await scene.pair()
    await scene.first(device)
    const room = relay.rooms.at(-1) as MaliciousRoom
    const dialled = received.length
    const held: Bytes[] = []
    relay.malice = ({ way, message }) => {
      if (way === 'down') return [message]
      held.push(message)
      return []
    }
    const commands = ['/one', '/two'].map(async (path) => {
      const answer = await device.command(path)
      return answer.length
    })
    const settled = Promise.allSettled(commands)
    await eventually(() => held.length >= 14, 'the relay has both commands')
    const pass = (s: number): void => {
      for (let passed = 0; passed < s; passed += 5) link.clock.pass(5000)
    }
    pass(45)
    // Silence would end the channel. So the relay lets a few records through: the small ones, which open a stream.
    const small = held.findIndex(({ length }) => length > 64)
    for (const message of held.splice(0, small)) room.deliver('up', message)
    await eventually(() => received.length > dialled, 'the link has heard them')
    pass(seconds - 45)
    relay.malice = honest
    for (const message of held) room.deliver('up', message)
    const results = (await settled).map(({ status }) => status)
    if (seconds < 90) {
      t.same(results, ['fulfilled', 'fulfilled'], 'less late, both are run')
      t.same(
        received.slice(dialled).map(String).toSorted(),
        ['/one', '/two'].map((path) => commandBytes(path)),
      )
      continue
    }
    t.same(results, ['rejected', 'rejected'])
    t.match(await toldOf(device), 'the workspace has closed the connection')
    await scene.closed(device.device)
    for (const bytes of received.slice(dialled))
      t.equal(bytes.length, 0, 'the service has got no byte of a command')
  }
})

t.test('a command that is late arrives whole and once', async (t) => {
  const scene = await attackedScene(t)
  const { relay, received } = scene
  const device = await scene.pair()
  await scene.first(device)
  const room = relay.rooms.at(-1) as MaliciousRoom
  const held: Bytes[] = []
  relay.malice = ({ way, message }) => {
    if (way === 'down') return [message]
    held.push(message)
    return []
  }
  const command = device.command('/late')
  await eventually(() => held.length >= 7, 'the relay has it')
  relay.malice = honest
  for (const message of held) room.deliver('up', message)
  await command
  t.same(received.slice(1).map(String), [commandBytes('/late')])
})

t.test('a link whose version or approval was changed pairs nobody', async (t) => {
  const scene = await attackedScene(t)
  const { received, link } = scene
  const offer = await scene.offer(false)
  const bytes = encodeOffer(offer)
  t.throws(() => decodeOffer(Uint8Array.from(bytes, (byte, i) => (i === 0 ? 2 : byte))), OfferError)
  const changed = { ...offer, isApproved: true }
  const device = watch(t, await pairing(changed), { clock: scene.deviceClock() })
  t.equal((await device.until('ended')).kind, 'ended')
  t.equal((await link.devices()).length, 0)
  const right = watch(t, await pairing(offer), { clock: scene.deviceClock() })
  await right.until('waiting')
  await t.rejects(right.remote.fetch({ path: '/' }))
  t.same(received, [], 'the service was not dialled')
})

t.test(
  'who knows the id and the code cannot take the place, nor make the link leave',
  async (t) => {
    const relay = await relayFor(t)
    const { link, devices } = await atRelay(t, relay.url)
    const offer = await link.offer({ isApproved: true })
    await eventually(() => relay.sizes.places === 1, 'the relay has the place')
    const evictor = await new Daemon(relay.url).open()
    // All that the code says, as if it were the key of the place; then the way out for the one who sits there.
    const { place, psk, daemonKey } = offer
    const padded = new Uint8Array(32)
    padded.set(place)
    const answer = await evictor.sit(padded, psk, daemonKey)
    t.equal(answer.kind, 'seated', 'at places that nobody knows')
    evictor.send(encodeDaemonMessage({ kind: 'leave', places: [place] }))
    evictor.say({ kind: 'ping' })
    t.equal((await evictor.hears()).kind, 'pong')
    const device = new TestDevice(await arrive(t, { offer }))
    t.equal((await device.welcomed()).state, 'approved')
    t.equal(await devices(), 1)
    t.same(evictor.heard, [], 'the evictor heard of no knock')
  },
)

t.test(
  'who gets the place from the relay itself, and the code too, is not the workspace',
  async (t) => {
    const scene = await attackedScene(t)
    const { relay, received, link } = scene
    const offer = await scene.offer()
    const own = await generateKeyPair()
    const { promise, resolve } = Promise.withResolvers<MaliciousRoom>()
    relay.usurpers.set(toBase64Url(offer.place), resolve)
    const device = watch(t, await pairing(offer), { clock: scene.deviceClock() })
    const room = await promise
    await room.until(() => room.early.length > 0)
    const [first = new Uint8Array()] = room.early
    for (const daemonKey of [own.publicKey, offer.daemonKey]) {
      const purpose = { kind: 'pair', offer: { ...offer, daemonKey } } as const
      await t.rejects(readHandshake({ purpose, own, first }), NoiseError)
    }
    room.deliver('down', randomBytes(SECOND_MESSAGE_LENGTH))
    t.match((await device.until('ended')).problem, { problem: 'not-the-workspace' })
    t.same(received, [], 'the service was not dialled')
    t.match(await link.status(), { offers: 1, devices: 0 }, 'the link’s offer is as it was')
    relay.usurpers.clear()
    await watch(t, await pairing(offer), { clock: scene.deviceClock() }).remote.whenOpen()
  },
)

t.test('a relay that talks nonsense to the link is left, and dialled again', async (t) => {
  const scene = await attackedScene(t)
  const { relay, link, received } = scene
  const offer = await scene.offer()
  for (const nonsense of [
    'text',
    new Uint8Array(0),
    new Uint8Array(64).fill(0x13),
    randomBytes(65_536),
  ]) {
    await connected(link)
    relay.say(nonsense)
    await until('it has left', async () => !(await link.status()).isConnected)
    link.clock.pass(9000) // longer than its pause, and shorter than a dial may take
  }
  await connected(link)
  await relay.sits(offer.place)
  t.same(received, [])
})

async function atRelay(t: Tap, url: string) {
  const folder = temporaryFolder(t)
  const link = await linkFor(t, url, { LINK_TARGET: 'http://127.0.0.1:9' }, { folder })
  await connected(link)
  return { link, devices: async () => (await link.devices()).length }
}
