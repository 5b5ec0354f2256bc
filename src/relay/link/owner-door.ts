/**
 * What may the owner ask of the link? To let devices in and to end them. Whoever can open the socket is the owner, because the mode of
 * the file is the authentication.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { discardBody } from '../../request/discard-body.ts'
import { isSubject } from '../../rules/subject.ts'
import { openSocketFile } from '../../services/socket-file.ts'
import { isDeviceName, NAME_RULE } from '../protocol/handshake.ts'
import { LINK_ERROR_FIELD, LinkError, linkProblem } from './owner-errors.ts'
import type {
  DevicesAnswer,
  DeviceView,
  LinkStatus,
  OfferAnswer,
  OfferQuestion,
  OfferStatus,
  RevokedAnswer,
} from './owner-protocol.ts'

/** What the owner's door asks the link to do. Each may throw a {@link LinkError}. */
export interface OwnerActs {
  status(): LinkStatus
  devices(): DevicesAnswer
  offer(question: OfferQuestion): Promise<OfferAnswer>
  offerStatus(id: string): OfferStatus
  approve(id: string, sub: string): DeviceView
  rename(id: string, name: string): DeviceView
  revoke(id: string): RevokedAnswer
  reset(): Promise<void>
}

/** An open door. */
export interface OwnerDoor {
  /** Stops listening and ends every connection. */
  close(): Promise<void>
}

const MAX_CONNECTIONS = 32
const MAX_HEADER_BYTES = 16 * 1024
const MAX_BODY_BYTES = 16 * 1024

/** How long a request may take to arrive, in milliseconds. */
const REQUEST_MS = 10_000

/**
 * The longest `sub` of a device, in bytes of JSON: it goes into the line by which the gateway is told of a connection, which has at most
 * 1,024 bytes.
 */
const MAX_SUB_BYTES = 512

/** Opens the door. @throws with `EADDRINUSE` while another process listens on the socket */
export async function openOwnerDoor(
  path: string,
  { acts, logger }: { acts: OwnerActs; logger: Logger },
): Promise<OwnerDoor> {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1000,
      requireHostHeader: false, // a Unix socket needs none
    },
    (request, response) => {
      response.on('error', () => response.destroy())
      request.on('error', () => request.destroy())
      answer(acts, request)
        .then((json) => send(response, 200, json === undefined ? { done: true } : json))
        .catch((error: unknown) => refuse(request, response, refusalOf(error, logger)))
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  await openSocketFile(path, () => listen(server, path))
  server.on('error', (error) => logger.error({ err: error }, 'no connection accepted'))
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ path, exclusive: true }, resolve)
  await promise
  server.off('error', reject)
}

interface Question {
  /** The segment `:id` of the path; an empty text where the path has none. */
  readonly id: string
  readonly body: Readonly<Record<string, unknown>>
}

type Handler = (acts: OwnerActs, question: Question) => unknown

/** Every route, by its method and path. */
const ROUTES: Readonly<Record<string, Handler>> = {
  'GET /v1/status': (acts) => acts.status(),
  'GET /v1/devices': (acts) => acts.devices(),
  'POST /v1/offers': offer,
  'GET /v1/offers/:id': (acts, { id }) => acts.offerStatus(id),
  'POST /v1/devices/:id/approve': (acts, { id, body }) => {
    takeOnly(body, ['sub'])
    return acts.approve(id, subIn(body))
  },
  'POST /v1/devices/:id/rename': (acts, { id, body }) => {
    takeOnly(body, ['name'])
    const { name } = body as { name?: unknown }
    if (typeof name !== 'string' || !isDeviceName(name))
      throw new LinkError('bad-request', `name takes ${NAME_RULE}`)
    return acts.rename(id, name)
  },
  'DELETE /v1/devices/:id': (acts, { id }) => acts.revoke(id),
  'POST /v1/reset': (acts, { body }) => {
    takeOnly(body, [])
    return acts.reset()
  },
}

function offer(acts: OwnerActs, { body }: Question): Promise<OfferAnswer> {
  takeOnly(body, ['sub', 'isApproved'])
  const { isApproved = false } = body as { isApproved?: unknown }
  if (typeof isApproved !== 'boolean')
    throw new LinkError('bad-request', 'isApproved takes true or false')
  return acts.offer({ sub: subIn(body), isApproved })
}

async function answer(acts: OwnerActs, request: IncomingMessage): Promise<unknown> {
  const { method = '', url = '' } = request
  const [, list, id, verb = ''] =
    /^(\/v1\/(?:devices|offers))\/([^/?]+)(\/[a-z]+)?$/.exec(url) ?? []
  const name = `${method} ${id === undefined ? url : `${list}/:id${verb}`}`
  const handler = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined
  if (handler === undefined)
    throw new LinkError('not-found', 'the owner’s door has no such path with this method')
  if (id !== undefined && !/^[A-Za-z0-9_-]{22}$/.test(id))
    throw new LinkError('bad-request', 'an id has 22 characters')
  const body = method === 'POST' ? await readJson(request) : {}
  return handler(acts, { id: id ?? '', body })
}

async function readJson(request: IncomingMessage): Promise<Question['body']> {
  const chunks: Buffer[] = []
  let size = 0
  // Not destroyed with the loop, because the refusal goes out on the same connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += (chunk as Buffer).length
    if (size > MAX_BODY_BYTES)
      throw new LinkError('body-too-large', `a body has at most ${MAX_BODY_BYTES} bytes`)
    chunks.push(chunk as Buffer)
  }
  if (size === 0) return {}
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // The parser's message quotes the body.
  }
  throw new LinkError('bad-request', 'the body is no JSON object')
}

/** Refuses members that are not known: one that is ignored may have been meant to matter. */
function takeOnly(body: Question['body'], names: readonly string[]): void {
  if (Object.keys(body).every((name) => names.includes(name))) return
  const takes = names.length === 0 ? 'no members' : `the members ${names.join(', ')} alone`
  throw new LinkError('bad-request', `the body takes ${takes}`)
}

function subIn(body: Question['body']): string {
  const { sub } = body as { sub?: unknown }
  if (!isSubject(sub) || Buffer.byteLength(JSON.stringify(sub)) > MAX_SUB_BYTES)
    throw new LinkError(
      'bad-request',
      `sub takes the name of a person: at most ${MAX_SUB_BYTES} bytes, no control character`,
    )
  return sub
}

function refusalOf(error: unknown, logger: Logger): LinkError {
  if (error instanceof LinkError) return error
  logger.error({ err: error }, 'fault of the link')
  return new LinkError('internal-error', 'the log of the link says more', { cause: error })
}

function refuse(request: IncomingMessage, response: ServerResponse, error: LinkError): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  // The rest of the body is thrown away, so nothing may follow it on this connection.
  if (!request.complete) response.setHeader('Connection', 'close')
  response.setHeader(LINK_ERROR_FIELD, error.code)
  write(response, error.status, { type: 'application/problem+json', text: linkProblem(error) })
  discardBody(request)
}

function send(response: ServerResponse, status: number, json: unknown): void {
  write(response, status, { type: 'application/json', text: `${JSON.stringify(json)}\n` })
}

function write(
  response: ServerResponse,
  status: number,
  { type, text }: { type: string; text: string },
): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(text)
}
