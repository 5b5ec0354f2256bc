/** What does a paired device find behind the channel, in a test of the remote page? A gateway played by the test, with a real shell. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import { shellsOf } from '../../embedded/terminal-shell.ts'
import { DEVICE_SESSION } from '../../src/http/device-session.ts'

/** The workspace. */
export interface PlayedWorkspace {
  readonly port: number
  /** Requests that came with the device's session: method and path. */
  readonly requests: string[]
  /** What the terminal wants before it opens. */
  wants: { factor: boolean; password: boolean }
}

/** The second factor, and the terminal's password. */
export const FACTOR_CODE = '123456'
export const PASSWORD = { user: 'hub', password: 'the terminal’s own' }

const TOKEN = 'the-session-of-this-device'
const SHELL_TOKEN = 'the-token-of-a-shell'

/**
 * Starts one, which ends with the test.
 * @param isBehindGateway whether a real gateway is in front, so that no session is asked for. Default: false
 */
export async function startPlayedWorkspace(
  t: Test,
  isBehindGateway = false,
): Promise<PlayedWorkspace> {
  const played = { port: 0, requests: [] as string[], wants: { factor: false, password: false } }
  const server = createServer((request, response) => void answer(request, response))
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tty' })
  const shells = shellsOf({
    ...{ shell: '/bin/sh', env: { PATH: process.env['PATH'], PS1: '$ ', HOME: '/tmp' } },
    ...{ isToken: (token: unknown) => token === SHELL_TOKEN, pingMs: 30_000, cutMs: 90_000 },
  })
  server.on('upgrade', (request, socket, head) => {
    if (isBehindGateway || isSignedIn(request))
      sockets.handleUpgrade(request, socket, head, shells.serve)
    else socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  played.port = (server.address() as AddressInfo).port
  t.teardown(async () => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
    await shells.ended()
  })
  return played

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request
    const body = await textOf(request)
    if (url === DEVICE_SESSION) {
      session(response, body)
      return
    }
    if (!isBehindGateway && !isSignedIn(request))
      return problem(response, 401, 'sign-in-required', 'Sign in.')
    played.requests.push(`${method} ${url}`)
    if (url === '/_gateway/ready')
      json(response, 200, { status: 'ready', services: { dashboard: 'up', openclaw: 'down' } })
    else if (url === '/terminal/token') shellToken(request, response)
    else if (url === '/echo') json(response, 200, { method, body })
    else if (url === '/long') response.end('x'.repeat(400_000))
    else problem(response, 404, 'not-found', 'There is nothing at this address.')
  }

  function session(response: ServerResponse, body: string): void {
    const { code } = (body === '' ? {} : JSON.parse(body)) as { code?: string }
    if (code !== undefined && code !== FACTOR_CODE)
      return problem(response, 401, 'step-up-required', 'That code is not right.')
    if (code !== undefined) played.wants.factor = false
    const endsAt = new Date(Date.now() + 86_400_000).toISOString()
    return json(response, 200, { token: TOKEN, endsAt, sub: 'alice' })
  }

  function shellToken(request: IncomingMessage, response: ServerResponse): void {
    const { factor, password } = played.wants
    const basic = Buffer.from(`${PASSWORD.user}:${PASSWORD.password}`).toString('base64')
    if (factor) return problem(response, 401, 'step-up-required', 'Show a second factor.')
    if (password && request.headers.authorization !== `Basic ${basic}`) {
      response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="ttyd"' }).end()
      return
    }
    return json(response, 200, { token: SHELL_TOKEN })
  }
}

/** Whether the session came in one of the two headers that it may be in. */
function isSignedIn({ headers }: IncomingMessage): boolean {
  return headers.authorization === `Bearer ${TOKEN}` || headers['x-workspace-token'] === TOKEN
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += String(piece)
  return text
}

function json(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))
}

function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  response
    .writeHead(status, { 'Content-Type': 'application/problem+json', 'X-Gateway-Error': code })
    .end(JSON.stringify({ title: code, status, code, detail }))
}
