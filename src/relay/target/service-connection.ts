/**
 * What stands between a device's stream and a service that is not our gateway (LINK_TARGET)? An HTTP server without a port: it reads the
 * stream strictly, judges each request, and forwards what may pass on a connection of its own. The gateway has its own request path.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { GatewayError } from '../../answers/errors.ts'
import { rawAnswer } from '../../answers/problem.ts'
import type { LinkConfig } from '../../config/link-settings.ts'
import { offersWebSocket } from '../../http/handshake.ts'
import { allowHalfOpen, currentResponse, packetOf } from '../../http/node-internals.ts'
import { MAX_HEADER_BYTES } from '../../http/server.ts'
import { clientErrorOf } from '../../rules/client-error.ts'
import { parseAuthority } from '../../rules/host.ts'
import { readDaemonLists } from './daemon-lists.ts'
import {
  endWith,
  forwardRequest,
  forwardUpgrade,
  refusalAnswer,
  writeAnswer,
  type Destination,
  type Forwarded,
} from './forward.ts'
import { connectedPair } from './pair.ts'
import { judgeRequest, type ServedNames } from './judge.ts'

/** The default of that time. A device sends a request as soon as it has opened a stream. */
const HEAD_MS = 30_000

/** What a connection to a service depends on. */
export type ServiceTarget = Pick<LinkConfig, 'target' | 'pageUrl' | 'hubcodeHome'>

/**
 * Reads the daemon's lists, and makes what opens connections to the service. Each is for one stream of a device, and one request:
 * bytes of HTTP/1.1 go in and come out. It looks like a connection to the service, except that the service is dialled only for a request
 * that may pass.
 * @param headMs how long a stream may take to send the head of its request, in milliseconds
 * @throws {ConfigError} when `$HUBCODE_HOME/config.json` cannot be read
 */
export function connectionToService(
  { target, pageUrl, hubcodeHome }: ServiceTarget,
  headMs = HEAD_MS,
): () => Duplex {
  const page = new URL(pageUrl)
  const served: ServedNames = {
    ...readDaemonLists(hubcodeHome),
    pageHost: parseAuthority(page.host)?.host ?? '',
    pageOrigin: page.origin,
  }
  const server = buildServer(served, { address: target, pageOrigin: page.origin })
  return () => openConnection(server, headMs)
}

/** What ends a connection on which no request comes. */
const silences = new WeakMap<Duplex, NodeJS.Timeout>()

function buildServer(served: ServedNames, destination: Destination): Server {
  const server = createServer({
    insecureHTTPParser: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    requireHostHeader: false, // judged, and refused in our own words
    shouldUpgradeCallback: offersWebSocket,
  })
  server.maxHeadersCount = 0 // Node would drop further fields without a word; they are counted and refused instead
  server.maxRequestsPerSocket = 1
  allowHalfOpen(server) // a device may end its side behind its request
  const take = (request: IncomingMessage, response: ServerResponse) => {
    const passed = judged(request, { isUpgrade: false, served, destination })
    if ('refusal' in passed) writeAnswer(response, refusalAnswer(passed.refusal, passed.requestId))
    else forwardRequest(passed, response)
  }
  server.on('request', take)
  server.on('checkExpectation', take)
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy())
    const passed = judged(request, { isUpgrade: true, served, destination })
    if ('refusal' in passed) endWith(socket, passed.refusal, passed.requestId)
    else forwardUpgrade(passed, socket, head)
  })
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    const passed = judged(request, { isUpgrade: false, served, destination })
    if ('refusal' in passed) endWith(socket, passed.refusal, passed.requestId)
    else socket.destroy() // CONNECT is none of the methods that pass
  })
  server.on('clientError', (error: Error & { code?: string }, socket: Duplex) => {
    const response = currentResponse(socket)
    // A whole response is on its way, such as a refusal of a request whose body does not come any more.
    if (socket.writableEnded || response?.writableEnded === true) return
    const { code } = clientErrorOf(error.code ?? '', packetOf(error), [])
    if (response === undefined) socket.end(rawAnswer(code, crypto.randomUUID()))
    else socket.destroy() // a body that breaks its framing ends the request at the service too
  })
  return server
}

/** How a request is judged. */
interface Judging {
  readonly isUpgrade: boolean
  readonly served: ServedNames
  readonly destination: Destination
}

/** A refused request. */
interface Refused {
  readonly refusal: GatewayError
  readonly requestId: string
}

function judged(
  request: IncomingMessage,
  { isUpgrade, served, destination }: Judging,
): Forwarded | Refused {
  clearTimeout(silences.get(request.socket))
  const requestId = crypto.randomUUID()
  try {
    return { ...judgeRequest(request, isUpgrade, served), request, requestId, destination }
  } catch (error) {
    if (error instanceof GatewayError) return { refusal: error, requestId }
    throw error
  }
}

/** Opens a connection to the server. @returns the device's end of it */
function openConnection(server: Server, headMs: number): Duplex {
  const [ours, theirs] = connectedPair()
  theirs.on('error', () => {})
  const silence = setTimeout(() => ours.destroy(), headMs)
  silences.set(ours, silence)
  ours.on('close', () => clearTimeout(silence))
  server.emit('connection', ours)
  return theirs
}
