/** How does a request that may pass reach the service, and the response its device? On a connection of its own, streamed both ways. */
import { request as askHttp, STATUS_CODES } from 'node:http'
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import { pipeline, type Duplex } from 'node:stream'
import { serviceDetail } from '../../answers/details.ts'
import { fixedRetryAfter, GatewayError, upstreamErrorFrom } from '../../answers/errors.ts'
import { problemAnswer, type Answer, type ProblemSource } from '../../answers/problem.ts'
import { listenerOf, type ServiceAddress } from '../../config/values.ts'
import { fieldLines } from '../../http/fields.ts'
import { buildLocationRewriter } from '../../http/location.ts'
import { buildResponseHeaders, buildSwitchingHeaders } from '../../http/to-client.ts'
import { buildRequestHeaders, LOCAL_HOST, localOrigin } from '../../http/to-service.ts'
import type { Passed } from './judge.ts'

/** How long the service may take to accept a connection, in milliseconds. It is on this machine. */
const CONNECT_MS = 3000

/** How long the service may take to begin its response, in milliseconds: the default of GATEWAY_FIRST_BYTE_SECONDS. */
const FIRST_BYTE_MS = 900_000

/** Where requests are forwarded to. */
export interface Destination {
  readonly address: ServiceAddress
  /** The origin of the page that devices use, which becomes the service's own. */
  readonly pageOrigin: string
}

/** One request of a device that may pass. */
export interface Forwarded extends Passed {
  readonly request: IncomingMessage
  readonly requestId: string
  readonly destination: Destination
}

/** Forwards a plain request. Its response is the last of its connection, because a stream of a device has one request. */
export function forwardRequest(forwarded: Forwarded, response: ServerResponse): void {
  const { request, requestId } = forwarded
  const outgoing = openRequest(forwarded, false)
  const fail = (error: Error) => {
    outgoing.destroy()
    if (response.headersSent) response.destroy()
    else writeAnswer(response, refusalAnswer(serviceFailure(error), requestId))
  }
  outgoing.on('response', (answer) => {
    const status = statusOf(answer)
    if (status === undefined) {
      fail(noHttp())
      return
    }
    response.writeHead(status, responseHeaders(answer, forwarded))
    // A response that the service cut short, or that the device does not want any more, must not look complete.
    pipeline(answer, response, (error) => {
      if (error) response.destroy()
    })
  })
  // Nobody has asked for another protocol. Node has let go of the connection, so that nobody else closes it.
  outgoing.on('upgrade', (_answer, service) => {
    service.destroy()
    fail(noHttp())
  })
  outgoing.on('error', fail)
  response.on('close', () => outgoing.destroy())
  // What goes wrong here is an error of `outgoing`, or the device has left.
  pipeline(request, outgoing, () => {})
}

/**
 * Forwards a WebSocket handshake, and joins both sides when the service accepts.
 * @param socket the device's side
 * @param head what came behind the handshake
 */
export function forwardUpgrade(forwarded: Forwarded, socket: Duplex, head: Buffer): void {
  const outgoing = openRequest(forwarded, true)
  outgoing.on('upgrade', (answer, service, serviceHead) => {
    const headers = buildSwitchingHeaders(answer.rawHeaders, undefined)
    socket.write(headText(101, [...headers, 'X-Request-Id', forwarded.requestId]))
    socket.write(serviceHead)
    service.write(head)
    join(socket, service)
  })
  outgoing.on('response', (answer) => {
    const status = statusOf(answer)
    if (status === undefined) {
      outgoing.destroy()
      endWith(socket, serviceFailure(noHttp()), forwarded.requestId)
      return
    }
    socket.write(headText(status, responseHeaders(answer, forwarded)))
    pipeline(answer, socket, () => {}) // on an error it destroys the socket, so that the response does not look complete
  })
  outgoing.on('error', (error) => endWith(socket, serviceFailure(error), forwarded.requestId))
  socket.on('close', () => outgoing.destroy())
  outgoing.end()
}

/** The status of a last response; undefined for a number that is none (RFC 9110 section 15), which Node's parser lets pass. */
function statusOf({ statusCode = 0 }: IncomingMessage): number | undefined {
  return statusCode >= 200 ? statusCode : undefined
}

/** The error of a service that does not keep to HTTP. */
function noHttp(): Error {
  return new Error('the service does not keep to HTTP')
}

/** Joins two connections: each direction ends for itself, and a failure of one side ends both at once. */
function join(one: Duplex, other: Duplex): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => from.destroy())
    from.on('close', () => to.destroy())
    from.pipe(to)
  }
}

/** Refuses a request by an answer of our own. */
export function writeAnswer(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, [...headers, 'Connection', 'close'])
  response.end(body)
}

/** The answer of a refusal: a problem document, because a program reads it. */
export function refusalAnswer(error: ProblemSource, requestId: string): Answer {
  return problemAnswer(error, { requestId })
}

/** Refuses on a connection that has left HTTP, and ends it. */
export function endWith(socket: Duplex, error: ProblemSource, requestId: string): void {
  const { status, headers, body } = refusalAnswer(error, requestId)
  socket.end(headText(status, [...headers, 'Connection', 'close']) + body)
}

/** Begins the request to the service: the device's headers, filtered, with the `Host` of this machine, as for a service of the gateway. */
function openRequest(
  { request, path, requestId, destination: { address, pageOrigin } }: Forwarded,
  upgrade: boolean,
): ClientRequest {
  const listener = listenerOf(address)
  const { method = 'GET', rawHeaders } = request
  const outgoing = askHttp({
    ...('path' in listener ? { socketPath: listener.path } : listener),
    ...{ path, method, agent: false, setHost: false },
    headers: [
      ...requestHeaders(rawHeaders, { requestId, pageOrigin, upgrade }),
      ...framing(method, rawHeaders),
    ],
  })
  const tooLate = () => outgoing.destroy(new GatewayError('upstream-timeout'))
  let timer = setTimeout(tooLate, CONNECT_MS)
  outgoing.once('socket', (socket) =>
    socket.once('connect', () => {
      clearTimeout(timer)
      timer = setTimeout(tooLate, FIRST_BYTE_MS)
    }),
  )
  for (const event of ['response', 'upgrade', 'close'])
    outgoing.once(event, () => clearTimeout(timer))
  return outgoing
}

function requestHeaders(
  raw: readonly string[],
  about: { requestId: string; pageOrigin: string; upgrade: boolean },
): string[] {
  const { requestId, pageOrigin, upgrade } = about
  const headers = buildRequestHeaders(raw, {
    ...{ mode: 'none', host: LOCAL_HOST, requestId, upgrade },
    ...{ clientAddress: '', scheme: 'https', user: undefined, workspace: '' },
    ...{ dropAuthorization: false, authorization: undefined, allowNextData: false },
  })
  localOrigin(headers, pageOrigin)
  return headers
}

/** The field that frames the body, where `buildRequestHeaders` has left none: `Transfer-Encoding` is that of the device's side. */
function framing(method: string, raw: readonly string[]): readonly string[] {
  if (fieldLines(raw, 'transfer-encoding').length > 0) return ['Transfer-Encoding', 'chunked']
  const hasNone = fieldLines(raw, 'content-length').length === 0
  return hasNone && /^P/.test(method) ? ['Content-Length', '0'] : []
}

function responseHeaders(
  { rawHeaders, statusCode = 502 }: IncomingMessage,
  { requestId, allowOrigin, destination: { address } }: Forwarded,
): string[] {
  const { hostname, port } = address
  const toPath = buildLocationRewriter([LOCAL_HOST], '80', '')
  const rewrite = buildLocationRewriter(
    [hostname, LOCAL_HOST, '127.0.0.1', '[::1]'],
    port === undefined ? undefined : String(port),
    '',
  )
  return buildResponseHeaders(rawHeaders, {
    ...{ status: statusCode, requestId, allowOrigin, isolatedAt: undefined, signedIn: true },
    rewriteLocation: (location) => rewrite(toPath(location)),
    extra: ['Connection', 'close'],
  })
}

/** The error of a service that cannot be reached or has failed, in words that name it. */
function serviceFailure(cause: unknown): ProblemSource {
  const { code, headers } = upstreamErrorFrom(cause)
  return { code, headers, detail: serviceDetail(code, 'The service', fixedRetryAfter(code)) }
}

/** A response's status line and header section. */
function headText(status: number, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}
