/** Who may reach a shell of the embedded workspace? Only a client with the user and password. The paths are ttyd's. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { buildStandIn, refuseUpgrade } from './listener.ts'
import { sameAs } from './same-as.ts'

const CHALLENGE = { 'www-authenticate': 'Basic realm="ttyd"' }

/** What the server does for a client with the right password. */
export interface BehindTheDoor {
  /** Sends the page. */
  readonly page: (request: FastifyRequest, reply: FastifyReply) => unknown
  /** Accepts the handshake of a shell's WebSocket. Its first message must still contain the token. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

/** A server that does not listen yet. */
export interface TerminalServer {
  readonly app: FastifyInstance
  /** Whether a text is the token from `/terminal/token`, which only a client with the password can get. */
  readonly isToken: (token: unknown) => boolean
}

/** Builds the server. It responds as ttyd 1.7.7 does with `--credential` and `--base-path /terminal`. */
export function buildTerminalServer(
  credential: string,
  { page, upgrade }: BehindTheDoor,
): TerminalServer {
  const token = Buffer.from(credential).toString('base64')
  const isAuthorized = sameAs(`Basic ${token}`)
  const app = buildStandIn()

  // A hook instead of a route, so that unknown paths get a 401 too, as in ttyd.
  app.addHook('onRequest', async function requireCredential(request, reply) {
    if (isAuthorized(request.headers.authorization)) return
    await reply.code(401).headers(CHALLENGE).send()
  })
  app.get('/terminal', async (_request, reply) => await reply.redirect('/terminal/', 302))
  app.get('/terminal/', async (request, reply) => await page(request, reply))
  app.get('/terminal/token', async (_request, reply) => {
    return await reply.header('cache-control', 'no-store').send({ token })
  })
  app.server.on('upgrade', (request, socket, head) => {
    const path = request.url?.split('?', 1)[0]
    const offered = request.headers['sec-websocket-protocol']?.split(',') ?? []
    if (!isAuthorized(request.headers.authorization)) refuseUpgrade(socket, 401, CHALLENGE)
    else if (path !== '/terminal/ws') refuseUpgrade(socket, 404)
    else if (!offered.some((name) => name.trim() === 'tty')) refuseUpgrade(socket, 400)
    else upgrade(request, socket, head)
  })
  return { app, isToken: sameAs(token) }
}
