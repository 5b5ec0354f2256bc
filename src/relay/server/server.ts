/**
 * How does the relay serve? By one HTTP/1.1 server that knows four paths: three become WebSockets, one says that it is well. Everything
 * else is refused before any work is done for it. It sets no cookies, and logs no id of a place, no ticket and no address.
 */
import { createServer, STATUS_CODES, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { WebSocketServer, type WebSocket } from 'ws'
import type { RelayConfig } from '../../config/relay-settings.ts'
import { clientFrom } from '../../http/address.ts'
import { hasLostPeer } from '../../http/lost-peer.ts'
import { offersWebSocket } from '../../http/handshake.ts'
import { ClientFinder } from '../../request/client-finder.ts'
import { MAX_FRAME_BYTES } from '../protocol/relay-wire.ts'
import { boundUnfinished, MAX_FRAGMENTS } from '../unfinished.ts'
import { AddressSlots } from './address-slots.ts'
import { readTarget, type Asked } from './asked.ts'
import { ONLY_NODE, StoreAwayError, type Claims, type OtherNode } from './claims.ts'
import { RelayCounts, type RefusalWord } from './counts.ts'
import { Meetings } from './meetings.ts'
import { RedisStore } from './redis-store.ts'
import { SharedClaims, type SharedClaimsParts } from './shared-claims.ts'

/** Connections that may be open at once. Further ones are closed when they arrive. */
const MAX_CONNECTIONS = 65_536

/** Devices of one IPv4 address or IPv6 /64. */
const MAX_DEVICES_PER_ADDRESS = 8

/** Control connections of one IPv4 address or IPv6 /64. */
const MAX_DAEMONS_PER_ADDRESS = 8

/** Daemons' connections of one IPv4 address or IPv6 /64 that have no room yet, or get none. */
const MAX_LONE_SEATS_PER_ADDRESS = 64

/** Connections of one peer that is no proxy of ours, and that have not become WebSockets: each may take ten seconds for its request. */
const MAX_STRANGERS_PER_ADDRESS = 128

/** How often it is looked at which connections have waited or been silent for too long, in milliseconds. */
const CHECK_MS = 1000

/** How long the last halves of closings may take when the relay stops, in milliseconds. */
const FAREWELL_MS = 1000

/** What a test can replace. */
export interface RelaySurroundings {
  /** The time, in milliseconds. It never goes back. Default: since the process started. */
  readonly now?: () => number
  /** Calls back again and again. @returns ends that. Default: a timer. */
  readonly every?: (ms: number, act: () => void) => () => void
}

/** A relay that listens. */
export interface RunningRelay {
  readonly address: AddressInfo
  /** Where clients on this machine reach it: `ws://127.0.0.1:port`, as LINK_RELAY_URL takes it. */
  readonly url: string
  readonly counts: RelayCounts
  /** How much there is of everything. */
  readonly sizes: Meetings['sizes']
  /** Whether it is stopping. */
  readonly isDraining: boolean
  /** Whether the store of many nodes did not answer when it was last asked. */
  readonly isStoreAway: boolean
  /** Takes no further connection, and closes those that there are with 1012, spread over RELAY_DRAIN_SECONDS. */
  drain(): Promise<void>
  /** Ends everything at once. */
  close(): Promise<void>
}

/**
 * Starts a relay.
 * @throws errors of listening, such as EADDRINUSE
 */
export async function startRelay(
  config: RelayConfig,
  logger: Logger,
  surroundings: RelaySurroundings = {},
): Promise<RunningRelay> {
  const relay = new Relay(config, logger, surroundings)
  await relay.listen()
  return relay
}

class Relay implements RunningRelay {
  readonly counts = new RelayCounts()
  readonly #config: RelayConfig
  readonly #claims: Claims
  readonly #clients: ClientFinder
  readonly #meetings: Meetings
  readonly #server: Server
  readonly #devices = new AddressSlots(MAX_DEVICES_PER_ADDRESS)
  readonly #daemons = new AddressSlots(MAX_DAEMONS_PER_ADDRESS)
  readonly #loneSeats = new AddressSlots(MAX_LONE_SEATS_PER_ADDRESS)
  readonly #strangerSlots = new AddressSlots(MAX_STRANGERS_PER_ADDRESS)
  /** What gives a connection's slot back when it has become a WebSocket. */
  readonly #strangers = new WeakMap<Duplex, () => void>()
  readonly #endChecks: () => void
  #isDraining = false
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: true, // to end those that are left when the relay stops
    handleProtocols: () => false,
    maxPayload: MAX_FRAME_BYTES,
    maxFragments: MAX_FRAGMENTS,
    perMessageDeflate: false,
    allowSynchronousEvents: false, // one message in a turn, or a flood of small ones keeps others waiting
    skipUTF8Validation: true, // text is refused unread
  })

  constructor(
    config: RelayConfig,
    logger: Logger,
    { now = () => performance.now(), every = startTimer }: RelaySurroundings,
  ) {
    const claims = claimsFor(config, { now, every, logger })
    this.#config = config
    this.#claims = claims
    this.#clients = new ClientFinder(config.trustedProxies)
    this.#meetings = new Meetings({ claims, counts: this.counts, now })
    this.#server = createServer(
      {
        headersTimeout: 10_000,
        requestTimeout: 10_000,
        keepAliveTimeout: 5000,
        maxHeaderSize: 8192,
        connectionsCheckingInterval: 1000,
        noDelay: true,
        // An offer of another protocol is ignored, and answered as the plain request that it also is.
        shouldUpgradeCallback: (request) => offersWebSocket(request),
      },
      (request, response) => {
        const [status, text] = this.#answer(request)
        const body = `${text}\n`
        response.writeHead(status, fieldsOf(status, body))
        response.end(request.method === 'HEAD' ? undefined : body)
      },
    )
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.on('connection', (socket) => this.#admitStranger(socket))
    this.#server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => socket.destroy())
      this.#upgrade(request, socket, head).catch((error: unknown) => {
        logger.error({ err: error }, 'fault while a connection was taken')
        socket.destroy()
      })
    })
    this.#endChecks = every(CHECK_MS, () => this.#meetings.check())
  }

  async listen(): Promise<void> {
    const { host, port } = this.#config
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject)
        this.#server.listen({ host, port }, () => resolve())
      })
    } catch (error) {
      this.#endChecks()
      throw error
    }
  }

  get address(): AddressInfo {
    return this.#server.address() as AddressInfo
  }

  get url(): string {
    return `ws://127.0.0.1:${this.address.port}`
  }

  get sizes(): Meetings['sizes'] {
    return this.#meetings.sizes
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  get isStoreAway(): boolean {
    return this.#claims.isStoreAway
  }

  async drain(): Promise<void> {
    this.#isDraining = true
    this.#server.close()
    const ms = this.#config.drainSeconds * 1000
    const closings = this.#meetings.closers().map(
      (close) =>
        new Promise<void>((resolve) => {
          const act = (): void => {
            close('restart')
            resolve()
          }
          setTimeout(act, Math.random() * ms)
        }),
    )
    await Promise.all(closings)
    await this.#farewell()
    await this.close()
  }

  async close(): Promise<void> {
    this.#isDraining = true
    this.#endChecks()
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    for (const socket of this.#sockets.clients) socket.terminate()
    await closed
    await this.#claims.close()
  }

  /** Waits until every WebSocket is closed, or for {@link FAREWELL_MS}. */
  async #farewell(): Promise<void> {
    const { clients } = this.#sockets
    const ends = [...clients].map(
      (socket) => new Promise<void>((resolve) => void socket.once('close', () => resolve())),
    )
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FAREWELL_MS)
    })
    await Promise.race([Promise.all(ends), late])
    clearTimeout(timer)
  }

  /** The status and text for a request that asks for no WebSocket. */
  #answer({ url = '', method }: IncomingMessage): readonly [status: number, text: string] {
    const asked = readTarget(url)
    if (asked === undefined) return this.#refused('notFound')
    if (asked.kind !== 'health') return this.#refused('notAnUpgrade')
    if (method !== 'GET' && method !== 'HEAD') return this.#refused('notFound')
    return this.#isDraining ? [503, 'stopping'] : [200, 'ok']
  }

  #refused(word: RefusalWord): readonly [status: number, text: string] {
    this.counts.refusals[word]++
    return REFUSALS[word]
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const asked = readTarget(request.url ?? '')
    const refuse = (word: RefusalWord): void => writeRefusal(socket, ...this.#refused(word))
    if (asked === undefined || asked.kind === 'health') return refuse('notFound')
    if (this.#isDraining) return refuse('draining')
    const client = this.#clients.find(request)
    if (client === undefined) return refuse('badAddress')
    const giveBack = this.#slotsOf(asked).take(client)
    if (giveBack === undefined) return refuse('tooMany')
    this.#strangers.get(socket)?.()
    socket.once('close', giveBack) // not earlier: a client that never ends its half of a closing keeps its slot
    const elsewhere = await this.#elsewhere(asked)
    if (socket.destroyed) return
    const replay = this.#replayTo(request, elsewhere)
    if (replay !== undefined)
      return writeRefusal(socket, 421, 'the place is at another node', replay)
    if (asked.kind === 'device' && elsewhere === undefined && this.#meetings.isFull(asked.place))
      return refuse('tooMany')
    this.#sockets.handleUpgrade(request, socket, head, (connection) => {
      boundUnfinished(connection, socket)
      connection.on('error', ignore) // its close follows
      if (elsewhere !== undefined) this.#sendAway(connection, elsewhere)
      else if (asked.kind === 'daemon') this.#meetings.daemon(connection)
      else if (asked.kind === 'device') this.#meetings.device(connection, asked.place)
      else if (this.#meetings.seat(connection, asked.place, asked.ticket)) giveBack()
    })
  }

  /** Behind a proxy nobody knows yet whose connection it is: the proxy bounds those. */
  #admitStranger(socket: Socket): void {
    if (hasLostPeer(socket)) {
      socket.destroy()
      return
    }
    const peer = clientFrom(socket.remoteAddress, [], this.#config.trustedProxies)
    if (peer === undefined || peer.viaProxy) return // it speaks for others
    const giveBack = this.#strangerSlots.take(peer)
    if (giveBack === undefined) {
      socket.destroy()
      return
    }
    this.#strangers.set(socket, giveBack)
    socket.once('close', giveBack)
  }

  #slotsOf({ kind }: Asked): AddressSlots {
    if (kind === 'daemon') return this.#daemons
    return kind === 'device' ? this.#devices : this.#loneSeats
  }

  /** Where a place is, when it is not here; undefined when it is here, or nowhere. */
  async #elsewhere(asked: Asked): Promise<OtherNode | 'unknown' | undefined> {
    if (asked.kind !== 'device' && asked.kind !== 'seat') return undefined
    if (this.#meetings.isSeated(asked.place)) return undefined
    try {
      return await this.#claims.ownerOf(asked.place)
    } catch (error) {
      if (error instanceof StoreAwayError) return 'unknown'
      throw error
    }
  }

  /** The fields that ask Fly's proxy to bring a request to the machine that has the place; undefined when that is of no use. */
  #replayTo(
    { headers }: IncomingMessage,
    elsewhere: OtherNode | 'unknown' | undefined,
  ): Readonly<Record<string, string>> | undefined {
    if (this.#config.flyMachine === undefined || typeof elsewhere !== 'object') return undefined
    // It was brought here already, or could not be brought there: not in circles.
    if (headers['fly-replay-src'] !== undefined || headers['fly-replay-failed'] !== undefined)
      return undefined
    const { machine } = elsewhere
    if (machine === undefined || machine === this.#config.flyMachine) return undefined
    return { 'fly-replay': `instance=${machine};timeout=5s;fallback=force_self` }
  }

  #sendAway(connection: WebSocket, elsewhere: OtherNode | 'unknown'): void {
    if (elsewhere === 'unknown') this.#meetings.refuse(connection, 'restart', 'the store is away')
    else this.#meetings.refuse(connection, 'otherNode', elsewhere.url)
  }
}

const HEADERS = {
  'Content-Type': 'text/plain; charset=utf-8',
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  Connection: 'close',
} as const

/** RFC 9110 section 15.5.22: a 426 says which protocol is meant. */
const UPGRADE = { Upgrade: 'websocket', Connection: 'close, Upgrade' } as const

function fieldsOf(status: number, body: string): Readonly<Record<string, string>> {
  const length = { 'Content-Length': String(Buffer.byteLength(body)) }
  return { ...HEADERS, ...(status === 426 ? UPGRADE : {}), ...length }
}

const REFUSALS: Readonly<Record<RefusalWord, readonly [status: number, text: string]>> = {
  tooMany: [429, 'too many connections; close some of them, or come back later'],
  badAddress: [400, 'X-Forwarded-For has no address that can be read'],
  notFound: [404, 'there is nothing here'],
  notAnUpgrade: [426, 'this path takes WebSockets alone'],
  draining: [503, 'this relay is stopping; connect again'],
}

function claimsFor(
  { storeUrl, publicUrl, flyMachine }: RelayConfig,
  parts: Pick<SharedClaimsParts, 'now' | 'every' | 'logger'>,
): Claims {
  if (storeUrl === undefined || publicUrl === undefined) return ONLY_NODE
  const self = { url: publicUrl, machine: flyMachine }
  return new SharedClaims({ ...parts, store: new RedisStore(storeUrl), self })
}

/** Answers a handshake that is refused, on its bare connection. */
function writeRefusal(
  socket: Duplex,
  status: number,
  text: string,
  more: Readonly<Record<string, string>> = {},
): void {
  const body = `${text}\n`
  const fields = { ...fieldsOf(status, body), ...more }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
  socket.resume() // what the client sends is dropped, so that its end is seen
  const timer = setTimeout(() => socket.destroy(), FAREWELL_MS)
  socket.once('close', () => clearTimeout(timer))
}

function startTimer(ms: number, act: () => void): () => void {
  const timer = setInterval(act, ms)
  return () => clearInterval(timer)
}

function ignore(): void {}
