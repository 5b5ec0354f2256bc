/** How is the terminal's password tested? With a stand-in for ttyd 1.7.7, and a client that sends passwords as Safari does. */
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import { cookie, HTTPS, ORIGIN } from './door.ts'
import { startUpstream, type Upstream } from './upstream.ts'
import { clientFrame, send, upgrade, type RawAnswer, type Upgraded } from './wire.ts'

/** The `Authorization` value for `user:password`. */
export const basic = (credential: string) => `Basic ${base64(credential)}`
const base64 = (text: string) => Buffer.from(text).toString('base64')

/** A terminal whose credential a test can change. */
export interface Ttyd extends Upstream {
  credential: string
  /** The `Authorization` of each handshake, in order. Several lines are joined with a comma. */
  handshakes: () => Array<string | undefined>
}

/**
 * Starts a terminal. Over HTTP it responds 401 to any request without the right credential. It closes a handshake without the
 * credential, or without the subprotocol `tty`, without a response. The first message on an open socket must have the token
 * that the page got from `/terminal/token`, else the socket is closed with 1008. After that it echoes input as output.
 */
export async function startTtyd(t: Test, credential: string): Promise<Ttyd> {
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tty' })
  const upstream = await startUpstream(
    t,
    (request, response) => {
      if (request.headers.authorization !== basic(ttyd.credential)) {
        const fields = { 'WWW-Authenticate': 'Basic realm="ttyd"', 'Content-Length': 0 }
        response.writeHead(401, { ...fields, Connection: 'close' }).end()
      } else if (request.url === '/terminal') {
        response.writeHead(302, { Location: '/terminal/', 'Content-Length': 0 }).end()
      } else if (request.url === '/terminal/') {
        response.writeHead(200, { 'Content-Type': 'text/html' }).end('<title>ttyd</title>')
      } else if (request.url === '/terminal/token') {
        response.writeHead(200, { 'Content-Type': 'application/json;charset=utf-8' })
        response.end(JSON.stringify({ token: base64(ttyd.credential) }))
      } else response.writeHead(404, { 'Content-Length': 0 }).end()
    },
    (request, socket, head) => {
      const offered = request.headers['sec-websocket-protocol']?.split(/, */) ?? []
      const isRight = request.headers.authorization === basic(ttyd.credential)
      if (!isRight || !offered.includes('tty')) socket.destroy()
      else sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws))
    },
  )
  sockets.on('connection', (socket) => {
    socket.once('message', (first: Buffer) => {
      const { AuthToken } = JSON.parse(first.toString()) as { AuthToken?: string }
      if (AuthToken !== base64(ttyd.credential)) socket.close(1008)
      else socket.on('message', (data: Buffer) => socket.send(data))
    })
    socket.on('error', () => socket.terminate())
  })
  const ttyd: Ttyd = {
    ...upstream,
    credential,
    handshakes: () =>
      upstream.requests
        .filter(({ headers }) => headers.upgrade !== undefined)
        .map(({ rawHeaders }) => authorizationOf(rawHeaders)),
  }
  return ttyd
}

function authorizationOf(rawHeaders: readonly string[]): string | undefined {
  const lines = rawHeaders.filter(
    (_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === 'authorization',
  )
  return lines.length === 0 ? undefined : lines.join(', ')
}

/** A browser with a session cookie. It sends Basic credentials over HTTP and never on a WebSocket handshake. */
export interface Safari {
  /** Sends a request below `/terminal`, with these credentials if given. */
  get: (path: string, credential?: string) => Promise<RawAnswer>
  /** Loads the terminal's page and its token, and returns the status: 200 when the credential was right. */
  openPage: (credential: string) => Promise<number>
  /** Opens the terminal's WebSocket, with additional header lines. */
  connect: (extra?: readonly string[]) => Promise<Upgraded>
}

/** Makes a browser that is signed in with this token to the gateway on this port. */
export function safari(port: number, jwt: string): Safari {
  const session = [cookie(jwt), HTTPS]
  const get: Safari['get'] = (path, credential) =>
    send(port, `GET ${path}`, [
      ...session,
      ...(credential === undefined ? [] : [`Authorization: ${basic(credential)}`]),
    ])
  return {
    get,
    async openPage(credential) {
      await get('/terminal')
      let status = 0
      for (const path of ['/terminal', '/terminal/', '/terminal/favicon.png', '/terminal/token'])
        ({ status } = await get(path, credential))
      return status
    },
    connect: (extra = []) =>
      upgrade(port, '/terminal/ws', [
        ...session,
        `Origin: ${ORIGIN}`,
        'Sec-WebSocket-Protocol: tty',
        ...extra,
      ]),
  }
}

/** The first message that ttyd's page sends on an open socket. */
export function hello(credential: string): Buffer {
  return clientFrame(2, JSON.stringify({ AuthToken: base64(credential), columns: 80, rows: 24 }))
}
