/**
 * How does the machine's owner reach a running gateway? By HTTP on the admin socket, a Unix socket in the state folder that
 * only its own user may open.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { readBody } from '../http/read-body.ts'
import { listenHandedOver } from '../services/handed-over-socket.ts'
import { DETAILS } from '../answers/details.ts'
import { codeOf, ERRORS, GatewayError, type ErrorCode } from '../answers/errors.ts'

/** A route of the admin socket. */
export interface AdminRoute {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** The path. Its segments that begin with a colon match any one segment each. */
  readonly path: `/${string}`
  /** Handles a request. @throws {GatewayError} whose detail, else its reason, is sent to the client */
  readonly answer: (question: AdminQuestion) => AdminAnswer | Promise<AdminAnswer>
}

/** A request, as far as a route needs it. */
interface AdminQuestion {
  /** The decoded segments that matched, by the name after the colon. */
  readonly names: Readonly<Record<string, string>>
  /** The parsed JSON of the request body; undefined without a body. */
  readonly body: unknown
}

/** The response to a request, with status 200. */
interface AdminAnswer {
  /** Sent as JSON, unless `type` is given. */
  readonly body: unknown
  /** The media type of a body that is a string and is sent unchanged. */
  readonly type?: string
}

/** Where the admin socket is, and what it serves. */
export interface AdminOptions {
  readonly stateDir: string
  readonly logger: Logger
  readonly routes: readonly AdminRoute[]
  /** Whether this process replaces the gateway that has the admin socket now. */
  readonly takesOver?: boolean
}

/** Something that listens and can be closed. */
export interface Closable {
  close(): Promise<void>
}

/** A larger request body is refused (bytes). */
const MAX_BODY_BYTES = 64 * 1024

/** The path of the admin socket in a state folder. */
export function adminSocketPath(stateDir: string): string {
  return join(stateDir, 'admin.sock')
}

/**
 * Opens the admin socket with mode 600. A client that can open the socket may use every route, because the permissions of
 * the file are the authentication; this is why the admin socket is never a TCP port. A socket that a dead process left is
 * replaced. A socket on which a process listens is left alone, unless it is the predecessor's: then a rename replaces it
 * atomically.
 * @returns undefined when the socket could not be opened, which is logged; the gateway then runs without it
 */
export async function startAdmin({
  stateDir,
  logger,
  routes,
  takesOver = false,
}: AdminOptions): Promise<Closable | undefined> {
  const path = adminSocketPath(stateDir)
  const draft = join(stateDir, `admin.${process.pid}`)
  try {
    const server = createServer(
      { headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 1000 },
      (request, response) => void respond(request, response, routes, logger),
    )
    server.maxConnections = 16
    const removeFile = await listenHandedOver(server, { path, draft, takesOver })
    return {
      close() {
        removeFile()
        return closeServer(server)
      },
    }
  } catch (error) {
    logger.warn({ err: error, path }, 'admin door not opened')
    return undefined
  }
}

/** Closes a server and destroys its connections, also those with a request in flight. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  routes: readonly AdminRoute[],
  logger: Logger,
): Promise<void> {
  response.on('error', () => response.destroy())
  try {
    const { type, body } = await answerTo(request, routes)
    write(response, 200, type ?? 'application/json', type === undefined ? json(body) : String(body))
  } catch (error) {
    if (!(error instanceof GatewayError)) logger.error({ err: error }, 'admin door failed')
    const code: ErrorCode = error instanceof GatewayError ? error.code : 'internal-error'
    const detail = error instanceof GatewayError ? detailOf(error) : codeOf(error)
    const { status, title } = ERRORS[code]
    const problem = { type: `urn:workspace-gateway:${code}`, title, status, code, detail }
    write(response, status, 'application/problem+json', json(problem))
  }
}

/** What the machine's user is told: the reason, except where it says less than everybody is told. */
function detailOf({ code, detail, reason }: GatewayError): string | undefined {
  return detail ?? (code === 'state-unavailable' ? DETAILS[code] : reason)
}

async function answerTo(
  request: IncomingMessage,
  routes: readonly AdminRoute[],
): Promise<AdminAnswer> {
  const path = request.url?.split('?', 1)[0] ?? ''
  const matches = routes.flatMap((route) => {
    const names = matchPath(route.path, path)
    return names === undefined ? [] : [{ route, names }]
  })
  if (matches.length === 0) throw new GatewayError('not-found', { reason: 'no such route' })
  const match = matches.find(({ route }) => route.method === request.method)
  if (match === undefined) {
    const allowed = matches.map(({ route }) => route.method).join(', ')
    throw new GatewayError('method-not-allowed', { reason: `this route takes ${allowed}` })
  }
  const body = request.method === 'GET' ? undefined : await readJson(request)
  return match.route.answer({ names: match.names, body })
}

/** The decoded segments of a path that match those of a pattern with a colon, by their names; undefined without a match. */
function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const segments = path.split('/')
  const expected = pattern.split('/')
  if (segments.length !== expected.length) return undefined
  const names: Record<string, string> = {}
  for (const [i, one] of expected.entries()) {
    const segment = segments[i] ?? ''
    if (!one.startsWith(':')) {
      if (one !== segment) return undefined
      continue
    }
    const name = decoded(segment)
    if (name === undefined) return undefined
    names[one.slice(1)] = name
  }
  return names
}

/** A decoded segment; undefined for an empty one, and one with a broken escape. */
function decoded(segment: string): string | undefined {
  try {
    return segment === '' ? undefined : decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const reason = `at most ${MAX_BODY_BYTES} bytes`
  const tooLong = () => new GatewayError('body-too-large', { reason })
  const body = await readBody(request, MAX_BODY_BYTES, tooLong)
  if (body.length === 0) return undefined
  try {
    return JSON.parse(body.toString('utf8')) as unknown
  } catch (cause) {
    throw new GatewayError('bad-request', { reason: 'the body is not JSON', cause })
  }
}

function json(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function write(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
  })
  response.end(body)
}
