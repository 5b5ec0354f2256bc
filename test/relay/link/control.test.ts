/** How does the link stay at the relay? It comes back after every end, with growing pauses, and follows only the relay's own nodes. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { fromBase64Url, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import { placeId } from '../../../src/relay/protocol/places.ts'
import {
  CONTROL_PATH,
  decodeDaemonMessage,
  encodeRelayMessage,
  SEAT_PREFIX,
  type DaemonMessage,
} from '../../../src/relay/protocol/relay-wire.ts'
import { BackOff, nodeNamed } from '../../../src/relay/link/relay-socket.ts'
import { connected, linkFor, pairedDevice, targetFor } from '../../helpers/link.ts'
import { relayFor } from '../../helpers/relay.ts'
import { eventually, until } from '../../helpers/waiting.ts'

/** A relay that says what the test says. */
async function madeUpRelay(t: Test) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  t.teardown(() => {
    for (const client of server.clients) client.terminate()
    server.close()
  })
  const heard: DaemonMessage[] = []
  const controls: WebSocket[] = []
  const paths: string[] = []
  const state = {
    onSeat: (_socket: WebSocket, _path: string): void => {},
    refusal: '',
    /** Whether it says where the link sits. */
    isSeating: true,
  }
  server.on('connection', (socket, { url = '' }) => {
    socket.on('error', () => {})
    paths.push(url)
    if (state.refusal !== '') socket.close(4421, state.refusal)
    else if (url !== CONTROL_PATH) state.onSeat(socket, url)
    else {
      controls.push(socket)
      socket.on('message', (data) => {
        const message = decodeDaemonMessage(new Uint8Array(data as Buffer))
        if (message === undefined) return
        heard.push(message)
        if (message.kind === 'sit' && state.isSeating) void seat(socket, message.keys)
      })
    }
  })
  const { port } = server.address() as AddressInfo
  return { url: `ws://127.0.0.1:${port}`, heard, controls, paths, state }
}

async function seat(socket: WebSocket, keys: readonly Bytes[]): Promise<void> {
  const places = await Promise.all(keys.map(placeId))
  socket.send(encodeRelayMessage({ kind: 'seated', places }))
}

async function linkAt(t: Test, url: string) {
  const target = await targetFor(t)
  return { target, link: await linkFor(t, url, { LINK_TARGET: target.url }) }
}

t.test(
  'the pauses double from half a second to a minute, of which chance takes a part',
  async (t) => {
    const whole = new BackOff(() => 1)
    t.same(
      Array.from({ length: 9 }, () => whole.next()),
      [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000],
    )
    whole.reset()
    t.equal(whole.next(), 500)
    t.equal(new BackOff(() => 0.25).next(), 125)
  },
)

t.test('only a node of the relay itself is followed', async (t) => {
  const rows: Array<[relay: string, named: string, isFollowed: boolean]> = [
    ['wss://relay.example.com', 'wss://a.relay.example.com', true],
    ['wss://relay.example.com', 'wss://relay.example.com:8443', true],
    ['wss://relay.example.com', 'ws://a.relay.example.com', false],
    ['wss://relay.example.com', 'wss://evil.example.com', false],
    ['wss://relay.example.com', 'wss://arelay.example.com', false],
    ['wss://relay.example.com', 'wss://relay.example.com.evil.com', false],
    ['wss://relay.example.com', 'wss://a.relay.example.com/path', false],
    ['wss://relay.example.com', 'wss://user@a.relay.example.com', false],
    ['wss://relay.example.com', 'https://a.relay.example.com', false],
    ['ws://127.0.0.1:1', 'ws://127.0.0.1:2', true],
    ['ws://127.0.0.1:1', 'ws://x.127.0.0.1:2', false],
    ['ws://localhost:1', 'ws://example.com', false],
    ['wss://relay.example.com', '', false],
  ]
  for (const [relay, named, isFollowed] of rows)
    t.equal(nodeNamed(relay, 4421, Buffer.from(named)), isFollowed ? named : undefined, named)
  t.equal(nodeNamed('wss://a.b', 1000, Buffer.from('wss://x.a.b')), undefined, 'another code')
})

t.test('a connection that ends is opened again, and sits again', async (t) => {
  const relay = await madeUpRelay(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  const offer = await link.offer()
  await eventually(() => relay.heard.length === 1, 'it sits')
  relay.controls[0]?.close(1012)
  await until('it has noticed', () => link.log().includes('the relay is away'))
  t.equal((await link.status()).isConnected, false)
  t.equal(relay.controls.length, 1, 'not at once')
  link.clock.pass(250) // half a second, of which chance has taken half
  await connected(link)
  await eventually(() => relay.heard.length === 2, 'it sits again')
  const [first, second] = relay.heard
  t.same(first, second)
  if (first?.kind !== 'sit') throw new Error('it does not sit')
  t.same(await placeId(first.keys[0] ?? offer.psk), offer.place, 'it shows the key of the place')
  t.equal(link.log().split('the relay is away').length, 2)
})

t.test('a pairing link is told once its place is taken, or two seconds later', async (t) => {
  const relay = await madeUpRelay(t)
  relay.state.isSeating = false
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  for (const isSeated of [true, false]) {
    const seen = relay.heard.length
    let isTold = false
    const telling = link.offer().then(() => (isTold = true))
    const sit = await until('it sits', () => relay.heard[seen])
    await link.status() // an answer of the same door, by which the link would have told
    t.equal(isTold, false)
    const [control] = relay.controls
    if (control === undefined || sit.kind !== 'sit') throw new Error('it does not sit')
    if (isSeated) await seat(control, sit.keys)
    else link.clock.pass(2000)
    t.equal(await telling, true)
  }
})

t.test('a place that another node has is asked for again', async (t) => {
  const relay = await madeUpRelay(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  const { place } = await link.offer()
  await eventually(() => relay.heard.length === 1, 'it sits')
  relay.controls[0]?.send(encodeRelayMessage({ kind: 'taken', places: [place] }))
  await until('it has heard', () => link.log().includes('another node of the relay has'))
  link.clock.pass(5000)
  await eventually(() => relay.heard.length === 2, 'it asks again')
  t.same(relay.heard[0], relay.heard[1])
  link.clock.pass(5000)
  relay.controls[0]?.send(encodeRelayMessage({ kind: 'pong' }))
  t.equal(relay.heard.length, 2, 'once')
})

t.test('a relay that says so without end does not fill the log', async (t) => {
  const relay = await madeUpRelay(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  const { place } = await link.offer()
  await eventually(() => relay.heard.length === 1, 'it sits')
  for (let i = 0; i < 100; i++)
    relay.controls[0]?.send(encodeRelayMessage({ kind: 'taken', places: [place] }))
  relay.controls[0]?.send('text') // when this was heard, all before it was
  await until('all was heard', () => link.log().includes('breaks a rule'))
  t.equal(link.log().split('another node of the relay has').length, 2)
})

t.test('a relay that never comes to the end of its answer is left after ten seconds', async (t) => {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Switching Protocols\r\n')
    const drip = setInterval(() => socket.write('X: y\r\n'), 500)
    socket.once('close', () => clearInterval(drip))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const { link } = await linkAt(t, `ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  await eventually(() => sockets.length === 1, 'it has dialled')
  link.clock.pass(9999)
  t.notMatch(link.log(), /the relay is away/)
  link.clock.pass(1)
  await until('it has given up', () => link.log().includes('the relay is away'))
})

t.test('a relay that sends a message without end is hung up on', async (t) => {
  const relay = await madeUpRelay(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  const [control] = relay.controls
  for (let i = 0; i < 200; i++) {
    control?.send(Buffer.alloc(1), { fin: false })
    for (let k = 0; k < 40; k++) control?.pong(Buffer.alloc(125))
  }
  await until('it has hung up', () => link.log().includes('the relay is away'))
  t.notMatch(link.log(), /breaks a rule/, 'before there was a message')
})

t.test('it pings when it has nothing to say, and dials again when it hears nothing', async (t) => {
  const relay = await madeUpRelay(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  link.clock.pass(30_000)
  await eventually(() => relay.heard.at(-1)?.kind === 'ping', 'a ping')
  link.clock.pass(60_000)
  await until('it has given up', () => link.log().includes('the relay is away'))
  link.clock.pass(250)
  await eventually(() => relay.controls.length === 2, 'it dials again')
})

t.test(
  'what breaks a rule of the relay’s wire ends the connection, and knocks for nobody are not heard',
  async (t) => {
    const relay = await madeUpRelay(t)
    const { link, target } = await linkAt(t, relay.url)
    await connected(link)
    const nobody = { place: new Uint8Array(16), ticket: new Uint8Array(16) } as const
    relay.controls[0]?.send(encodeRelayMessage({ kind: 'knock', ...nobody }))
    relay.controls[0]?.send('text')
    await until('it has given up', () => link.log().includes('breaks a rule'))
    t.same(relay.paths, [CONTROL_PATH], 'no seat was taken')
    t.equal(target.sockets.length, 0)
  },
)

t.test('a control connection and a seat follow the relay to its other node', async (t) => {
  const [entry, other] = [await madeUpRelay(t), await madeUpRelay(t)]
  entry.state.refusal = other.url
  const { link } = await linkAt(t, entry.url)
  await eventually(() => other.controls.length === 1, 'it has followed')
  await connected(link)
  const { place } = await link.offer()
  const seats: string[] = []
  entry.state.refusal = ''
  entry.state.onSeat = (_socket, path) => seats.push(path)
  other.state.onSeat = (socket) => socket.close(4421, entry.url)
  other.controls[0]?.send(encodeRelayMessage({ kind: 'knock', place, ticket: new Uint8Array(16) }))
  await eventually(() => seats.length === 1, 'the seat is taken where it is')
  const [, id = '', ticket = ''] = /^\/v1\/seat\/([^/]+)\/([^/]+)$/.exec(seats[0] ?? '') ?? []
  t.ok(seats[0]?.startsWith(SEAT_PREFIX))
  t.same([fromBase64Url(id), fromBase64Url(ticket)], [place, new Uint8Array(16)])
})

t.test('a relay whose nodes name each other is not followed for ever', async (t) => {
  const [a, b] = [await madeUpRelay(t), await madeUpRelay(t)]
  a.state.refusal = b.url
  b.state.refusal = a.url
  const { link } = await linkAt(t, a.url)
  await until('it has given up', () => link.log().includes('the relay is away'))
  t.equal(a.paths.length + b.paths.length, 4)
})

t.test('the link sits at one place for an offer, and at three for a device', async (t) => {
  const relay = await relayFor(t)
  const { link } = await linkAt(t, relay.url)
  await connected(link)
  const offer = await link.offer()
  await until('the relay has the place', () => relay.sizes.places === 1)
  const device = await pairedDevice(t, offer)
  device.channel.close('done') // the relay keeps a place as long as somebody is there
  await until('the offer’s place is left', () => relay.sizes.places === 3)
})

t.test('a seat on which no handshake begins is left', async (t) => {
  const relay = await madeUpRelay(t)
  const { link, target } = await linkAt(t, relay.url)
  await connected(link)
  const { place } = await link.offer()
  await eventually(() => relay.heard.length === 1, 'it sits')
  const says: Array<Bytes | string> = [
    'text',
    new Uint8Array(0),
    new Uint8Array(176),
    new Uint8Array(65_536),
  ]
  for (const message of says) {
    let code: number | undefined
    relay.state.onSeat = (socket) => {
      socket.send(message)
      socket.on('close', (closed) => {
        code = closed
      })
    }
    relay.controls[0]?.send(
      encodeRelayMessage({
        kind: 'knock',
        place,
        ticket: crypto.getRandomValues(new Uint8Array(16)),
      }),
    )
    await eventually(() => code !== undefined, 'the link leaves')
  }
  t.equal((await link.devices()).length, 0)
  t.equal(target.sockets.length, 0)
})
