/** Does a device pair with its workspace, stay connected, and come back? Tested against a small relay and a small daemon. */
import t from 'tap'
import { SYSTEM_CLOCK, type ClientClock } from '../../../src/relay/client/clock.ts'
import { nodeAddress } from '../../../src/relay/client/meet.ts'
import { toBase64Url } from '../../../src/relay/protocol/bytes.ts'
import { MAX_STREAMS } from '../../../src/relay/protocol/streams.ts'
import { RELAY_CLOSE } from '../../../src/relay/protocol/relay-wire.ts'
import { manualClock } from '../../helpers/manual-clock.ts'
import {
  failure,
  openDevice,
  pairing,
  startSurroundings,
  watch,
} from '../../helpers/remote-device.ts'
import { startRelayDaemon } from '../../helpers/relay-daemon.ts'
import { startTinyRelay } from '../../helpers/tiny-relay.ts'
import { eventually } from '../../helpers/waiting.ts'

const MINUTE = 60_000

t.test('a link pairs a device, whose requests are those of the owner', async (t) => {
  const around = await startSurroundings(t)
  const { remote, paired, states } = await openDevice(t, around)
  const { daemon, relay, workspace } = around
  t.equal(paired.length, 1)
  t.match(paired[0], { host: 'localhost', target: 'gateway', name: 'Laptop', relay: relay.url })
  t.equal(paired[0]?.id, (await daemon.welcomed(1)).deviceId)
  t.same(
    states.map(({ kind }) => kind),
    ['connecting', 'open'],
  )
  const answer = await remote.fetch({ path: '/a?b=c' })
  t.equal(answer.status, 200)
  t.equal(await answer.text(), 'hello')
  t.match(workspace.lastHeaders, { authorization: 'Bearer token.1', host: 'localhost' })
  t.same(workspace.requests, ['POST /_gateway/device-session', 'GET /a?b=c'])
  await (await remote.fetch({ path: '/' })).text()
  t.equal(workspace.tokens, 1, 'the session is kept')
  const seen = Buffer.concat(relay.frames).toString('latin1')
  for (const secret of ['hello', 'token', 'HTTP/1.1', 'Laptop', '/a?b', 'localhost'])
    t.notMatch(seen, secret, 'the relay has not seen it')
})

t.test('a paired device meets the workspace again without a link', async (t) => {
  const around = await startSurroundings(t)
  const first = await openDevice(t, around)
  first.remote.close()
  const { remote, paired } = watch(t, first.device)
  await remote.whenOpen()
  t.same(paired, [], 'there is nothing new to keep')
  t.equal((await around.daemon.welcomed(2)).deviceId, first.device.id)
  t.equal((await remote.fetch({ path: '/' })).status, 200)
})

t.test('a connection that the relay cuts is there again by itself', async (t) => {
  const around = await startSurroundings(t)
  const { remote, until } = await openDevice(t, around)
  around.workspace.answer = () => {} // never
  const answer = remote.fetch({ path: '/slow' })
  await eventually(() => around.workspace.requests.includes('GET /slow'), 'the request came')
  around.relay.cut()
  await t.rejects(answer, failure('cut'))
  await until('open')
  await around.daemon.welcomed(2)
  around.workspace.answer = (_request, response) => void response.end('again')
  t.equal(await (await remote.fetch({ path: '/' })).text(), 'again')
})

t.test('a device that waits shows the code of the list, and can do nothing before', async (t) => {
  const around = await startSurroundings(t)
  const { daemon } = around
  daemon.state = 'waiting'
  const { remote, until, paired } = watch(t, await pairing(await daemon.offer()))
  const { code } = await until('waiting')
  const seen = await daemon.welcomed(1)
  t.equal(code, seen.code)
  t.match(code, /^\d{3} \d{3}$/)
  t.equal(paired.length, 1, 'it keeps the pairing meanwhile')
  await t.rejects(remote.fetch({ path: '/' }), failure('not-open'))
  t.equal(daemon.streams, 0)
  seen.tell({ kind: 'device-waiting', name: 'Phone' })
  seen.tell({ kind: 'approved', name: 'Laptop' })
  await until('open')
  t.equal((await remote.fetch({ path: '/' })).status, 200)
})

t.test('a device hears what happens to others', async (t) => {
  const around = await startSurroundings(t)
  const { notes } = await openDevice(t, around)
  const channel = await around.daemon.welcomed(1)
  channel.tell({ kind: 'device-waiting', name: 'Phone' })
  channel.tell({ kind: 'approved', name: 'Laptop' })
  channel.tell({ kind: 'device-revoked', name: 'Phone' })
  await eventually(() => notes.length === 2, 'both notes')
  t.same(notes, [
    { kind: 'device-waiting', name: 'Phone' },
    { kind: 'device-revoked', name: 'Phone' },
  ])
})

for (const [reason, problem] of [
  ['revoked', 'revoked'],
  ['notApproved', 'not-approved'],
] as const)
  t.test(`a device that is told "${reason}" does not come back`, async (t) => {
    const around = await startSurroundings(t)
    const { remote, until } = await openDevice(t, around)
    const channel = await around.daemon.welcomed(1)
    around.workspace.answer = () => {} // never
    const answer = remote.fetch({ path: '/slow' })
    await eventually(() => around.workspace.requests.includes('GET /slow'), 'the request came')
    channel.close(reason)
    await t.rejects(answer, failure('cut'))
    t.equal((await until('ended')).problem.problem, problem)
    await t.rejects(remote.fetch({ path: '/' }), failure(problem))
    await t.rejects(remote.whenOpen(), failure(problem))
    t.equal(around.relay.knocks, 1)
  })

t.test('a link that nobody answers for ends the pairing, and says what to do', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  const offer = await daemon.offer()
  daemon.close()
  await eventually(() => relay.places === 0, 'the daemon has left')
  const { until } = watch(t, await pairing(offer))
  const { problem } = await until('ended')
  t.equal(problem.problem, 'nobody-there')
  t.match(problem.message, 'workspace-gateway pair')
  t.equal(relay.knocks, 1)
})

for (const [wrong, hours] of [
  ['a day ahead', 24],
  ['a day behind', -24],
  ['a month ahead', 31 * 24],
  ['years behind', -20_000 * 24],
] as const)
  t.test(`a device whose clock is ${wrong} pairs, and comes back`, async (t) => {
    const { daemon, relay } = await startSurroundings(t)
    const clock = manualClock(Date.now() + hours * 60 * MINUTE)
    const first = watch(t, await pairing(await daemon.offer()), { clock })
    await first.remote.whenOpen()
    t.equal((await first.remote.fetch({ path: '/' })).status, 200)
    first.remote.close()
    const [device] = first.paired
    t.ok(device)
    if (device === undefined) return
    await watch(t, device, { clock }).remote.whenOpen()
    t.equal(relay.knocks, 2, 'at the first attempt')
  })

/** The machine's clock, wrong by so many days. */
const wrongBy = (days: number): ClientClock => ({
  ...SYSTEM_CLOCK,
  now: () => Date.now() + days * 24 * 60 * MINUTE,
})

t.test('a device whose wrong clock was set right after it was paired comes back', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  const first = watch(t, await pairing(await daemon.offer()), { clock: wrongBy(-40) })
  await first.remote.whenOpen()
  first.remote.close()
  const [device] = first.paired
  t.ok(device)
  if (device === undefined) return
  const again = watch(t, device, { random: () => 0 })
  await again.remote.whenOpen()
  t.equal(relay.knocks, 3, 'at the second attempt')
  relay.cut()
  await daemon.welcomed(3)
  t.equal(relay.knocks, 4, 'and from then on at the first')
})

t.test('a device with a right clock keeps no correction of it, and needs none', async (t) => {
  const around = await startSurroundings(t)
  const { remote, device } = await openDevice(t, around)
  t.notOk('clockOffset' in device)
  remote.close()
  const { until } = watch(t, device, { clock: wrongBy(3), random: () => 0 })
  await eventually(() => around.relay.knocks >= 4, 'it goes on trying')
  const { problem } = await until('connecting')
  t.match(problem, { problem: 'nobody-there', message: /date is wrong/ })
  t.equal(around.daemon.channels.length, 1)
})

t.test('a pairing that is cut before the welcome is found by a wrong clock too', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  let frames = 0
  relay.change = (frame) => {
    if (++frames === 2) relay.cut() // the first is the handshake's, the second the welcome
    return frames === 2 ? undefined : frame
  }
  const { remote, paired } = watch(t, await pairing(await daemon.offer()), { clock: wrongBy(90) })
  await remote.whenOpen()
  t.equal(paired.length, 1)
  t.equal(relay.knocks, 2)
})

t.test('who has not seen the link gets no answer, and nothing behind is dialled', async (t) => {
  const { daemon } = await startSurroundings(t)
  const offer = { ...(await daemon.offer()), psk: new Uint8Array(32) }
  const { until } = watch(t, await pairing(offer))
  t.equal((await until('ended')).problem.problem, 'cut')
  t.equal(daemon.streams, 0)
})

t.test('a relay that answers in place of the workspace is found out', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  relay.change = (frame) => frame.map((byte, i) => (i === 40 ? byte ^ 1 : byte))
  const { until, paired } = watch(t, await pairing(await daemon.offer()))
  t.equal((await until('ended')).problem.problem, 'not-the-workspace')
  t.same(paired, [])
  t.equal(daemon.streams, 0)
})

t.test(
  'a record that the relay has changed ends the connection, and a new one begins',
  async (t) => {
    const around = await startSurroundings(t)
    const { remote, until } = await openDevice(t, around)
    around.relay.change = (frame) => frame.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
    await t.rejects(remote.fetch({ path: '/' }), failure('cut'))
    around.relay.change = (frame) => frame
    await until('open')
    t.equal((await remote.fetch({ path: '/' })).status, 200)
  },
)

t.test('a pairing that is cut before the welcome is found again', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  let frames = 0
  relay.change = (frame) => {
    if (++frames === 2) relay.cut() // the first is the handshake's, the second the welcome
    return frames === 2 ? undefined : frame
  }
  const { remote, paired } = watch(t, await pairing(await daemon.offer()))
  await remote.whenOpen()
  t.equal(paired.length, 1)
  t.equal(relay.knocks, 2)
  t.equal((await remote.fetch({ path: '/' })).status, 200)
})

t.test('a relay sends a device on to another of its nodes', async (t) => {
  const { workspace, relay } = await startSurroundings(t)
  const other = await startTinyRelay()
  const daemon = await startRelayDaemon(other.url, { target: workspace.port })
  t.teardown(async () => {
    daemon.close()
    await other.close()
  })
  relay.refuse = { code: RELAY_CLOSE.otherNode, reason: other.url }
  const offer = { ...(await daemon.offer()) }
  // The offer names the first relay, as the daemon knows it by its public name.
  daemon.readsOffersAs(relay.url)
  const { remote } = watch(t, await pairing({ ...offer, relay: relay.url }))
  await remote.whenOpen()
  t.equal(relay.knocks, 1)
  t.equal(other.knocks, 1)
})

t.test('a relay that sends a device round in circles is left', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  relay.refuse = { code: RELAY_CLOSE.otherNode, reason: relay.url }
  const { states } = watch(t, await pairing(await daemon.offer()), { clock: manualClock() })
  await eventually(() => states.some((state) => retryIn(state) !== undefined), 'it gives up')
  t.equal(relay.knocks, 4)
  t.equal(daemon.streams, 0)
})

const retryIn = (state: object) => ('retryAt' in state ? state.retryAt : undefined)

t.test('only addresses of the relay itself are followed', async (t) => {
  const own = 'wss://relay.example.com'
  for (const address of [
    own,
    'wss://relay.example.com:8443',
    'wss://a.relay.example.com',
    'wss://b-1.fra.relay.example.com:444',
  ])
    t.equal(nodeAddress(own, address), address)
  for (const address of [
    '',
    'ws://relay.example.com',
    'ws://a.relay.example.com',
    'wss://example.com',
    'wss://evilrelay.example.com',
    'wss://relay.example.com.evil.test',
    'wss://relay.example.com@evil.test',
    'wss://relay.example.com/path',
    'wss://relay.example.com#x',
    'wss://relay.example.com\n',
    'https://relay.example.com',
    'wss://localhost',
    'wss://RELAY.example.com',
  ])
    t.throws(() => nodeAddress(own, address), failure('relay-unreachable'), address)
  t.equal(nodeAddress('ws://127.0.0.1:1', 'ws://127.0.0.1:2'), 'ws://127.0.0.1:2')
  t.throws(() => nodeAddress('ws://127.0.0.1:1', 'ws://192.0.2.1:2'), failure('relay-unreachable'))
})

t.test('a relay that is away is tried again, after pauses that grow to a minute', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  const offer = await daemon.offer()
  await relay.close()
  const clock = manualClock()
  const { states, until } = watch(t, await pairing(offer), { clock, random: () => 1 })
  for (const pause of [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
    await eventually(() => clock.pauses().includes(pause), `a pause of ${pause}`)
    t.match(states.at(-1), { kind: 'connecting', problem: { problem: 'relay-unreachable' } })
    t.same(clock.pauses(), [pause], 'nothing else is planned')
    clock.advance(pause)
  }
  await eventually(() => clock.pauses().includes(60_000), 'another pause')
  clock.advance(10 * MINUTE)
  t.equal((await until('ended')).problem.problem, 'link-expired')
})

t.test('somebody who looks need not wait for the end of a pause', async (t) => {
  const around = await startSurroundings(t)
  const { device, remote: before } = await openDevice(t, around)
  before.close()
  const clock = manualClock()
  around.relay.refuse = { code: RELAY_CLOSE.restart, reason: '' }
  const { remote, states } = watch(t, device, { clock })
  await eventually(() => states.some((state) => retryIn(state) !== undefined), 'a pause')
  around.relay.refuse = undefined
  remote.retryNow()
  await remote.whenOpen()
  t.equal(around.relay.knocks, 3)
})

t.test('the meeting place of a paired device is another one each day', async (t) => {
  const clock = manualClock()
  const around = await startSurroundings(t, { now: () => clock.now() })
  const { device, remote } = await openDevice(t, around)
  remote.close()
  const places = new Set<string>()
  for (const day of [0, 1]) {
    clock.advance(day * 86_400_000)
    const knocked = around.relay.lastPlace
    const again = watch(t, device, { clock })
    await again.remote.whenOpen()
    t.not(around.relay.lastPlace, knocked)
    places.add(around.relay.lastPlace)
    again.remote.close()
  }
  t.equal(places.size, 2)
})

t.test('a session is renewed before its end, also when nothing is asked', async (t) => {
  const clock = manualClock()
  // The same time for both: records of a device whose time alone goes on would seem to come from the future, and those to it late.
  const around = await startSurroundings(t, { elapsed: () => clock.elapsed() })
  const { device, remote: before } = await openDevice(t, around)
  before.close()
  const { remote, notes } = watch(t, device, { clock })
  await remote.whenOpen()
  const channel = await around.daemon.welcomed(2)
  around.workspace.lifeMs = 4 * MINUTE
  await (await remote.fetch({ path: '/' })).text()
  t.equal(around.workspace.tokens, 1)
  await eventually(() => clock.pauses().some((ms) => ms > 2.9 * MINUTE), 'a renewal is planned')
  // In steps, in which something is heard: silence for so long would be the end of the connection.
  for (let step = 1; step <= 7; step++) {
    clock.advance(29_000)
    channel.tell({ kind: 'device-waiting', name: 'Phone' })
    await eventually(() => notes.length === step, 'the note is heard')
  }
  await eventually(() => around.workspace.tokens === 2, 'it is renewed')
  t.equal(around.workspace.lastHeaders.authorization, 'Bearer token.1', 'by the one before')
})

t.test('a session that has ended meanwhile is fetched once more', async (t) => {
  const around = await startSurroundings(t)
  const { remote } = await openDevice(t, around)
  await (await remote.fetch({ path: '/' })).text()
  around.workspace.token = 'another'
  t.equal((await remote.fetch({ path: '/' })).status, 200)
  t.equal(around.workspace.tokens, 2)
})

t.test('requests at the same time share one session', async (t) => {
  const around = await startSurroundings(t)
  const { remote } = await openDevice(t, around)
  const answers = await Promise.all(['/1', '/2', '/3'].map((path) => remote.fetch({ path })))
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200],
  )
  t.equal(around.workspace.tokens, 1)
})

t.test('more requests at a time than a channel has streams are refused here', async (t) => {
  const around = await startSurroundings(t)
  const { remote } = await openDevice(t, around)
  await (await remote.fetch({ path: '/' })).text()
  await eventually(() => around.daemon.openStreams() === 0, 'no stream is open')
  around.workspace.answer = () => {} // never
  const waiting = Array.from({ length: MAX_STREAMS }, async () => remote.fetch({ path: '/slow' }))
  for (const each of waiting) each.catch(() => {})
  await eventually(() => around.daemon.openStreams() === MAX_STREAMS, 'all are open')
  await t.rejects(remote.fetch({ path: '/' }), failure('not-open'))
})

t.test('a service that is no gateway gets no session of ours', async (t) => {
  const around = await startSurroundings(t, { kind: 'service' })
  const { remote, states } = await openDevice(t, around)
  t.match(states.at(-1), { kind: 'open', target: 'service' })
  t.equal((await remote.fetch({ path: '/' })).status, 401)
  t.same(around.workspace.requests, ['GET /'])
  t.equal(around.workspace.lastHeaders.authorization, undefined)
  await t.rejects(remote.showFactor('123456'), failure('refused'))
})

t.test('a device that leaves tells the workspace, and comes no more', async (t) => {
  const around = await startSurroundings(t)
  const { remote } = await openDevice(t, around)
  const channel = await around.daemon.welcomed(1)
  remote.close()
  await eventually(() => channel.end !== undefined, 'the daemon hears of it')
  t.match(channel.end, { how: 'closed', reason: 'done' })
  await t.rejects(remote.fetch({ path: '/' }), failure('aborted'))
})

t.test('a name that the owner could not read is refused before anything is sent', async (t) => {
  const { daemon, relay } = await startSurroundings(t)
  const options = await pairing(await daemon.offer())
  for (const name of ['', 'a\nb', '\u202eabc', 'x'.repeat(65)])
    t.throws(() => watch(t, { ...options, name }), failure('bad-request'))
  t.equal(relay.knocks, 0)
  t.equal(toBase64Url(options.own.publicKey).length, 43)
})
