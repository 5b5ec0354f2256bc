/** How does a test of a device have a gateway behind its daemon? By a small one: device sessions, a factor, a terminal with a password. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { DEVICE_SESSION } from '../../src/http/device-session.ts'
import { FROM_TTYD } from '../../src/http/ttyd-protocol.ts'

/** What the small gateway is told to be. */
export interface FakeWorkspace {
  readonly port: number
  /** `METHOD path` of every request that came, and of every handshake. */
  readonly requests: string[]
  /** The headers of the last one. */
  lastHeaders: IncomingMessage['headers']
  /** How many tokens were made. */
  tokens: number
  /** How long a token lives, in milliseconds. */
  lifeMs: number
  /** The token that is good. Another gets 401 token-invalid. */
  token: string
  /** The code that is right, when the terminal wants a second factor. */
  factor: string | undefined
  /** ttyd's `user:password`, when it wants one. */
  password: string | undefined
  /** What was typed, and the sizes of the terminal. */
  typed: string
  readonly sizes: string[]
  /** The open terminals. */
  readonly terminals: Set<WebSocket>
  /** Answers what is none of the above. */
  answer: (request: IncomingMessage, response: ServerResponse) => void
}

/** Starts the small gateway on a loopback port, for one test. */
export async function startFakeWorkspace(t: Test): Promise<FakeWorkspace> {
  const server = createServer((request, response) => void respond(request, response))
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tty' })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const workspace: FakeWorkspace = {
    ...{ port: (server.address() as AddressInfo).port, requests: [], lastHeaders: {} },
    ...{ tokens: 0, lifeMs: 86_400_000, token: '', factor: undefined, password: undefined },
    ...{ typed: '', sizes: [], terminals: new Set() },
    answer: (_request, response) => void response.end('hello'),
  }
  let isFactorShown = false

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url = '' } = request
    workspace.requests.push(`${method} ${url}`)
    workspace.lastHeaders = request.headers
    if (url === DEVICE_SESSION) await mint(request, response)
    else {
      const { status, code } = judge(request)
      if (status !== 200) problem(response, status, code)
      else if (url === '/terminal/token') {
        const token = btoa(workspace.password ?? '')
        response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ token }))
      } else workspace.answer(request, response)
    }
  }

  async function mint(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const body = Buffer.concat(pieces).toString()
    if (body !== '') {
      const { code } = JSON.parse(body) as { code: string }
      if (code !== workspace.factor) {
        problem(response, 401, 'step-up-required')
        return
      }
      isFactorShown = true
    }
    workspace.token = `token.${++workspace.tokens}`
    const endsAt = new Date(Date.now() + workspace.lifeMs).toISOString()
    response.end(JSON.stringify({ token: workspace.token, endsAt, sub: 'alice' }))
  }

  /** Whether a request may pass, as the gateway and ttyd would say. */
  function judge({ headers, url = '' }: IncomingMessage): { status: number; code: string } {
    const { authorization = '', 'x-workspace-token': other } = headers
    if (other !== workspace.token && authorization !== `Bearer ${workspace.token}`)
      return { status: 401, code: 'token-invalid' }
    if (!url.startsWith('/terminal/')) return { status: 200, code: '' }
    if (workspace.factor !== undefined && !isFactorShown)
      return { status: 401, code: 'step-up-required' }
    const { password } = workspace
    const isRight = password === undefined || authorization === `Basic ${btoa(password)}`
    return isRight ? { status: 200, code: '' } : { status: 401, code: '' }
  }

  function problem(response: ServerResponse, status: number, code: string): void {
    if (code === '') response.writeHead(status, { 'WWW-Authenticate': 'Basic realm="ttyd"' }).end()
    else {
      response.writeHead(status, { 'X-Gateway-Error': code })
      response.end(JSON.stringify({ code, title: code, detail: `detail of ${code}` }))
    }
  }

  server.on('upgrade', (request, socket, head) => {
    workspace.requests.push(`UPGRADE ${request.url}`)
    workspace.lastHeaders = request.headers
    if (judge(request).status !== 200) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
      return
    }
    sockets.handleUpgrade(request, socket, head, (terminal) => serve(terminal))
  })

  function serve(terminal: WebSocket): void {
    workspace.terminals.add(terminal)
    terminal.on('close', () => workspace.terminals.delete(terminal))
    terminal.once('message', (data: Buffer) => {
      const { AuthToken, columns, rows } = JSON.parse(String(data)) as Record<string, string>
      if (AuthToken !== btoa(workspace.password ?? '')) terminal.close(1008)
      workspace.sizes.push(`${columns}x${rows}`)
      say('$ ')
      terminal.on('message', (more: Buffer) => take(String(more)))
    })
    const say = (text: string) =>
      terminal.send(Buffer.concat([Buffer.of(FROM_TTYD.output), Buffer.from(text)]))
    const take = (message: string) => {
      if (message.startsWith('1')) {
        const { columns, rows } = JSON.parse(message.slice(1)) as Record<string, string>
        workspace.sizes.push(`${columns}x${rows}`)
        return
      }
      workspace.typed += message.slice(1)
      if (message.includes('\u0004')) terminal.close(1000)
      else say(`you typed ${message.slice(1).trim()}\r\n`)
    }
  }

  t.teardown(async () => {
    for (const terminal of workspace.terminals) terminal.terminate()
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  return workspace
}

/** A digest, to compare long bodies by. */
export const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
