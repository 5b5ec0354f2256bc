/** How does a test run a link, and come as a device? With a real relay, a target that counts, and the protocol's own functions. */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { WebSocket, type RawData } from 'ws'
import { loadLinkConfig, type LinkConfig } from '../../src/config/link-settings.ts'
import { openLog } from '../../src/observe/log.ts'
import { Backlog } from '../../src/relay/link/backlog.ts'
import { startLink, type RunningLink } from '../../src/relay/link/link.ts'
import type { DevicesAnswer, LinkStatus, OfferAnswer } from '../../src/relay/link/owner-protocol.ts'
import { toBase64Url, type Bytes } from '../../src/relay/protocol/bytes.ts'
import { Channel, type ChannelEnd } from '../../src/relay/protocol/channel.ts'
import {
  beginHandshake,
  comparisonCode,
  type Met,
  type Purpose,
} from '../../src/relay/protocol/handshake.ts'
import {
  decodeNote,
  decodeWelcome,
  type Note,
  type Welcome,
} from '../../src/relay/protocol/messages.ts'
import { generateKeyPair, type NoiseKeyPair } from '../../src/relay/protocol/noise.ts'
import { offerOfLink, type Offer } from '../../src/relay/protocol/offer.ts'
import { dayOf, dayPlaceKey, placeId } from '../../src/relay/protocol/places.ts'
import { RECORD } from '../../src/relay/protocol/records.ts'
import { DEVICE_PREFIX } from '../../src/relay/protocol/relay-wire.ts'
import { Streams } from '../../src/relay/protocol/streams.ts'
import { dialTarget } from '../../src/relay/link/target-connection.ts'
import { askDoor } from '../../src/services/ask-door.ts'
import { LinkTestClock } from './link-clock.ts'
import { temporaryFolder } from './process.ts'
import { eventually, until } from './waiting.ts'

/** A link that runs in this process, and everything around it. */
export interface TestLink {
  readonly config: LinkConfig
  readonly clock: LinkTestClock
  readonly running: RunningLink
  /** Everything that it has logged. */
  readonly log: () => string
  /** Asks its owner's door. */
  readonly ask: (
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: object,
  ) => Promise<{ status: number; json: Record<string, unknown> }>
  /** Makes a pairing link, once the relay knows its place. */
  readonly offer: (question?: {
    sub?: string
    isApproved?: boolean
  }) => Promise<Offer & { link: string }>
  readonly devices: () => Promise<DevicesAnswer['devices']>
  readonly status: () => Promise<LinkStatus>
}

/** A service on a free port of 127.0.0.1, which counts who comes, and does with them what the test says. */
export async function targetFor(t: Test, serve: (socket: Socket) => void = echo) {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => socket.destroy())
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const { port } = server.address() as AddressInfo
  return { sockets, url: `http://127.0.0.1:${port}` }
}

function echo(socket: Socket): void {
  socket.pipe(socket)
}

/** The settings of a link with everything in one folder. */
export function linkEnvironment(folder: string, relay: string, more: Record<string, string> = {}) {
  return {
    LINK_RELAY_URL: relay,
    LINK_STATE_DIR: join(folder, 'state'),
    LINK_OWNER_SOCKET: join(folder, 'owner.sock'),
    LINK_PAGE_URL: 'https://houston.hubify.com/_gateway/remote/',
    ...more,
  }
}

/** Starts a link. It is closed when the test ends. @param env LINK_TARGET at least, or GATEWAY_LINK_SOCKET */
export async function linkFor(
  t: Test,
  relay: string,
  env: Record<string, string>,
  {
    folder = temporaryFolder(t),
    clock = new LinkTestClock(),
    backlog = new Backlog(),
  }: { folder?: string; clock?: LinkTestClock; backlog?: Backlog } = {},
): Promise<TestLink> {
  const config = loadLinkConfig(linkEnvironment(folder, relay, env))
  let lines = ''
  const { logger } = openLog('trace', { write: (line) => void (lines += line) })
  // Bytes as they are, also of what is no HTTP: what stands before a service has its own tests (test/relay/target/).
  const connect = config.isGateway ? {} : { connect: () => dialTarget(config) }
  const running = await startLink(config, { logger, clock, backlog, ...connect })
  t.teardown(() => running.close())
  const ask: TestLink['ask'] = async (method, path, body) => {
    const question = { method, path, body, limitMs: 20_000, maxBytes: 1e6 }
    const { status, bytes } = await askDoor(config.ownerSocket, question)
    return { status, json: JSON.parse(bytes.toString()) as Record<string, unknown> }
  }
  const link: TestLink = {
    ...{ config, clock, running, ask },
    log: () => lines,
    async offer({ sub = 'alice', isApproved = false } = {}) {
      const { json } = await ask('POST', '/v1/offers', { sub, isApproved })
      const { link: text } = json as unknown as OfferAnswer
      return { ...offerOfLink(text), link: text }
    },
    devices: async () =>
      ((await ask('GET', '/v1/devices')).json as unknown as DevicesAnswer).devices,
    status: async () => (await ask('GET', '/v1/status')).json as unknown as LinkStatus,
  }
  return link
}

/** Waits until a link is connected. */
export async function connected(link: TestLink): Promise<void> {
  await until('the link is connected', async () => (await link.status()).isConnected)
}

/** A device that has come so far as its connection and both messages, and has not said that it is ready. */
export interface Arrived {
  readonly socket: WebSocket
  readonly first: Bytes
  readonly met: Met
  readonly own: NoiseKeyPair
  readonly offerOrPaired: Offer | Paired
}

/** What a device keeps. */
export interface Paired {
  readonly own: NoiseKeyPair
  readonly daemonKey: Bytes
  readonly placeSecret: Bytes
  readonly relay: string
}

let addresses = 0

function someAddress(): string {
  addresses++
  return `203.0.${113 + (addresses >> 8)}.${addresses & 0xff}`
}

/** The WebSocket of a device at a place, and what it hears. Closed when the test ends. */
export function knockAt(t: Test, relay: string, place: Bytes) {
  const socket = new WebSocket(`${relay}${DEVICE_PREFIX}${toBase64Url(place)}`, {
    perMessageDeflate: false,
    headers: { 'X-Forwarded-For': someAddress() }, // each device has its own, as in life
  })
  const heard: Bytes[] = []
  socket.on('error', () => {})
  socket.on('message', (data: RawData) => heard.push(new Uint8Array(data as Buffer)))
  let code: number | undefined
  socket.on('close', (closed: number) => {
    code = closed
  })
  t.teardown(() => socket.terminate())
  return {
    socket,
    heard,
    isOpen: () => socket.readyState === WebSocket.OPEN,
    /** The code with which it was closed. */
    async closed(): Promise<number> {
      await eventually(() => code !== undefined, 'the connection of the device is closed')
      return code ?? 0
    },
    /** The next message. */
    async next(): Promise<Bytes> {
      await eventually(() => heard.length > 0 || code !== undefined, 'the device hears something')
      const message = heard.shift()
      if (message === undefined) throw new Error(`closed with ${code}`)
      return message
    },
  }
}

/**
 * Comes to a place until the daemon sits there: an offer is told before the relay has its place. It never comes twice to a daemon.
 * @returns the connection, on which nothing was said
 */
export async function comeTo(t: Test, relay: string, place: Bytes) {
  return until('somebody sits at the place', async () => {
    const knock = knockAt(t, relay, place)
    await eventually(() => knock.socket.readyState !== WebSocket.CONNECTING, 'it is open')
    // The relay says at once when nobody is there: before the answer to a ping.
    let isAnswered = false
    knock.socket.on('pong', () => {
      isAnswered = true
    })
    if (knock.isOpen()) knock.socket.ping()
    await eventually(() => isAnswered || !knock.isOpen(), 'the relay answers')
    return knock.isOpen() ? knock : undefined
  })
}

/** Comes by an offer, up to the daemon's message. */
export async function arrive(
  t: Test,
  purpose: { offer: Offer; own?: NoiseKeyPair } | { paired: Paired; now: number; place?: Bytes },
  { name = 'Phone' } = {},
): Promise<Arrived> {
  const isPairing = 'offer' in purpose
  const own = isPairing ? (purpose.own ?? (await generateKeyPair())) : purpose.paired.own
  const place = isPairing
    ? purpose.offer.place
    : (purpose.place ?? (await placeOf(purpose.paired, purpose.now)))
  const { relay, daemonKey } = isPairing ? purpose.offer : purpose.paired
  const meant: Purpose = isPairing
    ? { kind: 'pair', offer: purpose.offer }
    : { kind: 'session', place }
  const begun = await beginHandshake({
    purpose: meant,
    own,
    daemonKey,
    hello: { kind: 'page', name },
  })
  const knock = await comeTo(t, relay, place)
  knock.socket.send(begun.first)
  const met = await begun.finish(await knock.next())
  return {
    ...{ socket: knock.socket, first: begun.first, met, own },
    offerOrPaired: isPairing ? purpose.offer : purpose.paired,
  }
}

/** The place of a paired device on a day. */
export async function placeOf({ placeSecret }: Paired, now: number): Promise<Bytes> {
  return placeId(await dayPlaceKey(placeSecret, dayOf(now)))
}

/** A device whose channel is open. */
export class TestDevice {
  readonly channel: Channel
  readonly streams: Streams
  readonly code: string
  readonly notes: Note[] = []
  readonly paired: Paired
  welcome: Welcome | undefined
  end: ChannelEnd | undefined

  /** Says that it is ready. */
  constructor({ socket, met, own, offerOrPaired }: Arrived) {
    const { relay, daemonKey } = offerOrPaired
    const placeSecret = 'placeSecret' in offerOrPaired ? offerOrPaired.placeSecret : met.extraSecret
    this.paired = { own, daemonKey, placeSecret, relay }
    this.code = comparisonCode(met.handshakeHash)
    this.channel = new Channel({
      ...{ side: 'device', met },
      link: {
        send: (frame) => socket.send(frame),
        close: () => socket.close(),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
      },
      events: {
        onRecord: (record) => {
          if (record.type === RECORD.welcome) this.welcome = decodeWelcome(record.body)
          else if (record.type === RECORD.note) this.notes.push(decodeNote(record.body))
          else this.streams.take(record)
        },
        onEnd: (end) => {
          this.end = end
          this.streams.closeAll()
        },
      },
    })
    this.streams = new Streams(this.channel)
    socket.removeAllListeners('message')
    socket.on('message', (data: RawData) => this.channel.receive(new Uint8Array(data as Buffer)))
    socket.on('close', () => this.channel.linkClosed())
  }

  /** Waits for the daemon's welcome. */
  async welcomed(): Promise<Welcome> {
    await eventually(() => this.welcome !== undefined || this.end !== undefined, 'a welcome')
    if (this.welcome === undefined) throw new Error(`no welcome: ${JSON.stringify(this.end)}`)
    return this.welcome
  }

  /** Waits for the end of the channel, and says why it ended. */
  async ended(): Promise<string> {
    await eventually(() => this.end !== undefined, 'the channel ends')
    return this.end?.how === 'closed' ? this.end.reason : (this.end?.how ?? '')
  }

  /** Opens a stream, and keeps what comes. */
  open({ isRead = true } = {}) {
    const chunks: Bytes[] = []
    const state = { hasEnded: false, closed: undefined as undefined | 'closed' | 'reset' }
    const stream = this.streams.open({
      onData: (bytes) => {
        chunks.push(bytes)
        if (isRead) stream.consumed(bytes.length)
      },
      onEnd: () => {
        state.hasEnded = true
      },
      onClose: (wasReset) => {
        state.closed = wasReset ? 'reset' : 'closed'
      },
    })
    const text = () => Buffer.concat(chunks).toString()
    return { stream, state, text, size: () => chunks.reduce((sum, { length }) => sum + length, 0) }
  }
}

/** Pairs a new device by an offer, and waits for its welcome. */
export async function pairedDevice(t: Test, offer: Offer, name?: string): Promise<TestDevice> {
  const device = new TestDevice(await arrive(t, { offer }, name === undefined ? {} : { name }))
  await device.welcomed()
  return device
}

/** A gateway's link socket: keeps the first line of each connection, and the lists of devices; echoes devices' bytes. */
export async function gatewayFor(t: Test, folder: string) {
  const path = join(folder, 'gateway.sock')
  const lines: string[] = []
  const lists: string[][] = []
  const bodies = createHttpServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    request.on('end', () => {
      if (`${request.method} ${request.url}` === 'PUT /_gateway/link/devices')
        lists.push((JSON.parse(text) as { devices: string[] }).devices)
      response.writeHead(state.status).end()
    })
  })
  const state = { status: 204 }
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => socket.destroy())
    socket.once('data', (chunk: Buffer) => {
      const end = chunk.indexOf('\n') + 1
      const line = chunk.subarray(0, end).toString()
      lines.push(line)
      socket.pause()
      socket.unshift(chunk.subarray(end))
      if (line.includes('"kind":"link"')) {
        bodies.emit('connection', socket)
        socket.resume()
      } else socket.pipe(socket)
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { env: { GATEWAY_LINK_SOCKET: path }, lines, lists, state }
}
