/** Who gets in by a link, and what becomes of a device that is revoked? Proved with real devices, through relays, with a real gateway behind. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pair as pairCommand } from '../../src/commands/pair.ts'
import { isEqual } from '../../src/relay/protocol/bytes.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import { offerOfLink } from '../../src/relay/protocol/offer.ts'
import { runCommand } from '../helpers/command.ts'
import { connected, linkFor } from '../helpers/link.ts'
import { honest, MaliciousRelay } from '../helpers/malicious-relay.ts'
import { manualClock } from '../helpers/manual-clock.ts'
import { failure, pairing, watch, type WatchedDevice } from '../helpers/remote-device.ts'
import { startReached } from '../helpers/reached.ts'
import { eventually } from '../helpers/waiting.ts'

async function start(t: Test, settings: Record<string, string> = {}) {
  const relay = await MaliciousRelay.start(t)
  const reached = await startReached(t, {
    ...{ relay: relay.url, settings, sits: (place) => relay.sits(place) },
  })
  return { relay, ...reached }
}

/** Waits until each device is open, or has ended. */
async function settled(devices: readonly WatchedDevice[]): Promise<string[]> {
  const kinds = () => devices.map(({ remote }) => remote.state.kind)
  await eventually(() => kinds().every((kind) => kind !== 'connecting'), 'all are in or out')
  return kinds()
}

t.test('of four devices that use a link at once, one gets in', async (t) => {
  const { link, offer, services, relay } = await start(t)
  const made = await offer()
  const options = await Promise.all([1, 2, 3, 4].map(() => pairing(made)))
  // The link comes to all of them once all are there.
  const rooms: Parameters<typeof relay.tellDaemon>[0][] = []
  for (const place of relay.places)
    relay.usurpers.set(place, (room) => {
      if (rooms.push(room) === 4) for (const each of rooms) relay.tellDaemon(each)
    })
  const devices = options.map((each) => watch(t, each))
  const kinds = await settled(devices)
  t.same(kinds.toSorted(), ['ended', 'ended', 'ended', 'open'])
  t.equal((await link.devices()).length, 1)
  for (const { remote } of devices)
    if (remote.state.kind === 'ended')
      await t.rejects(async () => void (await remote.fetch({ path: '/' })))
  t.equal(services.dashboard.requests.length, 0, 'those who were refused reach nothing')
})

t.test('a link is good for one device, and not for the next', async (t) => {
  const { link, offer, services } = await start(t)
  const made = await offer()
  await watch(t, await pairing(made)).remote.whenOpen()
  const second = watch(t, await pairing(made))
  t.match((await second.until('ended')).problem, failure('nobody-there'))
  t.equal((await link.devices()).length, 1)
  t.equal(services.dashboard.requests.length, 0)
})

t.test('a link that is too old lets nobody in, also a device whose clock is slow', async (t) => {
  const { link, offer, services } = await start(t)
  const made = await offer()
  const slow = manualClock(link.clock.now())
  link.clock.turn(600_000)
  for (const clock of [manualClock(link.clock.now()), slow])
    t.same(await settled([watch(t, await pairing(made), { clock })]), ['ended'])
  t.equal((await link.devices()).length, 0)
  t.equal(services.dashboard.requests.length, 0)
})

t.test('a link of before a restart lets nobody in, and who was paired comes back', async (t) => {
  const { link, offer, services, pair, relay, folder, env } = await start(t)
  const { remote, paired } = await pair()
  const made = await offer()
  remote.close()
  await link.running.close()
  await relay.until(() => (relay.daemons === 0 ? true : undefined))
  const again = await linkFor(t, relay.url, env, { folder, clock: link.clock })
  await connected(again)
  const fresh = await again.offer()
  await relay.sits(fresh.place)
  const device = watch(t, await pairing(made))
  t.match((await device.until('ended')).problem, failure('nobody-there'))
  t.notOk(isEqual(made.psk, fresh.psk), 'the secret of a link is another one')
  t.notOk(isEqual(made.place, fresh.place), 'and so is its place')
  t.equal((await again.devices()).length, 1)
  t.equal(services.dashboard.requests.length, 0)
  const known = paired[0]
  if (known === undefined) throw new Error('it was paired')
  const back = watch(t, known)
  await back.remote.whenOpen()
  t.equal((await back.remote.fetch({ path: '/' })).status, 200)
})

t.test('the key in a printed link is the one that listens, and no other will do', async (t) => {
  const { link, relay, services } = await start(t)
  const env = { LINK_OWNER_SOCKET: link.config.ownerSocket }
  const { out } = await runCommand(pairCommand, ['--approved'], env)
  const offer = offerOfLink(out.trimEnd().split('\n').at(-1) ?? '')
  await relay.sits(offer.place)
  const file = readFileSync(join(link.config.stateDir, 'daemon-keypair.json'), 'utf8')
  const { publicKey } = JSON.parse(file) as { publicKey: string }
  t.equal(Buffer.from(offer.daemonKey).toString('base64url'), publicKey)
  const other = { ...offer, daemonKey: (await generateKeyPair()).publicKey }
  const wrong = watch(t, await pairing(other), { clock: manualClock() })
  t.equal((await settled([wrong]))[0], 'ended')
  t.equal(services.dashboard.requests.length, 0)
  const right = watch(t, await pairing(offer))
  await right.remote.whenOpen()
  t.equal((await right.remote.fetch({ path: '/' })).status, 200)
})

t.test(
  'a revoked device loses everything at once, also when the relay keeps that from it',
  async (t) => {
    for (const malice of [honest, () => []]) {
      const { link, pair, running, relay } = await start(t)
      const { remote, paired, until } = await pair()
      const { sessions, openSockets } = running.parts
      await remote.openWebSocket({ path: '/socket' }, { onMessage() {}, onClose() {} })
      await eventually(() => openSockets.size === 1, 'its WebSocket is open')
      t.equal(sessions.size, 1)
      relay.malice = malice
      const id = paired[0]?.id
      t.equal((await link.ask('DELETE', `/v1/devices/${id}`)).status, 200)
      // The clock of the link stands still: nothing of this waits for its time.
      await eventually(() => openSockets.size === 0, 'the WebSocket is closed')
      await eventually(() => sessions.size === 0, 'the session has ended')
      await eventually(() => relay.seatCounts.open === 0, 'the link has left')
      if (malice === honest) t.match((await until('ended')).problem, failure('revoked'))
      remote.close()
      const known = paired[0]
      if (known === undefined) throw new Error('it was paired')
      relay.malice = honest
      await eventually(() => relay.places.length === 0, 'its places are left')
      const again = watch(t, known, { clock: manualClock() })
      await eventually(() => again.states.length > 1, 'it tries again')
      t.match(again.remote.state, { kind: 'connecting', problem: failure('nobody-there') })
    }
  },
)
