/**
 * What does Hubcode's daemon do? This stand-in has its doors: HTTP and WebSocket on a port and on a socket file, each with the daemon's
 * own lists of hosts and origins. Whoever reaches it needs no credential, which is why it is on this machine alone.
 */
import { hostname } from 'node:os'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { WebSocketServer } from 'ws'
import { fieldLines } from '../src/http/fields.ts'
import type { DaemonLists } from '../src/relay/target/daemon-lists.ts'
import { corsFields } from '../src/rules/cors.ts'
import { matchHost, parseAuthority } from '../src/rules/host.ts'
import { judgeOrigin } from '../src/rules/origin.ts'
import { isFolderMissing, openSocketFile } from '../src/services/socket-file.ts'
import { buildStandIn, closeSocketsWith, listen, refuseUpgrade, type Running } from './listener.ts'

/** The port of Hubcode's daemon. */
const DAEMON_PORT = 6767

/** Options of the stand-in. */
export interface DaemonOptions {
  readonly lists: DaemonLists
  /** The path of its socket file; undefined for none. */
  readonly socket?: string | undefined
  /** The port that it takes when no other program has it. Default: 6767. */
  readonly port?: number
}

/** A running stand-in of the daemon. */
export interface RunningDaemon extends Running {
  /** Its socket file; undefined when there is none. */
  readonly socket: string | undefined
}

/** Starts the daemon: `/`, `/api/health`, `/api/status`, `POST /api/echo`, and a WebSocket at `/ws` that echoes. */
export async function startDaemon({
  lists,
  socket,
  port = DAEMON_PORT,
}: DaemonOptions): Promise<RunningDaemon> {
  const onPort = await onPortIfFree(lists, port)
  try {
    const onSocket = socket === undefined ? undefined : await onSocketFile(lists, socket)
    return {
      url: onPort.url,
      socket: onSocket === undefined ? undefined : socket,
      async close() {
        await Promise.all([onPort.close(), onSocket?.close()])
      },
    }
  } catch (error) {
    await onPort.close()
    throw error
  }
}

/** Another daemon, or another workspace, may have the port. */
async function onPortIfFree(lists: DaemonLists, port: number): Promise<Running> {
  try {
    return await listen(build(lists), port)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    return await listen(build(lists)) // a server that could not listen is of no further use
  }
}

/** @returns undefined where there can be no socket file: everything else works without it */
async function onSocketFile(lists: DaemonLists, path: string): Promise<Running | undefined> {
  if (isFolderMissing(path)) return undefined
  const app = build(lists)
  try {
    await openSocketFile(path, () => app.listen({ path }))
  } catch (error) {
    await app.close()
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined
    throw error
  }
  return { url: `unix:${path}`, close: async () => await app.close() }
}

/** Why a request is refused: 421 for its host, 403 for its origin. */
interface Refusal {
  readonly status: 403 | 421
  readonly error: string
}

const FOREIGN_HOST: Refusal = { status: 421, error: 'This host is not in daemon.allowedHosts.' }
const FOREIGN_ORIGIN: Refusal = {
  status: 403,
  error: 'This origin is not in cors.allowedOrigins.',
}

function build(lists: DaemonLists): FastifyInstance {
  const app = buildStandIn()
  app.addHook('onRequest', async function refuseForeign({ raw }, reply) {
    const refusal = refusalOf(raw, lists)
    if (refusal !== undefined)
      return await reply.code(refusal.status).send({ error: refusal.error })
    const { origin } = raw.headers
    if (origin !== undefined && lists.allowedOrigins.includes(origin))
      reply.headers(corsFields(origin))
    return undefined
  })
  app.setNotFoundHandler(
    async (_request, reply) => await reply.code(404).send({ error: 'not_found' }),
  )
  app.get('/', async () => ({
    name: 'daemon of Hubcode (stand-in)',
    try: ['/api/health', '/api/status', '/ws'],
  }))
  app.get('/api/health', async () => ({ status: 'ok' }))
  app.get('/api/status', async () => ({ hostname: hostname(), pid: process.pid, agents: [] }))
  app.post('/api/echo', async ({ body, headers }) => ({ body, headers }))
  echoWebSockets(app, lists)
  return app
}

function refusalOf(
  { rawHeaders, headers }: IncomingMessage,
  lists: DaemonLists,
): Refusal | undefined {
  const hosts = fieldLines(rawHeaders, 'host')
  const [host = ''] = hosts
  const authority = hosts.length === 1 ? parseAuthority(host) : undefined
  if (authority === undefined || !matchHost(authority, 'localhost', lists.allowedHosts))
    return FOREIGN_HOST
  const kind = judgeOrigin(
    {
      origins: fieldLines(rawHeaders, 'origin'),
      fetchSite: headers['sec-fetch-site']?.toString(),
    },
    { own: `http://${host}`, allowed: lists.allowedOrigins },
  )
  return kind === 'foreign' ? FOREIGN_ORIGIN : undefined
}

/** Echoes messages at `/ws`. */
function echoWebSockets(app: FastifyInstance, lists: DaemonLists): void {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 })
  sockets.on('connection', (client) => {
    client.on('error', () => client.terminate())
    client.on('message', (data, binary) => client.send(data as Buffer, { binary }))
  })
  closeSocketsWith(app, sockets)
  app.server.on('upgrade', (request, socket, head) => {
    const refused = refusalOf(request, lists)
    const status = refused?.status ?? (request.url?.split('?')[0] === '/ws' ? undefined : 404)
    if (status !== undefined) {
      refuseUpgrade(socket, status)
      return
    }
    sockets.handleUpgrade(request, socket, head, (client) => sockets.emit('connection', client))
  })
}
