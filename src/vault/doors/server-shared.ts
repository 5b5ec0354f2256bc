/** What do all doors of the vault have in common? A strict HTTP server with small bounds, and answers that nobody may store. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { fieldLines, singleLine } from '../../http/fields.ts'
import { offersWebSocket } from '../../http/handshake.ts'
import { discardBody } from '../../request/discard-body.ts'
import { isLoopbackHost, parseAuthority } from '../../rules/host.ts'
import { openSocketFile } from '../../services/socket-file.ts'
import type { AuditFacts } from '../audit-row.ts'
import type { EntryDefaults } from '../entry-input.ts'
import type { Entry, Policy } from '../policy.ts'
import { refuse, refuseOnSocket } from '../refusal.ts'
import { VaultError } from '../vault-errors.ts'

/** The entries, as the doors need them. */
export interface Entries {
  /** Sorted by service. */
  entries(): readonly Entry[]
  find(service: string): Entry | undefined
  /** Makes one change, audited and on the disk. @throws {VaultError} with nothing changed */
  change(
    facts: Pick<AuditFacts, 'op' | 'service' | 'agent' | 'by' | 'reason'>,
    edit: (entry: Entry | undefined) => Entry | undefined,
  ): Entry | undefined
  onChange(listener: (before: Entry | undefined, after: Entry | undefined) => void): void
  rekey(newMasterKey: Buffer): void
}

/** What the doors need to know of a service's preset. */
interface DoorPreset extends EntryDefaults {
  /** The shape of its leases, with one hole: `sk-hvl_{}`. */
  readonly leaseShape: string
  /** The headers in which its tools send a key, in lower case. */
  readonly presents: readonly string[]
}

/** The preset of an entry, by its name or its origin. */
export type PresetOf = (of: Pick<Policy, 'service' | 'origin' | 'remote'>) => DoorPreset | undefined

/** What the server of a door does with what arrives. Neither may reject. */
export interface DoorHandlers {
  readonly request: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  /** Without it, an offer to upgrade is ignored. */
  readonly upgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => Promise<void>
}

/** An open door. */
export interface Door {
  /** Stops listening and ends every connection. */
  close(): Promise<void>
}

const MAX_HEADER_BYTES = 16 * 1024

/** A request with more header fields is refused. */
const MAX_HEADER_FIELDS = 100

/** A longer JSON body is refused (bytes). */
const MAX_BODY_BYTES = 64 * 1024

/**
 * Requests of one connection that may wait for their answers. Node reads on for 64 KiB, which are thousands of requests, when an agent
 * sends one after the other and reads no answer.
 */
const MAX_PIPELINED = 32

/** How long a JSON body may take (ms). */
const BODY_MS = 10_000

/** Makes the server of a door. @param maxConnections further ones are closed when they arrive */
export function makeDoorServer(
  { request: handle, upgrade }: DoorHandlers,
  { logger, maxConnections }: { logger: Logger; maxConnections: number },
): Server {
  const waiting = new WeakMap<Socket, number>()
  const take = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request
    const count = (waiting.get(socket) ?? 0) + 1
    if (count > MAX_PIPELINED || socket.destroyed) {
      socket.destroy()
      return
    }
    waiting.set(socket, count)
    response.once('close', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1))
    response.on('error', () => response.destroy())
    request.on('error', () => request.destroy())
    handle(request, response).catch((error: unknown) => {
      logger.error({ err: error }, 'a request failed')
      request.destroy()
    })
  }
  const server = createServer(
    {
      insecureHTTPParser: false,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: 10_000,
      connectionsCheckingInterval: 1000,
      requestTimeout: 0, // an upload through a lease may take long; bodies of the door's own have BODY_MS
      keepAliveTimeout: 65_000,
      requireHostHeader: false, // the door on the port refuses with a problem document; a Unix socket needs none
      noDelay: true,
      shouldUpgradeCallback: (request) => upgrade !== undefined && offersWebSocket(request),
    },
    take,
  )
  server.maxHeadersCount = 0 // Node would drop further fields without a word; `refuseFields` counts and refuses them
  server.maxConnections = maxConnections
  // Answered as any other request, so that a refusal comes before the body: `forward` asks for it.
  server.on('checkContinue', take)
  server.on('checkExpectation', take)
  if (upgrade !== undefined)
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy())
      upgrade(request, socket, head).catch((error: unknown) => {
        logger.error({ err: error }, 'a handshake failed')
        socket.destroy()
      })
    })
  server.on('clientError', (_error, socket) => {
    refuseOnSocket(socket, new VaultError('bad-request', 'the message breaks a rule of HTTP'))
  })
  return server
}

/** Listens on a Unix socket, in the place of one that a dead process has left. @throws with `EADDRINUSE` when another listens */
export async function listenOnSocket(
  server: Server,
  { path, mode, logger }: { path: string; mode: number; logger: Logger },
): Promise<void> {
  await openSocketFile(path, () => listen(server, { path, exclusive: true }), mode)
  keepAccepting(server, logger)
}

/** Listens on a port of 127.0.0.1. @returns the port, which the system chooses for 0 */
export async function listenOnPort(server: Server, port: number, logger: Logger): Promise<number> {
  await listen(server, { host: '127.0.0.1', port, exclusive: true })
  keepAccepting(server, logger)
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

async function listen(server: Server, options: object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(options, resolve)
  await promise
  server.off('error', reject)
}

/** A connection that cannot be accepted, for want of file descriptors for instance, is lost; the others are not. */
function keepAccepting(server: Server, logger: Logger): void {
  server.on('error', (error) => logger.error({ err: error }, 'no connection accepted'))
}

/** Stops listening and ends every connection, also those of WebSockets. */
export function closableServer(server: Server): Door {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  let closed: Promise<void> | undefined
  return {
    close() {
      closed ??= new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      })
      return closed
    },
  }
}

/** Answers with JSON. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  send(response, { status, type: 'application/json', body: `${JSON.stringify(body)}\n` })
}

/** Answers without a body (204). */
export function sendNothing(response: ServerResponse): void {
  response.writeHead(204, { 'Cache-Control': 'no-store' }).end()
}

/** Refuses a request with a problem document. The rest of its body is thrown away, and the connection ends. */
export function sendProblem(
  request: IncomingMessage,
  response: ServerResponse,
  error: VaultError,
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  // The rest of the body is thrown away for a while only, so that nothing may follow it on this connection.
  if (!request.complete) response.setHeader('Connection', 'close')
  refuse(response, error)
  discardBody(request)
}

/** A document of an answer. */
export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Buffer
}

/** Sends a whole answer. */
export function send(response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(body)
}

/** The error as a refusal. Faults of the vault become `internal-error`, and are logged. */
export function refusalOf(error: unknown, logger: Logger): VaultError {
  if (error instanceof VaultError) return error
  logger.error({ err: error }, 'fault of the vault')
  return new VaultError('internal-error', 'the log of the vault says more', { cause: error })
}

/** Refuses a request with more header fields than a door reads. @throws {VaultError} */
export function refuseFields({ rawHeaders }: IncomingMessage): void {
  if (rawHeaders.length > MAX_HEADER_FIELDS * 2)
    throw new VaultError('bad-request', `a request has at most ${MAX_HEADER_FIELDS} header fields`)
}

/**
 * Refuses what no tool of this machine sends to a loopback port: another Host, by which a page could reach the port under its own
 * name (DNS rebinding), and what browsers send with the requests of pages.
 * @throws {VaultError}
 */
export function refuseBrowsers({ rawHeaders, socket }: IncomingMessage): void {
  if (!isLoopbackPeer(socket.remoteAddress))
    throw new VaultError('bad-request', 'only programs of this machine are served')
  const [host, ...more] = fieldLines(rawHeaders, 'host')
  const authority = host === undefined ? undefined : parseAuthority(host)
  if (authority === undefined || more.length > 0 || !isLoopbackHost(authority))
    throw new VaultError(
      'bad-request',
      'Host must be this machine’s own, such as 127.0.0.1 or localhost; use the base_url of the lease',
    )
  for (const name of ['origin', 'sec-fetch-site'])
    if (fieldLines(rawHeaders, name).length > 0)
      throw new VaultError('bad-request', `requests of browsers (${name}) are not taken here`)
}

function isLoopbackPeer(address = ''): boolean {
  return /^(?:(?:::ffff:)?127\.\d+\.\d+\.\d+|::1)$/.test(address)
}

/** Asks for the body of a request that waits to be told to send it (`Expect: 100-continue`). */
export function askForBody({ rawHeaders }: IncomingMessage, response: ServerResponse): void {
  if (singleLine(rawHeaders, 'expect')?.toLowerCase() === '100-continue') response.writeContinue()
}

/** Reads the JSON of a body. @throws {VaultError} `bad-request`, `body-too-large` */
export async function readJsonBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  const timer = setTimeout(() => request.destroy(), BODY_MS)
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      const bytes = chunk as Buffer
      size += bytes.length
      if (size > MAX_BODY_BYTES)
        throw new VaultError('body-too-large', `a body has at most ${MAX_BODY_BYTES} bytes`)
      chunks.push(bytes)
    }
  } catch (error) {
    if (error instanceof VaultError) throw error
    // The agent went away in the middle of its body, which is no fault of the vault.
    throw new VaultError('bad-request', 'the body did not arrive', { cause: error })
  } finally {
    clearTimeout(timer)
  }
  if (size === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
  } catch {
    // Without the parser's message, which quotes the body, and the body may have a credential.
    throw new VaultError('bad-request', 'the body is not JSON')
  }
}
