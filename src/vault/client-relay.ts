/**
 * How does a tool that speaks only TCP use a lease? Through a loopback port that relays requests to the agent's socket. Other
 * users can reach the port too, so only requests for the leased services pass: these need a lease, and asking for one does not.
 */
import { once } from 'node:events'
import {
  createServer,
  request as sendRequest,
  type ClientRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { fieldLines, listElements, type RawHeaders } from '../http/fields.ts'
import { HOP_BY_HOP, removeNominated } from '../http/hop-by-hop.ts'
import { decodeFully } from '../rules/target.ts'
import { refuseBrowsers } from './doors/server-shared.ts'
import { SERVICE_PREFIX } from './protocol.ts'
import { headText, refuse, refuseOnSocket } from './refusal.ts'
import { VaultError } from './vault-errors.ts'

/** A loopback port that relays requests. */
export interface ClientRelay {
  /** The address under which a service is reached: `http://127.0.0.1:PORT/s/github`. */
  baseUrl(service: string): string
  /** Ends every connection and gives the port back. */
  close(): Promise<void>
}

/** The most connections at a time. */
const MAX_CONNECTIONS = 1000

/**
 * Listens on a free loopback port.
 * @param socket the path of the agent's socket
 * @param services those that were leased
 */
export async function startClientRelay(
  socket: string,
  services: readonly string[],
): Promise<ClientRelay> {
  const tunnels = new Set<Duplex>()
  const server = createServer({
    requestTimeout: 0, // an upload may take as long as it takes
    // Any other upgrade is ignored, as HTTP allows: curl offers h2c with its requests.
    shouldUpgradeCallback: ({ headers }) => headers.upgrade?.toLowerCase() === 'websocket',
  })
  server.maxConnections = MAX_CONNECTIONS
  server.on('request', (request, response) => {
    relayRequest(socket, services, request, response)
  })
  server.on('upgrade', (request: IncomingMessage, tunnel: Duplex, head: Buffer) => {
    tunnels.add(tunnel)
    tunnel.once('close', () => tunnels.delete(tunnel))
    relayUpgrade(socket, services, { request, tunnel, head })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    baseUrl: (service) => `http://127.0.0.1:${port}${SERVICE_PREFIX}${service}`,
    async close() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      for (const tunnel of tunnels) tunnel.destroy()
      await closed
    },
  }
}

/** Why a request is not relayed; undefined when it is. A page of a browser is refused as at the vault's own port. */
function refusalFor(request: IncomingMessage, services: readonly string[]): VaultError | undefined {
  try {
    refuseBrowsers(request)
  } catch (error) {
    if (error instanceof VaultError) return error
    throw error
  }
  return isForService(request.url ?? '', services) ? undefined : NOT_HERE
}

/** Whether a request is for one of the services, however its path is read. */
function isForService(target: string, services: readonly string[]): boolean {
  const [path = ''] = target.split('?', 1)
  const segments = decodeFully(path).split(/[/\\]/)
  if (segments.some((segment) => /^\.{1,2}\s*(?:;|$)/.test(segment.trim()))) return false
  return services.some((service) => {
    const prefix = `${SERVICE_PREFIX}${service}`
    return path === prefix || path.startsWith(`${prefix}/`)
  })
}

function relayRequest(
  socketPath: string,
  services: readonly string[],
  request: IncomingMessage,
  response: ServerResponse,
): void {
  response.on('error', () => {}) // 'close' follows
  const refusal = refusalFor(request, services)
  if (refusal !== undefined) {
    request.resume() // unread bytes would reset the connection, and with it the refusal
    refuse(response, refusal)
    return
  }
  const relayed = send(socketPath, request, headersOf(request.rawHeaders))
  relayed.on('response', (answer) => {
    response.sendDate = false
    response.writeHead(answer.statusCode ?? 0, answer.statusMessage, headersOf(answer.rawHeaders))
    response.flushHeaders() // the head of an event stream comes long before its first event
    answer.pipe(response)
    // A body that ends early must not look complete.
    answer.on('error', () => response.destroy())
    answer.on('close', () => {
      if (!answer.complete) response.destroy()
    })
  })
  relayed.on('error', () => {
    request.resume()
    if (response.headersSent) response.destroy()
    else refuse(response, UNREACHABLE)
  })
  request.on('error', () => relayed.destroy())
  response.on('close', () => relayed.destroy())
  // Else the head waits for the body. Without a body, Node would frame one if the head left first.
  if (hasBody(request.rawHeaders)) relayed.flushHeaders()
  request.pipe(relayed)
}

function hasBody(raw: RawHeaders): boolean {
  return ['content-length', 'transfer-encoding'].some((name) => fieldLines(raw, name).length > 0)
}

function send(socketPath: string, request: IncomingMessage, headers: string[]): ClientRequest {
  const { method, url: path } = request
  // Without an agent: on a kept connection a request can cross its end, and most may not be sent twice.
  return sendRequest({ socketPath, method, path, headers, agent: false, setDefaultHeaders: false })
}

/** The headers that go on. Node frames the body anew. */
function headersOf(raw: RawHeaders): string[] {
  const kept = [...raw]
  const nominated = fieldLines(raw, 'connection').flatMap(listElements)
  removeNominated(kept, 0, [...HOP_BY_HOP, ...nominated, 'connection', 'expect'], false)
  const isChunked = fieldLines(raw, 'transfer-encoding').length > 0
  return isChunked ? [...kept, 'Transfer-Encoding', 'chunked'] : kept
}

const NOT_HERE = new VaultError(
  'not-found',
  'this port relays requests for the services that "workspace-gateway vault exec" was started with, at /s/SERVICE/… without dot segments, and no others',
)

const UNREACHABLE = new VaultError(
  'vault-unreachable',
  'the vault does not answer at its socket; when it has been started anew, its leases are gone: start this program again',
)

interface Handshake {
  readonly request: IncomingMessage
  readonly tunnel: Duplex
  readonly head: Buffer
}

/** Relays a handshake. After a 101 both connections are one tunnel; any other answer is relayed with the end of the connection as its end. */
function relayUpgrade(
  socketPath: string,
  services: readonly string[],
  { request, tunnel, head }: Handshake,
): void {
  tunnel.on('error', () => tunnel.destroy())
  const refusal = refusalFor(request, services)
  if (refusal !== undefined) {
    refuseOnSocket(tunnel, refusal)
    return
  }
  const headers = [
    ...headersOf(request.rawHeaders),
    'Connection',
    'Upgrade',
    'Upgrade',
    'websocket',
  ]
  const relayed = send(socketPath, request, headers)
  relayed.on('upgrade', (answer, service, early) => {
    service.on('error', () => tunnel.destroy())
    tunnel.write(headOf(answer, ['Connection', 'Upgrade', 'Upgrade', 'websocket']))
    tunnel.write(early)
    service.write(head)
    service.pipe(tunnel).pipe(service)
    service.on('close', () => tunnel.destroy())
    tunnel.on('close', () => service.destroy())
  })
  relayed.on('response', (answer) => {
    tunnel.write(headOf(answer, ['Connection', 'close']))
    answer.on('error', () => tunnel.destroy())
    answer.pipe(tunnel)
  })
  relayed.on('error', () => refuseOnSocket(tunnel, UNREACHABLE))
  tunnel.on('close', () => relayed.destroy())
  relayed.end()
}

function headOf(answer: IncomingMessage, added: readonly string[]): Buffer {
  const fields = headersOf(answer.rawHeaders)
  const isChunked = fields.at(-2) === 'Transfer-Encoding'
  const kept = isChunked ? fields.slice(0, -2) : fields
  return headText(answer.statusCode ?? 0, answer.statusMessage ?? '', [...kept, ...added])
}
