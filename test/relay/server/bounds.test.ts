/** What does a relay refuse, and what does it keep? Its bounds, over real connections; time passes when the test says so. */
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { DEVICE_PREFIX, encodeDaemonMessage } from '../../../src/relay/protocol/relay-wire.ts'
import { randomBytes } from '../../../src/relay/protocol/bytes.ts'
import {
  Daemon,
  HandClock,
  newPlace,
  Peer,
  relayFor,
  roomAt,
  seatedDaemon,
} from '../../helpers/relay.ts'
import { eventually, standsStill, until } from '../../helpers/waiting.ts'

/** The status with which a handshake was refused. */
async function refusedWith(url: string, headers: Record<string, string> = {}): Promise<number> {
  const { socket } = new Peer(url, { headers })
  const [request, response] = (await once(socket, 'unexpected-response')) as [
    { destroy(): void },
    { statusCode: number },
  ]
  request.destroy()
  return response.statusCode
}

/** Whether a handshake is accepted. */
function opens(url: string, headers: Record<string, string>): Promise<boolean> {
  return new Promise((resolve) => {
    const { socket } = new Peer(url, { headers })
    socket.once('open', () => resolve(true))
    socket.once('unexpected-response', (request) => {
      request.destroy()
      resolve(false)
    })
  })
}

/** Sends bytes. @returns what came until the end of the connection */
async function exchange(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.setEncoding('latin1').on('data', (piece: string) => (answer += piece))
  socket.on('error', () => {})
  socket.write(text)
  await once(socket, 'close')
  return answer
}

const behindProxy = { RELAY_TRUSTED_PROXIES: 'loopback' }
const from = (address: string) => ({ headers: { 'X-Forwarded-For': address } })

t.test('what is none of the relay’s paths is refused without work', async (t) => {
  const { address, url, sizes } = await relayFor(t)
  const { daemon, path } = await seatedDaemon(url)
  const get = (target: string, more = '') =>
    exchange(
      address.port,
      `GET ${target} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n${more}\r\n`,
    )
  t.match(await get('/healthz'), /^HTTP\/1\.1 200 [^]*\r\n\r\nok\n$/)
  t.match(
    await exchange(address.port, 'POST /healthz HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n'),
    /^HTTP\/1\.1 404 /,
  )
  for (const target of [
    '/',
    '/metrics',
    '/healthz/',
    '/v1/daemon/',
    '/v1/daemon?x',
    '/v1/place/',
    `${path}?x`,
    `${path}/`,
    `${path}A`,
    path.slice(0, -1),
    `${path.slice(0, -1)}*`,
    '/v1/seat/a/b',
    `${DEVICE_PREFIX}${'A'.repeat(7000)}`,
  ]) {
    t.match(await get(target), /^HTTP\/1\.1 404 /, target.slice(0, 80))
    t.equal(await refusedWith(url + target), 404, target.slice(0, 80))
  }
  for (const target of ['/v1/daemon', path]) {
    const answer = await get(target)
    t.match(answer, /^HTTP\/1\.1 426 /)
    t.match(answer, /\r\nUpgrade: websocket\r\n/i)
    t.match(
      await get(target, 'Upgrade: h2c\r\n'),
      /^HTTP\/1\.1 426 /,
      'another protocol is no WebSocket',
    )
  }
  t.match(await exchange(address.port, 'no HTTP\r\n\r\n'), /^HTTP\/1\.1 400 /)
  t.match(await get('/healthz', `X: ${'y'.repeat(9000)}\r\n`), /^HTTP\/1\.1 431 /)
  t.notMatch(await get('/healthz'), /set-cookie/i)
  t.same(daemon.heard, [], 'no daemon heard of any of it')
  t.equal(sizes.rooms, 0)
})

t.test('an address has eight devices and eight control connections, and no more', async (t) => {
  const { url } = await relayFor(t, behindProxy)
  const { daemon, path } = await seatedDaemon(url, from('198.51.100.1'))
  const devices: Peer[] = []
  for (let i = 0; i < 8; i++) {
    devices.push(await new Peer(url + path, from('203.0.113.7')).open())
    await daemon.knocked()
  }
  t.equal(await refusedWith(url + path, from('203.0.113.7').headers), 429)
  t.same(daemon.heard, [], 'the daemon hears of no ninth')
  const other = await new Peer(url + path, from('203.0.113.8')).open()
  await daemon.knocked()
  other.socket.close()
  devices[0]?.socket.close()
  await until('the slot that was left is free', () =>
    opens(url + path, from('203.0.113.7').headers),
  )
  for (let i = 0; i < 7; i++) await new Daemon(url, from('198.51.100.1')).open()
  t.equal(await refusedWith(`${url}/v1/daemon`, from('198.51.100.1').headers), 429)
  for (let i = 0; i < 8; i++) await new Daemon(url, from(`2001:db8:0:1::${i}`)).open()
  t.equal(
    await refusedWith(`${url}/v1/daemon`, from('2001:db8:0:1:ffff::1').headers),
    429,
    'a /64 is one',
  )
  await new Daemon(url, from('2001:db8:0:2::1')).open()
  t.equal(await refusedWith(`${url}/v1/daemon`, from('nonsense').headers), 400)
})

t.test('a network of IPv6 has 128 devices, whichever of its /64 they are in', async (t) => {
  const { url } = await relayFor(t, behindProxy)
  const { daemon, path } = await seatedDaemon(url)
  const places = [path]
  for (let i = 0; i < 4; i++) {
    const place = await newPlace()
    await daemon.sit(place.key)
    places.push(place.path)
  }
  const at = (i: number) => `2001:db8:1:${i.toString(16)}::1`
  const devices: Peer[] = []
  for (let i = 0; i < 128; i++)
    devices.push(await new Peer(`${url}${places[i % places.length]}`, from(at(i))).open())
  t.equal(await refusedWith(url + path, { 'X-Forwarded-For': at(200) }), 429)
  t.equal(await opens(url + path, { 'X-Forwarded-For': '2001:db8:2::1' }), true, 'another network')
  devices[0]?.socket.terminate()
  await until('one has gone', () => opens(url + path, { 'X-Forwarded-For': at(200) }))
})

t.test('an address has 128 connections at most that ask for nothing yet', async (t) => {
  const { address, url } = await relayFor(t, { RELAY_TRUSTED_PROXIES: 'none' })
  const silent = Array.from({ length: 128 }, () => connect(address.port, '127.0.0.1'))
  t.teardown(() => silent.forEach((socket) => socket.destroy()))
  for (const socket of silent) {
    socket.on('error', () => {})
    if (socket.connecting) await once(socket, 'connect')
  }
  const isAnswered = () =>
    exchange(address.port, 'GET /healthz HTTP/1.1\r\nHost: r\r\n\r\n').then(
      (answer) => answer !== '',
      () => false, // reset
    )
  t.equal(await isAnswered(), false)
  for (const socket of silent.slice(0, 8)) socket.destroy()
  await until('they have gone', isAnswered)
  const daemons = await Promise.all(Array.from({ length: 8 }, () => new Daemon(url).open()))
  t.equal(await isAnswered(), true, 'what has become a WebSocket counts no more')
  for (const daemon of daemons) daemon.say({ kind: 'ping' })
  for (const daemon of daemons) t.same(await daemon.hears(), { kind: 'pong' })
})

t.test('without a trusted proxy, nobody gets slots by claiming to be another', async (t) => {
  const { url } = await relayFor(t, { RELAY_TRUSTED_PROXIES: 'none' })
  for (let i = 0; i < 8; i++) await new Daemon(url, from(`203.0.113.${i}`)).open()
  t.equal(await refusedWith(`${url}/v1/daemon`, from('203.0.113.99').headers), 429)
})

t.test('a client that does not answer a closing keeps its slot', async (t) => {
  const { url, address } = await relayFor(t)
  const { path } = await newPlace()
  const handshake = `GET ${path} HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`
  for (let i = 0; i < 8; i++) {
    const socket = connect(address.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.write(handshake)
    let heard = Buffer.alloc(0)
    socket.on('data', (piece) => (heard = Buffer.concat([heard, piece])))
    await eventually(
      () => heard.includes(Buffer.from([0x88, 0x02, 0x11, 0x34])),
      'closed with 4404',
    )
  }
  t.equal(await refusedWith(url + path), 429)
})

t.test('a place has 32 devices at a time', async (t) => {
  const { url } = await relayFor(t, behindProxy)
  const { daemon, path } = await seatedDaemon(url)
  for (let i = 0; i < 32; i++) {
    await new Peer(url + path, from(`203.0.113.${i}`)).open()
    await daemon.knocked()
  }
  t.equal(await refusedWith(url + path, from('203.0.113.99').headers), 429)
  t.same(daemon.heard, [])
})

t.test('a daemon has 256 places, and messages that a relay knows', async (t) => {
  const { url } = await relayFor(t)
  const keys = Array.from({ length: 256 }, () => randomBytes(32))
  const daemon = await new Daemon(url).open()
  const seated = await daemon.sit(...keys)
  t.equal(seated.kind === 'seated' && seated.places.length, 256)
  daemon.say({ kind: 'sit', keys: [randomBytes(32)] })
  t.equal((await daemon.closed)[0], 4400)
  for (const wrong of [
    'text',
    Buffer.alloc(0),
    Buffer.from([9]),
    Buffer.from([1]),
    Buffer.alloc(34, 1),
    Buffer.from([3, 0]),
    Buffer.concat([encodeDaemonMessage({ kind: 'sit', keys }), Buffer.alloc(32)]),
  ]) {
    const other = await new Daemon(url).open()
    other.send(wrong)
    t.equal((await other.closed)[0], 4400)
  }
  const long = await new Daemon(url).open()
  long.send(Buffer.alloc(65_537))
  t.equal((await long.closed)[0], 1009)
})

t.test('a message is binary and at most 64 KiB, or both sides are closed', async (t) => {
  const { url } = await relayFor(t)
  const { daemon, path } = await seatedDaemon(url)
  const text = await roomAt(url, daemon, path)
  text.device.send('text')
  t.equal((await text.device.closed)[0], 4400)
  t.same(await text.seat.closed, [1000, 'the device has left'])
  const long = await roomAt(url, daemon, path)
  long.seat.send(Buffer.alloc(65_537))
  t.equal((await long.seat.closed)[0], 1009)
  t.same(await long.device.closed, [4404, 'the daemon has left'])
  t.same([text.seat.heard, long.device.heard], [[], []], 'nothing of it was passed')
})

t.test('a message that never ends is cut off before it holds on to much', async (t) => {
  const { url, counts } = await relayFor(t, behindProxy)
  const { daemon, path } = await seatedDaemon(url)
  const { device, seat } = await roomAt(url, daemon, path)
  // What is no message at all comes between: each read of the socket would be kept for one byte of the message.
  for (let i = 0; i < 200; i++) {
    device.socket.send(Buffer.alloc(1), { fin: false })
    for (let k = 0; k < 40; k++) device.socket.pong(Buffer.alloc(125))
  }
  t.equal((await device.closed)[0], 1006)
  t.equal((await seat.closed)[0], 1000)
  const many = await roomAt(url, daemon, path)
  for (let i = 0; i < 300; i++) many.device.socket.send(Buffer.alloc(1), { fin: false })
  t.equal((await many.device.closed)[0], 1008, 'nor has it more than 256 fragments')
  t.equal(counts.messages, 0)
})

t.test('messages in many pieces, with control frames between, are passed', async (t) => {
  const { url } = await relayFor(t)
  const { daemon, path } = await seatedDaemon(url)
  const { device, seat } = await roomAt(url, daemon, path)
  const piece = Buffer.alloc(256, 'x')
  for (let i = 0; i < 40; i++) {
    for (let k = 0; k < 255; k++) device.socket.send(piece, { fin: false })
    device.socket.ping()
    device.socket.send(piece, { fin: true })
    t.equal((await seat.next()).length, 65_536)
  }
  for (let i = 0; i < 100; i++) device.send(Buffer.alloc(65_536))
  for (let i = 0; i < 100; i++) t.equal((await seat.next()).length, 65_536)
})

t.test('a knock waits 30 seconds for the daemon, whatever the device sends', async (t) => {
  const clock = new HandClock()
  const { url } = await relayFor(t, {}, clock.surroundings)
  const { daemon, path } = await seatedDaemon(url)
  const device = await new Peer(url + path).open()
  const seatPath = await daemon.knocked()
  clock.pass(15_000)
  device.send(Buffer.from('still waiting'))
  device.socket.ping()
  await once(device.socket, 'pong') // so the message before was heard
  clock.pass(14_999)
  t.equal(device.socket.readyState, WebSocket.OPEN)
  clock.pass(1)
  t.equal((await device.closed)[0], 4408)
  t.equal((await new Peer(url + seatPath).closed)[0], 4404, 'the daemon is too late')
})

t.test('what says nothing for 90 seconds is closed; either side keeps a room open', async (t) => {
  const clock = new HandClock()
  const relay = await relayFor(t, {}, clock.surroundings)
  const { daemon, path } = await seatedDaemon(relay.url)
  const { device, seat } = await roomAt(relay.url, daemon, path)
  for (const [one, other] of [
    [device, seat],
    [seat, device],
  ] as const) {
    clock.pass(89_999)
    one.send(Buffer.from('here'))
    await other.next()
    daemon.say({ kind: 'ping' })
    t.equal((await daemon.hears()).kind, 'pong')
  }
  clock.pass(89_999)
  t.equal(device.socket.readyState, WebSocket.OPEN)
  clock.pass(1)
  for (const one of [device, seat, daemon]) t.equal((await one.closed)[0], 4408)
  await eventually(() => relay.sizes.places === 0 && relay.sizes.daemons === 0, 'all forgotten')
})

t.test('for a side that does not read, little is kept, and the sender waits', async (t) => {
  const relay = await relayFor(t)
  const { daemon, path } = await seatedDaemon(relay.url)
  for (const [name, size] of [
    ['large', 65_536],
    ['small', 100],
  ] as const) {
    const { device, seat } = await roomAt(relay.url, daemon, path)
    const before = relay.counts.bytes
    seat.socket.pause()
    const total = 64 * 1024 * 1024
    for (let sent = 0; sent < total / 4; sent += size) device.send(Buffer.alloc(size, 1))
    await standsStill(() => relay.counts.bytes, 'what is passed')
    const kept = relay.counts.bytes - before
    t.ok(
      kept < total / 4,
      `${name}: of 16 MiB, ${kept} bytes were taken, most of them by the kernel`,
    )
    seat.socket.resume()
    await eventually(
      () => relay.counts.bytes - before >= total / 4,
      `${name}: all is passed in the end`,
    )
    device.socket.close()
    await seat.closed
    t.equal(
      seat.heard.reduce((sum, { length }) => sum + length, 0),
      Math.ceil(total / 4 / size) * size,
    )
  }
})

t.test('before the daemon comes, a device is read no further than what is kept', async (t) => {
  const relay = await relayFor(t)
  const { daemon, path } = await seatedDaemon(relay.url)
  const device = await new Peer(relay.url + path).open()
  const seatPath = await daemon.knocked()
  const bytes = 16 * 1024 * 1024
  for (let sent = 0; sent < bytes; sent += 65_536) device.send(Buffer.alloc(65_536, 2))
  await standsStill(() => device.socket.bufferedAmount, 'what the device sends')
  t.ok(device.socket.bufferedAmount > 0, 'the relay does not take it all')
  const seat = await new Peer(relay.url + seatPath).open()
  await eventually(() => relay.counts.bytes === bytes, 'all is passed')
  device.socket.close()
  await seat.closed
  t.equal(seat.heard.length, bytes / 65_536)
})
