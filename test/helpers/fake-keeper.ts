/** How is a keeper of terminals tested that is old, new, slow, broken or hostile? A stand-in on a Unix socket says what a test says. */
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { Server as TcpServer, Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'
import { parseServiceUrl } from '../../src/config/values.ts'
import type { TerminalEntry } from '../../src/terminals/protocol.ts'
import { temporaryFolder } from './process.ts'

/** What a good keeper says of itself. */
export const READY = { protocol: 1, version: '0.9.0', startedAt: 1, attached: 1, parked: 2 }

/** A terminal in its list. */
export const ENTRY: TerminalEntry = {
  ...{ id: 'aa', state: 'parked', sid: 'session-1', sub: 'alice', ends: undefined },
  ...{ mark: 'browser k1', tab: 'tab-0123456789abcdef', title: 'sh', columns: 80, rows: 24 },
  ...{ startedAt: 1, since: 2, parkedUntil: 3 },
}

/** What a keeper answers, by method and path: JSON, or what does it. Everything else is 404. */
export type Answers = Readonly<Record<string, object | RequestListener>>

/** Starts a keeper that answers so. @returns its address, and what it was asked */
export async function startFakeKeeper(t: Test, answers: Answers) {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const line = `${request.method} ${request.url}`
    asked.push(line)
    const answer = answers[line]
    if (typeof answer === 'function') answer(request, response)
    else if (answer === undefined) response.writeHead(404).end('nothing')
    else response.end(JSON.stringify(answer))
  })
  return { ...(await listenOnFile(t, server)), asked }
}

/** Has a server listen on a Unix socket with mode 600. It stops when the test ends. */
export async function listenOnFile(t: Test, server: Server | TcpServer) {
  const path = join(temporaryFolder(t), 'keeper.sock')
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket.on('error', () => socket.destroy()))
  })
  const umask = process.umask(0o177)
  server.listen(path)
  process.umask(umask)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const url = `unix:${path}`
  return { address: parseServiceUrl(url), path, url }
}
