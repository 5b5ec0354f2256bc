/** Is this HTTP as the gateway speaks it? What Node's parser lets through, and what it answers when it does not. */
import { createServer, ServerResponse, type IncomingMessage, type ServerOptions } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { clientFrom, type Cidr } from '../src/http/address.ts'
import { answerOf, ClientConnection, type RequestHandler } from '../src/http/client-connection.ts'
import { allowedOriginIn, corsFields } from '../src/rules/cors.ts'
import type { RequestMetrics } from '../src/observe/metrics.ts'
import { logFields } from '../src/observe/log-line.ts'
import type { Decisions } from '../src/observe/recent.ts'
import { rejectionOf } from '../src/observe/record.ts'
import { codeOf, ERRORS, GatewayError, type ErrorCode } from '../src/answers/errors.ts'
import { fieldLines, listElements, type RawHeaders } from '../src/http/fields.ts'
import { METHODS } from '../src/http/methods.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import type { Log } from '../src/observe/log.ts'
import { stage } from '../src/request/stage.ts'
import { hasBody } from '../src/http/to-service.ts'
import { rawAnswer } from '../src/answers/problem.ts'

/** More header fields than this are refused, not silently dropped as Node's own limit would. */
const MAX_HEADER_FIELDS = 100

/** Connections that may be open at once; more are closed when they arrive. */
const MAX_CONNECTIONS = 10_000

/** Connections that one address (IPv6: /64) may hold open, so that one peer cannot take all of them. */
export const MAX_CONNECTIONS_PER_PEER = 256

/** Options of the HTTP server: strict parser, 16 KiB of headers within 10 s. */
export const SERVER_OPTIONS: ServerOptions = {
  insecureHTTPParser: false,
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  connectionsCheckingInterval: 1000,
  requestTimeout: 0, // an upload may take hours; slowness is watched (src/services/request-body.ts)
  keepAliveTimeout: 125_000, // Caddy keeps idle connections for 120 s: never be the first to close
  requireHostHeader: false, // stage 3 answers in the contract's form
  noDelay: true,
  // A client that vanished without a word is noticed by the kernel: an event stream has no other bound.
  keepAlive: true,
  keepAliveInitialDelay: 30_000,
  // An offer of another protocol is ignored (RFC 9110 section 7.8). A handshake behind a request that is still being
  // answered stays a request, which stage 0 refuses in its turn.
  shouldUpgradeCallback: (raw) => offersWebSocket(raw) && answerOf(raw.socket) === undefined,
}

/** Makes the HTTP server with these limits, the same for tests and production. */
export function buildServer(handler: RequestHandler) {
  const take: RequestHandler = (request, response) => {
    request.socket.clientConnection?.take(request, response)
  }
  const server = createServer(SERVER_OPTIONS, take)
  server.maxHeadersCount = 0
  server.maxConnections = MAX_CONNECTIONS
  server.on('connection', (socket: Socket) => {
    socket.clientConnection = new ClientConnection(socket, handler)
  })
  // All three would be answered or dropped by Node before any stage; here they take the path like every request.
  server.on('checkContinue', take)
  server.on('checkExpectation', take)
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    if (answerOf(socket) !== undefined) {
      socket.destroy()
      return
    }
    const response = new ServerResponse(request)
    response.assignSocket(socket as Socket)
    response.once('finish', () => socket.end())
    handler(request, response)
  })
  return server
}

/** What the listener needs besides the server. */
export interface ListenerOptions {
  /** Gets a line for bytes that are no request; so do the metrics and the recent decisions. */
  readonly log: Log
  readonly metrics: RequestMetrics
  readonly decisions: Decisions
  /** Looks after every client's connection. */
  readonly watchdog: Watchdog
  /** Whose connections are not capped: they carry everybody's requests. */
  readonly trustedProxies: readonly Cidr[]
  /** Foreign origins whose pages may read what is answered to bytes that are no request. */
  readonly allowedOrigins: readonly string[]
}

export default stage(
  'listener',
  (options: ListenerOptions, app) => {
    app.server.removeAllListeners('clientError') // Fastify's own would answer first, in a form that is not ours
    app.server.on('clientError', (error: Error, socket: Socket) => {
      orEnd(socket, app, () => answerClientError(error, socket, options))
    })
    const cap = capConnections(options.trustedProxies)
    app.server.on('connection', (socket: Socket) => {
      orEnd(socket, app, () => {
        cap(socket)
        watch(socket, options)
      })
    })

    return function checkMessage(request, reply) {
      const { clientConnection } = request.raw.socket
      if (request.ws && clientConnection !== undefined) {
        clientConnection.isUpgraded = true
        request.raw.socket.on('drain', drainAnswer)
      }
      // Behind an offer that was ignored, Node's parser drops the rest of the packet: a request that was in there would
      // never be answered. The client is told to ask again on another connection.
      if (!request.ws && request.raw.headers.upgrade !== undefined)
        reply.raw.shouldKeepAlive = false
      return problemOf(request)
    }
  },
  ['request-log', 'problem-details', 'cors', 'drain'],
)

/** Node calls back outside of any request: what is thrown there would end the process, and leave a socket without an end. */
function orEnd(socket: Socket, { log }: FastifyInstance, work: () => void): void {
  try {
    work()
  } catch (error) {
    socket.destroy()
    log.error({ err: error }, 'a connection failed')
  }
}

function watch(socket: Socket, { watchdog }: ListenerOptions): void {
  const { clientConnection } = socket
  if (clientConnection === undefined) return
  watchdog.add(clientConnection)
  socket.once('close', () => watchdog.delete(clientConnection))
}

/** Node tells an answer no more that its socket has drained once the connection is upgraded: a long refusal would stop. */
function drainAnswer(this: Socket): void {
  answerOf(this)?.emit('drain')
}

/** Closes connections of a peer that holds too many already. A trusted proxy is no peer in this sense. */
function capConnections(trustedProxies: readonly Cidr[]): (socket: Socket) => void {
  const open = new Map<string, number>()
  return (socket) => {
    const client = clientFrom(socket.remoteAddress, [], trustedProxies)
    if (client === undefined || client.viaProxy) return
    const key = client.budgetKey
    const count = (open.get(key) ?? 0) + 1
    if (count > MAX_CONNECTIONS_PER_PEER) {
      socket.destroy()
      return
    }
    open.set(key, count)
    socket.once('close', () => {
      const left = (open.get(key) ?? 1) - 1
      if (left > 0) open.set(key, left)
      else open.delete(key)
    })
  }
}

/** What is wrong with a parsed message, before anybody looks at what it asks for. */
function problemOf({ raw, method, ws }: FastifyRequest): GatewayError | undefined {
  const { rawHeaders, headers, httpVersion } = raw
  // Node's parser also takes 0.9 and 2.0 for granted.
  if (httpVersion !== '1.1' && httpVersion !== '1.0')
    return closing('bad-request', `HTTP version ${httpVersion}`)
  if (rawHeaders.length > 2 * MAX_HEADER_FIELDS)
    return closing('headers-too-large', 'too many fields')
  const coding = headers['transfer-encoding']
  // Node's parser takes `chunked` as the last of several codings; two parsers may then disagree about the body.
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || raw.httpVersionMinor === 0)) {
    return closing('bad-request', 'transfer coding')
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue')
    return closing('expectation-failed', 'expect')
  if (!METHODS.some((known) => known === method))
    return closing('method-not-allowed', method, { Allow: METHODS.join(', ') })
  return ws || headers.upgrade !== undefined ? upgradeProblem(raw, ws) : undefined
}

/**
 * Whether a request asks for a WebSocket and nothing else. A list of protocols lets the server choose (RFC 9110 section
 * 7.8), and the gateway's choice is HTTP/1.1: anything but this one word would tunnel past the rules.
 */
function offersWebSocket({ rawHeaders }: IncomingMessage): boolean {
  return single(rawHeaders, 'upgrade')?.toLowerCase() === 'websocket'
}

/** Only WebSocket version 13, on a GET without a body (RFC 6455 section 4.2.1). Other offers are ignored. */
function upgradeProblem(raw: IncomingMessage, ws: boolean): GatewayError | undefined {
  const { rawHeaders, headers, method } = raw
  if (!ws) {
    // `Upgrade` without `Connection: Upgrade` is no offer either: the field is hop-by-hop and ends here.
    const isHandshake =
      offersWebSocket(raw) && listElements(headers.connection ?? '').includes('upgrade')
    return isHandshake ? closing('bad-request', 'upgrade behind another request') : undefined
  }
  if (method !== 'GET' || raw.httpVersionMinor === 0 || hasBody(rawHeaders))
    return closing('bad-request', 'upgrade on a request with a body')
  if (single(rawHeaders, 'sec-websocket-version') !== '13') {
    return closing('upgrade-required', 'version', {
      'Sec-WebSocket-Version': '13',
      Upgrade: 'websocket',
    })
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(single(rawHeaders, 'sec-websocket-key') ?? ''))
    return closing('bad-request', 'websocket key')
  return undefined
}

function single(rawHeaders: RawHeaders, name: string): string | undefined {
  const lines = fieldLines(rawHeaders, name)
  return lines.length === 1 ? lines[0] : undefined
}

/** A refusal after which nothing more is read: who gets this much wrong may mean other bytes than we read. */
function closing(
  code: ErrorCode,
  reason: string,
  headers: Readonly<Record<string, string>> = {},
): GatewayError {
  const fields = { ...headers, Connection: 'close' }
  return new GatewayError(code, { reason, headers: fields, retryAfter: undefined })
}

/** Answers bytes that are no request; whole requests before them are answered first, and the connection ends. */
function answerClientError(
  error: Error,
  socket: Socket,
  { log, decisions, metrics, allowedOrigins }: ListenerOptions,
): void {
  const code = codeOf(error)
  const connection = socket.clientConnection
  if (connection === undefined || code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  if (connection.isBroken) return // every packet behind the first bad one is an error again
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT' && connection.isPaused) return
  const answer: ErrorCode =
    code === 'HPE_HEADER_OVERFLOW'
      ? 'headers-too-large'
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request-timeout'
        : 'bad-request'
  const id = crypto.randomUUID()
  const { status } = ERRORS[answer]
  const decision = rejectionOf(id, socket.remoteAddress, status, answer, code)
  const fields = logFields(decision)
  decisions.add(decision, fields)
  metrics.count(undefined, 'listener', status, answer, 0, undefined)
  log.writeLine('info', fields, 'request')
  const packet = packetOf(error)
  const origin = allowedOriginIn(packet, allowedOrigins)
  connection.breakOff(
    rawAnswer(answer, id, {
      ...(answer === 'headers-too-large' ? cookieRelief(packet) : {}),
      ...(origin === undefined ? {} : corsFields(origin)),
    }),
  )
}

/** The packet in which the parser stopped; empty when there is none, as after a timeout. */
function packetOf(error: Error): string {
  const packet: unknown = Reflect.get(error, 'rawPacket')
  return Buffer.isBuffer(packet) ? packet.toString('latin1') : ''
}

/** Where a request line ends at the latest when it is the cookies that made the headers too large. */
const MAX_REQUEST_LINE = 4096

/** How much of a `Cookie` line in one packet tells a bomb from what people have: the longest session token, in bytes. */
const MANY_COOKIES = 4096

/**
 * A sibling workspace can plant so many `Domain` cookies that no request fits any more; only the answer can tell the
 * browser to drop them. Not when the address itself is what is too long: a link must not sign people out.
 */
function cookieRelief(packet: string): Readonly<Record<string, string>> {
  const [first = '', ...fields] = packet.split('\r\n')
  return isCookieBomb(first, fields) ? { 'Clear-Site-Data': '"cookies"' } : {}
}

/**
 * Whether cookies are what is too much, by the packet that went too far: Node shows no other, and Caddy sends 4 KiB at a
 * time, so that it often begins in the middle of the `Cookie` line.
 */
export function isCookieBomb(first: string, fields: readonly string[]): boolean {
  const cookies = fields.filter((line) => /^cookie:/i.test(line))
  // No address has a space in it: what ends like a request line is a whole one, or the tail of an address.
  if (/ HTTP\/1\.1$/.test(first))
    return /^[A-Z]+ /.test(first) && first.length < MAX_REQUEST_LINE && cookies.length > 0
  if (first.includes('; ')) cookies.push(first)
  return cookies.some(({ length }) => length >= MANY_COOKIES)
}
