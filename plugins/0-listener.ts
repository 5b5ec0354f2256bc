/** Is this HTTP as the gateway speaks it? What Node's parser lets through, and what it answers when it does not. */
import {
  createServer,
  type IncomingMessage,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Logger } from 'pino'
import { codeOf, GatewayError, type ErrorCode } from '../src/errors.ts'
import { fieldLines, listElements, type RawHeaders } from '../src/fields.ts'
import { hasBody } from '../src/headers.ts'
import { rawAnswer } from '../src/problem.ts'

/** Methods that are forwarded. TRACE and CONNECT never are; others have no meaning to the services. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** More header fields than this are refused, not silently dropped as Node's own limit would. */
const MAX_HEADER_FIELDS = 100

/** Connections that may be open at once; more are closed when they arrive. */
const MAX_CONNECTIONS = 10_000

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
}

/** Makes the HTTP server with these limits, the same for tests and production. */
export function buildServer(handler: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(SERVER_OPTIONS, handler)
  server.maxHeadersCount = 0
  server.maxConnections = MAX_CONNECTIONS
  // Both would be answered by Node before any stage; here they take the path like every request.
  server.on('checkContinue', handler)
  server.on('checkExpectation', handler)
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    socket.end(rawAnswer('method-not-allowed', crypto.randomUUID()))
  })
  return server
}

/** Where the listener writes about requests that never become one. */
export interface ListenerOptions {
  readonly logger: Logger
}

export default fp(
  async function listener(app: FastifyInstance, { logger }: ListenerOptions) {
    app.addHook('onRequest', function checkMessage(request, _reply, done) {
      request.exchange.stage = 'listener'
      done(problemOf(request))
    })

    app.server.on('clientError', (error: Error, socket: Duplex) => {
      answerClientError(error, socket, logger)
    })
  },
  { name: 'listener', fastify: '5.x', dependencies: ['request-log', 'problem-details'] },
)

/** What is wrong with a parsed message, before anybody looks at what it asks for. */
function problemOf({ raw, method, ws }: FastifyRequest): GatewayError | undefined {
  const { rawHeaders, headers } = raw
  if (rawHeaders.length > 2 * MAX_HEADER_FIELDS)
    return new GatewayError('headers-too-large', { reason: 'too many fields' })
  const coding = headers['transfer-encoding']
  // Node's parser takes `chunked` as the last of several codings; two parsers may then disagree about the body.
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || raw.httpVersionMinor === 0)) {
    return closing('bad-request', 'transfer coding')
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue')
    return closing('expectation-failed', 'expect')
  if (!METHODS.some((known) => known === method)) {
    return new GatewayError('method-not-allowed', {
      reason: method,
      headers: { Allow: METHODS.join(', ') },
    })
  }
  return ws || headers.upgrade !== undefined ? upgradeProblem(raw, ws) : undefined
}

/** Only WebSocket version 13, on a GET without a body (RFC 6455 section 4.2.1); h2c and others would tunnel past the rules. */
function upgradeProblem(raw: IncomingMessage, ws: boolean): GatewayError | undefined {
  const { rawHeaders, headers, method } = raw
  // `Upgrade` without `Connection: Upgrade` is no upgrade: the field is hop-by-hop and ends here.
  if (!ws && !listElements(headers.connection ?? '').includes('upgrade')) return undefined
  if (single(rawHeaders, 'upgrade')?.toLowerCase() !== 'websocket')
    return closing('bad-request', 'upgrade to another protocol')
  if (method !== 'GET' || raw.httpVersionMinor === 0 || hasBody(rawHeaders))
    return closing('bad-request', 'upgrade on a request with a body')
  if (single(rawHeaders, 'sec-websocket-version') !== '13') {
    return new GatewayError('upgrade-required', {
      reason: 'version',
      headers: { 'Sec-WebSocket-Version': '13', Upgrade: 'websocket' },
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

function closing(code: ErrorCode, reason: string): GatewayError {
  return new GatewayError(code, { reason, headers: { Connection: 'close' } })
}

/** Answers bytes that are no request, unless an answer is already on its way: the connection ends either way. */
function answerClientError(error: Error, socket: Duplex, logger: Logger): void {
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
  // Node keeps the answer that is under way here; bytes of ours in the middle of it would corrupt it.
  const isAnswering = (Reflect.get(socket, '_httpMessage') ?? null) !== null
  logger.info({ id, stage: 'listener', code: answer, reason: code }, 'request')
  if (isAnswering) {
    socket.destroy()
    return
  }
  socket.end(rawAnswer(answer, id))
  setTimeout(() => socket.destroy(), 1000).unref()
}
