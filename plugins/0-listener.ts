/** Is this HTTP as the gateway speaks it? What Node's parser lets through, and what it answers when it does not. */
import { createServer, ServerResponse, type IncomingMessage, type ServerOptions } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { clientFrom, type Cidr } from '../src/address.ts'
import { allowedOriginIn, corsFields } from '../src/cors.ts'
import { logFields, rejectionOf } from '../src/decisions.ts'
import { codeOf, ERRORS, GatewayError, type ErrorCode } from '../src/errors.ts'
import { fieldLines, listElements, type RawHeaders } from '../src/fields.ts'
import type { Log } from '../src/log.ts'
import { hasBody } from '../src/request-headers.ts'
import { rawAnswer } from '../src/problem.ts'

/** Methods that are forwarded. TRACE and CONNECT never are; others have no meaning to the services. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

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
  requestTimeout: 0, // an upload may take hours; slowness is watched (src/request-body.ts)
  keepAliveTimeout: 125_000, // Caddy keeps idle connections for 120 s: never be the first to close
  requireHostHeader: false, // stage 3 answers in the contract's form
  noDelay: true,
  // An upgrade behind a request that is still being answered stays a request, which stage 0 refuses in its turn.
  shouldUpgradeCallback: ({ socket }) => !isAnswering(socket),
}

/** Makes the HTTP server with these limits, the same for tests and production. */
export function buildServer(handler: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(SERVER_OPTIONS, handler)
  server.maxHeadersCount = 0
  server.maxConnections = MAX_CONNECTIONS
  // All three would be answered or dropped by Node before any stage; here they take the path like every request.
  server.on('checkContinue', handler)
  server.on('checkExpectation', handler)
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    if (isAnswering(socket)) {
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

/** Where the listener writes about requests that never become one. */
export interface ListenerOptions {
  readonly log: Log
  /** Whose connections are not capped: they carry everybody's requests. */
  readonly trustedProxies: readonly Cidr[]
  /** Foreign origins whose pages may read what is answered to bytes that are no request. */
  readonly allowedOrigins: readonly string[]
}

export default fp(
  async function listener(
    app: FastifyInstance,
    { log, trustedProxies, allowedOrigins }: ListenerOptions,
  ) {
    app.addHook('onRequest', function checkMessage(request, _reply, done) {
      request.exchange.stage = 'listener'
      done(problemOf(request))
    })

    app.server.removeAllListeners('clientError') // Fastify's own would answer first, in a form that is not ours
    app.server.on('clientError', (error: Error, socket: Duplex) => {
      answerClientError(error, socket, app, log, allowedOrigins)
    })
    app.server.on('connection', capConnections(trustedProxies))
  },
  { name: 'listener', fastify: '5.x', dependencies: ['request-log', 'problem-details'] },
)

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

/** Only WebSocket version 13, on a GET without a body (RFC 6455 section 4.2.1); h2c and others would tunnel past the rules. */
function upgradeProblem(raw: IncomingMessage, ws: boolean): GatewayError | undefined {
  const { rawHeaders, headers, method } = raw
  if (!ws) {
    // `Upgrade` without `Connection: Upgrade` is no upgrade: the field is hop-by-hop and ends here.
    if (!listElements(headers.connection ?? '').includes('upgrade')) return undefined
    return closing('bad-request', 'upgrade behind another request')
  }
  if (single(rawHeaders, 'upgrade')?.toLowerCase() !== 'websocket')
    return closing('bad-request', 'upgrade to another protocol')
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
  return new GatewayError(code, { reason, headers: { ...headers, Connection: 'close' } })
}

/** Whether an earlier request of the connection is still being answered, so that nothing may take the connection over. */
function isAnswering(socket: Duplex): boolean {
  return Reflect.get(socket, '_httpMessage') instanceof ServerResponse
}

/** Answers bytes that are no request, unless an answer is already on its way: the connection ends either way. */
function answerClientError(
  error: Error,
  socket: Duplex,
  { decisions, metrics }: FastifyInstance,
  log: Log,
  allowedOrigins: readonly string[],
): void {
  const code = codeOf(error)
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const answer: ErrorCode =
    code === 'HPE_HEADER_OVERFLOW'
      ? 'headers-too-large'
      : code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'request-timeout'
        : 'bad-request'
  const id = crypto.randomUUID()
  const client =
    'remoteAddress' in socket ? (socket.remoteAddress as string | undefined) : undefined
  const { status } = ERRORS[answer]
  const decision = rejectionOf(id, client, status, answer, code)
  const fields = logFields(decision)
  decisions.add(decision, fields)
  metrics.count(undefined, 'listener', status, answer, 0, undefined)
  log.writeLine('info', fields, 'request')
  // Node keeps the answer that is under way here; bytes of ours in the middle of it would corrupt it.
  const underWay: unknown = Reflect.get(socket, '_httpMessage')
  if (underWay instanceof ServerResponse && underWay.req.complete) {
    // A later request on the connection is broken: the one before it still gets its answer, and then the line goes dead.
    underWay.shouldKeepAlive = false
    underWay.once('finish', () => socket.end())
    return
  }
  if (underWay instanceof ServerResponse && underWay.headersSent) {
    socket.destroy()
    return
  }
  const packet = packetOf(error)
  const origin = allowedOriginIn(packet, allowedOrigins)
  socket.end(
    rawAnswer(answer, id, {
      ...(answer === 'headers-too-large' ? cookieRelief(packet) : {}),
      ...(origin === undefined ? {} : corsFields(origin)),
    }),
  )
  setTimeout(() => socket.destroy(), 1000).unref()
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
function isCookieBomb(first: string, fields: readonly string[]): boolean {
  const cookies = fields.filter((line) => /^cookie:/i.test(line))
  // No address has a space in it: what ends like a request line is a whole one, or the tail of an address.
  if (/ HTTP\/1\.1$/.test(first))
    return /^[A-Z]+ /.test(first) && first.length < MAX_REQUEST_LINE && cookies.length > 0
  if (first.includes('; ')) cookies.push(first)
  return cookies.some(({ length }) => length >= MANY_COOKIES)
}
