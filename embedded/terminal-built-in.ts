/** How does a machine without ttyd get a terminal? With this server, which behaves like ttyd for a browser and the gateway. */
import { gzipSync } from 'node:zlib'
import { WebSocketServer } from 'ws'
import { closeSocketsWith, listen } from './listener.ts'
import { buildTerminalPage } from './terminal-page.ts'
import { buildTerminalServer } from './terminal-server.ts'
import { shellsOf } from './terminal-shell.ts'
import type { ResolvedTerminalOptions, RunningTerminal } from './terminal.ts'

/** The largest message, in bytes. It is larger than any paste; ttyd itself has no limit. */
const MESSAGE_BYTES = 16 * 1024 * 1024

/** Starts the built-in terminal. Tests set `keepAlive`: when to ping and when to disconnect, in milliseconds. */
export async function startBuiltInTerminal(
  options: ResolvedTerminalOptions,
  keepAlive = { pingMs: 5000, cutMs: 10_000 },
): Promise<RunningTerminal> {
  const page = await buildTerminalPage()
  const zipped = gzipSync(page)
  const sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: () => 'tty',
    maxPayload: MESSAGE_BYTES,
    perMessageDeflate: true,
  })
  const { app, isToken } = buildTerminalServer(options.credential, {
    page(request, reply) {
      reply.type('text/html; charset=utf-8').header('vary', 'accept-encoding')
      if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return page
      return reply.header('content-encoding', 'gzip').send(zipped)
    },
    upgrade(request, socket, head) {
      sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws))
    },
  })
  const shells = shellsOf({ ...options, ...keepAlive, isToken })
  sockets.on('connection', shells.serve)
  closeSocketsWith(app, sockets)

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
