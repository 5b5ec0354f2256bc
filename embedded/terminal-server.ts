/** What stands in front of every shell of the embedded workspace: ttyd's addresses, open to one user and password. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { buildStandIn, refuseUpgrade } from './listener.ts'

const CHALLENGE = { 'www-authenticate': 'Basic realm="ttyd"' }

/** What is behind the door. */
export interface BehindTheDoor {
  /** Answers with the page. */
  readonly page: (request: FastifyRequest, reply: FastifyReply) => unknown
  /** Takes a handshake for a shell's WebSocket, whose first message must still bring the token. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}

/** A door that is not yet open. */
export interface TerminalServer {
  readonly app: FastifyInstance
  /** Whether this is the token from `/terminal/token`, which only who has the password can get. */
  readonly isToken: (token: unknown) => boolean
}

/** Builds the server. It answers as ttyd 1.7.7 does with `--credential` and `--base-path /terminal`. */
export function buildTerminalServer(
  credential: string,
  { page, upgrade }: BehindTheDoor,
): TerminalServer {
  const token = Buffer.from(credential).toString('base64')
  const isAuthorized = sameAs(`Basic ${token}`)
  const app = buildStandIn()

  // A hook and not a route: unknown paths are answered 401 as well, as ttyd does it.
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

/** A comparison with `secret` whose duration says nothing about how much of a guess was right. */
function sameAs(secret: string): (guess: unknown) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(secret)
  return (guess) => typeof guess === 'string' && timingSafeEqual(digest(guess), expected)
}
