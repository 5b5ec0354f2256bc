/** Which services are behind a test gateway? Stand-ins that count connections and record requests byte for byte. */
import { spawn } from 'node:child_process'
import { createHash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import {
  connect,
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from 'node:net'
import type { Duplex } from 'node:stream'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'

/** A request as a service received it. */
interface SeenRequest {
  method: string
  url: string
  rawHeaders: string[]
  headers: IncomingMessage['headers']
  body: string
}

/** A service that listens on a loopback port. */
export interface Upstream {
  url: string
  port: number
  /** The number of accepted connections. 0 proves that a refused request never reached the service. */
  dials: () => number
  /** The requests in order of arrival, with bodies, including upgrades. */
  requests: SeenRequest[]
  server: Server
}

/** Handles an upgrade: receives the handshake, the socket, and the bytes after the handshake. */
export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/**
 * Starts an HTTP service. Without a listener, it responds 200 with JSON about the request. Without an upgrade listener, it
 * accepts WebSockets and echoes their messages.
 */
export async function startUpstream(
  t: Test,
  listener?: RequestListener,
  onUpgrade?: UpgradeListener,
): Promise<Upstream> {
  const requests: SeenRequest[] = []
  const echo = new WebSocketServer({ noServer: true, maxPayload: 0, perMessageDeflate: true })
  const server = createServer((request, response) => {
    const seen = record(request)
    requests.push(seen)
    if (listener !== undefined) {
      listener(request, response)
      return
    }
    request.setEncoding('latin1')
    request.on('data', (chunk: string) => (seen.body += chunk))
    request.on('end', () => {
      response.setHeader('Content-Type', 'application/json')
      response.end(JSON.stringify({ method: seen.method, url: seen.url, body: seen.body.length }))
    })
  })
  server.on('upgrade', (request, socket, head) => {
    requests.push(record(request))
    socket.on('error', () => socket.destroy())
    if (onUpgrade !== undefined) {
      socket.on('end', () => socket.end())
      onUpgrade(request, socket, head)
      return
    }
    echo.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('message', (data: Buffer, isBinary: boolean) =>
        webSocket.send(data, { binary: isBinary }),
      )
      webSocket.on('error', () => webSocket.terminate())
    })
  })
  return { ...(await listen(t, server)), requests, server }
}

/** Makes a service leave its next request without a response. @returns resolves when that request has arrived */
export function leaveUnanswered({ server }: Upstream): Promise<unknown> {
  server.removeAllListeners('request')
  return once(server, 'request')
}

/** Starts a service that sends raw bytes, for responses that no HTTP server would send. */
export async function startRawUpstream(
  t: Test,
  onConnection: (socket: Socket) => void,
): Promise<{ url: string; port: number; dials: () => number }> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => socket.destroy())
    onConnection(socket)
  })
  return await listen(t, server)
}

/** Listens on a free loopback port and counts the connections. Everything is closed when the test ends. */
async function listen(
  t: Test,
  server: TcpServer,
): Promise<{ url: string; port: number; dials: () => number }> {
  const sockets = new Set<Socket>()
  let dials = 0
  server.on('connection', (socket: Socket) => {
    dials++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, port, dials: () => dials }
}

/** Starts a service that accepts no connection: its process is stopped and the kernel's queue for it is full. */
export async function startDeafUpstream(t: Test): Promise<{ url: string; port: number }> {
  const program = `require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    console.log(this.address().port)
  })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(line)
  child.kill('SIGSTOP')
  const fillers = Array.from({ length: 6 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.teardown(async () => {
    for (const filler of fillers) filler.destroy()
    child.kill('SIGKILL')
    await once(child, 'close')
  })
  await once(fillers[0] as Socket, 'connect')
  return { url: `http://127.0.0.1:${port}`, port }
}

const given = new Set<number>()

/**
 * Finds a loopback port on which nothing listens. The port is below the range from which the system assigns ports, so that no
 * other program gets it while the test relies on it.
 */
export async function closedPort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 30_000)
    if (given.has(port) || !(await canListen(port))) continue
    given.add(port)
    return port
  }
}

async function canListen(port: number): Promise<boolean> {
  const server = createTcpServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    server.close()
    await once(server, 'close')
    return true
  } catch {
    return false
  }
}

/** The `101` response to a handshake, with the subprotocol `tty` if it was offered. */
export function switchingProtocols(request: IncomingMessage, extra = ''): string {
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64')
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(/, */)
  const protocol = offered.includes('tty') ? 'Sec-WebSocket-Protocol: tty\r\n' : ''
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${protocol}${extra}\r\n`
}

function record(request: IncomingMessage): SeenRequest {
  return {
    method: request.method ?? '',
    url: request.url ?? '',
    rawHeaders: request.rawHeaders,
    headers: request.headers,
    body: '',
  }
}
