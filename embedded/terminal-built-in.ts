/** How a machine without ttyd gets a terminal: a server that a browser and the gateway cannot tell from ttyd. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { WebSocketServer } from 'ws'
import { buildStandIn, closeSocketsWith, listen, refuseUpgrade } from './listener.ts'
import { buildTerminalPage } from './terminal-page.ts'
import { shellsOf } from './terminal-shell.ts'
import type { ResolvedTerminalOptions, RunningTerminal } from './terminal.ts'

const CHALLENGE = { 'www-authenticate': 'Basic realm="ttyd"' }
/** More than anybody pastes; ttyd itself has no limit. */
const MESSAGE_BYTES = 16 * 1024 * 1024

/** Starts the built-in terminal. `keepAlive` is for tests: when to ping and when to cut, in milliseconds. */
export async function startBuiltInTerminal(
  options: ResolvedTerminalOptions,
  keepAlive = { pingMs: 5000, cutMs: 10_000 },
): Promise<RunningTerminal> {
  const token = Buffer.from(options.credential).toString('base64')
  const isAuthorized = sameAs(`Basic ${token}`)
  const page = await buildTerminalPage()
  const zipped = gzipSync(page)
  const app = buildStandIn()

  // A hook and not a route: unknown paths are answered 401 as well, as ttyd does it.
  app.addHook('onRequest', async function requireCredential(request, reply) {
    if (isAuthorized(request.headers.authorization)) return
    await reply.code(401).headers(CHALLENGE).send()
  })
  app.get('/terminal', async (_request, reply) => await reply.redirect('/terminal/', 302))
  app.get('/terminal/', async (request, reply) => {
    reply.type('text/html; charset=utf-8').header('vary', 'accept-encoding')
    if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return page
    return await reply.header('content-encoding', 'gzip').send(zipped)
  })
  app.get('/terminal/token', async (_request, reply) => {
    return await reply.header('cache-control', 'no-store').send({ token })
  })

  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: () => 'tty',
    maxPayload: MESSAGE_BYTES,
    perMessageDeflate: true,
  })
  const shells = shellsOf({ ...options, ...keepAlive, isToken: sameAs(token) })
  sockets.on('connection', shells.serve)
  closeSocketsWith(app, sockets)
  app.server.on('upgrade', (request, socket, head) => {
    const path = request.url?.split('?', 1)[0]
    const offered = request.headers['sec-websocket-protocol']?.split(',') ?? []
    if (!isAuthorized(request.headers.authorization)) refuseUpgrade(socket, 401, CHALLENGE)
    else if (path !== '/terminal/ws') refuseUpgrade(socket, 404)
    else if (!offered.some((name) => name.trim() === 'tty')) refuseUpgrade(socket, 400)
    else sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws))
  })

  const { url, close } = await listen(app)
  return {
    kind: 'built-in',
    pid: process.pid,
    url,
    async close() {
      await close()
      await shells.ended()
    },
  }
}

/** A comparison with `secret` whose duration says nothing about how much of a guess was right. */
function sameAs(secret: string): (guess: unknown) => boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(secret)
  return (guess) => typeof guess === 'string' && timingSafeEqual(digest(guess), expected)
}
