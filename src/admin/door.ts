/** How does an operator ask a gateway that runs? HTTP on a Unix socket in the state folder, for its own user alone. */
import { existsSync, lstatSync, renameSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { ALIVE_MS, canConnect } from '../services/can-connect.ts'
import { codeOf, ERRORS, GatewayError, type ErrorCode } from '../answers/errors.ts'

/** One thing that can be asked for. */
export interface AdminRoute {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** The path; a last segment `:name` takes any one segment. */
  readonly path: `/${string}`
  /** Answers. @throws {GatewayError} whose reason the operator is told */
  readonly answer: (question: AdminQuestion) => AdminAnswer | Promise<AdminAnswer>
}

/** What was asked. */
export interface AdminQuestion {
  /** What stood for the `:name` of the path, decoded; an empty string when it has none. */
  readonly name: string
  /** The JSON that was sent, or undefined. */
  readonly body: unknown
}

/** What is answered, with status 200. */
export interface AdminAnswer {
  /** Sent as JSON, unless `type` says otherwise. */
  readonly body: unknown
  /** The media type of a body that is text already. */
  readonly type?: string
}

/** Where the door is, and what is behind it. */
export interface AdminOptions {
  readonly stateDir: string
  readonly logger: Logger
  readonly routes: readonly AdminRoute[]
  /** Whether the process that has the door is one that this process takes over from. */
  readonly takesOver?: boolean
}

/** Something that listens and can be closed. */
export interface Closable {
  close(): Promise<void>
}

/** Questions are small; more is refused, in bytes. */
const MAX_BODY_BYTES = 64 * 1024

/** What fits into `sockaddr_un` everywhere: a longer path would be cut, and name another file. */
const MAX_PATH_BYTES = 103

/** The door of the gateway whose state folder this is. */
export function adminSocketPath(stateDir: string): string {
  return join(stateDir, 'admin.sock')
}

/**
 * Opens the admin door with mode 600. Whoever can open the socket may ask anything: the file's permissions are the
 * authentication, so it is never a TCP port. A socket that a dead process left is replaced; a live one is left alone,
 * unless it is the predecessor's: then the door is the new one from one moment to the next.
 * @returns undefined when it could not be opened, which was then said in the log: the gateway goes on without
 */
export async function startAdmin({
  stateDir,
  logger,
  routes,
  takesOver = false,
}: AdminOptions): Promise<Closable | undefined> {
  const path = adminSocketPath(stateDir)
  // A socket's file is removed by the name it was opened under: never the one that a successor may have by then.
  const draft = join(stateDir, `admin.${process.pid}`)
  try {
    if (Math.max(Buffer.byteLength(path), Buffer.byteLength(draft)) > MAX_PATH_BYTES)
      throw new Error(`the path of the socket is longer than ${MAX_PATH_BYTES} bytes`)
    if (!takesOver && (await canConnect({ path }, ALIVE_MS)))
      throw new Error('another process listens on the socket')
    if (existsSync(path) && inodeOf(path) === undefined)
      throw new Error('a file that is no socket has its name')
    rmSync(draft, { force: true })
    const server = createServer(
      { headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 1000 },
      (request, response) => void respond(request, response, routes, logger),
    )
    server.maxConnections = 16
    await listenPrivately(server, draft)
    const own = inodeOf(draft)
    renameSync(draft, path)
    return {
      close() {
        if (inodeOf(path) === own) rmSync(path, { force: true })
        return closeServer(server)
      },
    }
  } catch (error) {
    logger.warn({ err: error, path }, 'admin door not opened')
    return undefined
  }
}

/** Which socket file is there, if one is. */
function inodeOf(path: string): number | undefined {
  const entry = lstatSync(path, { throwIfNoEntry: false })
  return entry?.isSocket() === true ? entry.ino : undefined
}

/** Listens on a socket that was never open to anybody else, not even for a moment. */
async function listenPrivately(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.once('listening', resolve)
  const umask = process.umask(0o177)
  try {
    server.listen({ path, exclusive: true }) // makes the file before it returns; the keeper's business is the port alone
  } finally {
    process.umask(umask)
  }
  await promise
  server.off('error', reject)
}

/** Stops listening; questions that are being answered are cut. */
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
    if (request.method !== 'GET')
      logger.info({ method: request.method, path: request.url }, 'admin door used')
    write(response, 200, type ?? 'application/json', type === undefined ? json(body) : String(body))
  } catch (error) {
    if (!(error instanceof GatewayError)) logger.error({ err: error }, 'admin door failed')
    const { code, reason } =
      error instanceof GatewayError
        ? error
        : { code: 'internal-error' as ErrorCode, reason: codeOf(error) }
    const { status, title } = ERRORS[code]
    const problem = { type: `urn:workspace-gateway:${code}`, title, status, code, detail: reason }
    write(response, status, 'application/problem+json', json(problem))
  }
}

async function answerTo(
  request: IncomingMessage,
  routes: readonly AdminRoute[],
): Promise<AdminAnswer> {
  const path = request.url?.split('?', 1)[0] ?? ''
  const matches = routes.flatMap((route) => {
    const name = matchPath(route.path, path)
    return name === undefined ? [] : [{ route, name }]
  })
  if (matches.length === 0) throw new GatewayError('not-found', { reason: 'no such route' })
  const match = matches.find(({ route }) => route.method === request.method)
  if (match === undefined) {
    const allowed = matches.map(({ route }) => route.method).join(', ')
    throw new GatewayError('method-not-allowed', { reason: `this route takes ${allowed}` })
  }
  const body = request.method === 'GET' ? undefined : await readJson(request)
  return match.route.answer({ name: match.name, body })
}

/** What stands for the name at the end of a pattern, or undefined when the path does not fit. */
function matchPath(pattern: string, path: string): string | undefined {
  const colon = pattern.indexOf(':')
  if (colon < 0) return pattern === path ? '' : undefined
  const name = path.slice(colon)
  if (!path.startsWith(pattern.slice(0, colon)) || name === '' || name.includes('/'))
    return undefined
  try {
    return decodeURIComponent(name)
  } catch {
    return undefined
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES)
      throw new GatewayError('body-too-large', { reason: `at most ${MAX_BODY_BYTES} bytes` })
    chunks.push(chunk)
  }
  if (size === 0) return undefined
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
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
