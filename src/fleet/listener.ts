/**
 * How does the limits service read from callers? By an HTTP/1.1 server with a strict parser and small bounds, which answers bytes that
 * are no request behind the answers to the requests before them.
 */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { ListenOptions, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { codeOf } from '../answers/errors.ts'
import { endIdle, trackSockets, type OpenConnections } from '../http/idle-connections.ts'
import {
  allowHalfOpen,
  endConnectionAfter,
  responseOn,
  stopAccepting,
  stopParsing,
} from '../http/node-internals.ts'
import { openFilesLimit } from '../limits/open-files.ts'

/** Connections that may be open at once. A further one takes the place of the oldest stranger's; where all are callers', it is closed. */
const MAX_CONNECTIONS = 1024

/** Files that stay for the store, the log, the metrics and Node where the process may have few open. Port and socket share the rest. */
const RESERVED_FILES = 96

/** However few files there may be, so many connections are taken. */
const FEWEST_CONNECTIONS = 8

/** The largest request line and header section, in bytes. */
const MAX_HEADER_BYTES = 8192

/** How long a request may take to arrive, its body included, in milliseconds. */
const REQUEST_MS = 10_000

/** How long a connection without a request stays open, in milliseconds. */
const KEEP_ALIVE_MS = 65_000

/** How often it is looked at which requests have taken too long, in milliseconds. */
const CHECK_MS = 1000

/** How long the other side of a connection may still send when its last answer was written, in milliseconds. */
const LINGER_MS = 2000

/** How often draining looks whether everything has ended, in milliseconds. */
const DRAIN_STEP_MS = 50

/** What may be wrong with bytes that are no request. */
export type BrokenCode = 'bad-request' | 'headers-too-large' | 'request-timeout'

/**
 * Who sends a request, as far as its head says:
 * - `caller`: one who may ask. Its connection stays open, and is its own from now on.
 * - `passer-by`: one who may have this answer, as everybody. The connection of a stranger ends with it.
 * - `nobody`: one who is refused. No request behind this one is read: it would be done, and its answer never sent.
 */
export type Sender = 'caller' | 'passer-by' | 'nobody'

/** What a test can make shorter. */
export interface ListenerTimes {
  readonly requestMs?: number
  readonly keepAliveMs?: number
  readonly checkMs?: number
}

/** One way in: a port, or a Unix socket. */
export class Listener {
  readonly server: Server
  readonly #most = mostConnections()
  readonly #connections: OpenConnections
  /** The connections on which no caller has asked yet, the oldest first. */
  readonly #strangers = new Set<Socket>()
  /** The responses that are not finished. */
  readonly #underWay = new WeakMap<Socket, Set<ServerResponse>>()
  /** The last answer of connections on which something came that is no request. */
  readonly #lastAnswers = new WeakMap<Socket, string>()

  /** @param senderOf asked at once when a head has arrived: what stands behind it in its packet is read after that */
  constructor(
    handler: RequestListener,
    senderOf: (request: IncomingMessage) => Sender,
    { requestMs = REQUEST_MS, keepAliveMs = KEEP_ALIVE_MS, checkMs = CHECK_MS }: ListenerTimes,
  ) {
    const take: RequestListener = (request, response) => {
      this.#note(request.socket, response)
      request.on('error', () => request.destroy())
      response.on('error', () => response.destroy())
      const sender = senderOf(request)
      if (sender === 'caller') this.#strangers.delete(request.socket)
      if (sender === 'nobody' || this.#strangers.has(request.socket)) this.endAfter(response)
      handler(request, response)
    }
    this.server = createServer(
      {
        insecureHTTPParser: false,
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: requestMs,
        requestTimeout: requestMs,
        keepAliveTimeout: keepAliveMs,
        connectionsCheckingInterval: checkMs,
        requireHostHeader: false, // a request without it gets a problem document
        noDelay: true,
        shouldUpgradeCallback: () => false, // an offer of another protocol is ignored (RFC 9110 section 7.8)
      },
      take,
    )
    allowHalfOpen(this.server)
    this.server.maxHeadersCount = 0 // Node would drop further fields without a word; their bytes are bounded
    // Without these listeners Node would answer such requests itself.
    this.server.on('checkExpectation', take)
    this.server.on('connect', (request: IncomingMessage, duplex: Duplex) => {
      const socket = duplex as Socket
      socket.on('error', () => socket.destroy())
      if (this.#responsesOn(socket).length > 0) {
        this.server.emit('clientError', new Error('CONNECT behind another request'), socket)
        return
      }
      const response = responseOn(request, socket)
      response.once('finish', () => endSoon(socket))
      handler(request, response)
    })
    this.#connections = trackSockets(this.server)
    this.server.on('connection', (socket: Socket) => this.#makeRoom(socket))
  }

  /** @throws errors of listening, such as EADDRINUSE */
  async listen(options: ListenOptions): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.server.once('error', reject)
    this.server.listen({ ...options, exclusive: true }, resolve)
    await promise
    this.server.off('error', reject)
  }

  /**
   * Ends a connection on which something came that is no request, once the requests before it are answered.
   * @param answerOf gives the last answer
   */
  breakOff(error: Error, socket: Socket, answerOf: (code: BrokenCode) => string): void {
    if (this.#lastAnswers.has(socket)) return // Node reports an error for every packet behind the first bad one
    const reason = codeOf(error)
    if (reason === 'ECONNRESET' || !socket.writable) {
      socket.destroy()
      return
    }
    this.#lastAnswers.set(socket, answerOf(CLIENT_ERRORS[reason] ?? 'bad-request'))
    this.#endBroken(socket)
  }

  /** Makes a response the last one of its connection, and reads no request behind it. */
  endAfter(response: ServerResponse): void {
    endConnectionAfter(response)
    stopParsing(response.req.socket)
  }

  /** Whether no other request has come behind that of a response. */
  isLatest(response: ServerResponse): boolean {
    const latest = this.#responsesOn(response.req.socket).at(-1)
    return latest === undefined || latest === response
  }

  /** Takes no further connection, and ends those that there are as soon as nothing is under way on them. */
  async drain(ms: number): Promise<void> {
    const deadline = performance.now() + ms
    stopAccepting(this.server)
    while (this.#connections.size > 0 && performance.now() < deadline) {
      endIdle(this.server, this.#connections)
      await new Promise((resolve) => {
        setTimeout(resolve, DRAIN_STEP_MS)
      })
    }
  }

  /** Ends everything at once. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => stopAccepting(this.server, () => resolve()))
    for (const socket of this.#connections.keys()) socket.destroy()
    await closed
  }

  /** Strangers who hold connections shall not keep callers out. */
  #makeRoom(socket: Socket): void {
    this.#strangers.add(socket)
    socket.once('close', () => this.#strangers.delete(socket))
    if (this.#connections.size <= this.#most) return
    const [oldest = socket] = this.#strangers
    this.#strangers.delete(oldest)
    oldest.destroy()
  }

  #responsesOn(socket: Socket): readonly ServerResponse[] {
    return [...(this.#underWay.get(socket) ?? [])]
  }

  #note(socket: Socket, response: ServerResponse): void {
    const responses = this.#underWay.get(socket) ?? new Set()
    this.#underWay.set(socket, responses.add(response))
    response.once('close', () => {
      responses.delete(response)
      this.#endBroken(socket)
    })
  }

  /** Writes the last answer, if there is one, and if every complete request before it has been answered. */
  #endBroken(socket: Socket): void {
    const answer = this.#lastAnswers.get(socket)
    const responses = this.#responsesOn(socket)
    if (answer === undefined || responses.some(({ req }) => req.complete)) return
    if (!socket.writable || responses.some(({ headersSent }) => headersSent)) {
      socket.destroy() // the request that is broken was answered already
      return
    }
    endSoon(socket, answer)
  }
}

function mostConnections(): number {
  const share = Math.floor((openFilesLimit() - RESERVED_FILES) / 2)
  return Math.max(FEWEST_CONNECTIONS, Math.min(MAX_CONNECTIONS, share))
}

/** Ends our side of a connection, and the other side a little later. @param bytes sent before that */
function endSoon(socket: Socket, bytes = ''): void {
  socket.end(bytes)
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.once('close', () => clearTimeout(timer))
}

const CLIENT_ERRORS: Readonly<Record<string, BrokenCode>> = {
  HPE_HEADER_OVERFLOW: 'headers-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request-timeout',
}
