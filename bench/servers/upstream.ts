/**
 * Which service is behind every peer? This one: it sends a small response to every request, 100 MB for `…/big`, and accepts any
 * body for `…/upload`. WebSockets echo, and with `?bulk` they send without end. It is leaner than a real service, so that the
 * cost of the proxies dominates.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'

const ANSWER = 'x'.repeat(747)
const BIG_BYTES = 100 * 1000 * 1000
const CHUNK = Buffer.alloc(64 * 1024, 'x')

/** Four unmasked binary frames of 16 KiB each (RFC 6455 section 5.2), as one chunk. */
const FRAME = Buffer.concat([Buffer.from([0x82, 126, 0x40, 0x00]), Buffer.alloc(16 * 1024, 'x')])
const FRAMES = Buffer.concat([FRAME, FRAME, FRAME, FRAME])

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const path = request.url?.split('?', 1)[0] ?? ''
  if (path.endsWith('/upload')) {
    let size = 0
    request.on('data', (chunk: Buffer) => (size += chunk.length))
    request.on('end', () => response.end(String(size)))
    return
  }
  if (path.endsWith('/big')) {
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': BIG_BYTES,
    })
    sendMuch(response, BIG_BYTES, CHUNK)
    return
  }
  response.writeHead(200, {
    'content-type': 'application/json',
    'content-length': ANSWER.length,
  })
  response.end(ANSWER)
})

/** Sends a chunk repeatedly, with backpressure, until a number of bytes is sent. */
function sendMuch(to: Duplex | NodeJS.WritableStream, bytes: number, chunk: Buffer): void {
  let left = bytes
  const send = () => {
    while (left > 0) {
      const part = left < chunk.length ? chunk.subarray(0, left) : chunk
      left -= part.length
      if (!to.write(part) && left > 0) return
    }
    to.end()
  }
  to.on('drain', send)
  send()
}

const echoes = new WebSocketServer({ noServer: true, perMessageDeflate: false })
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => socket.destroy())
  if (request.url?.endsWith('?bulk') !== true) {
    echoes.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => webSocket.terminate())
      webSocket.on('message', (data, isBinary) => webSocket.send(data, { binary: isBinary }))
    })
    return
  }
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64')
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: tty\r\n\r\n`,
  )
  sendMuch(socket, Number.POSITIVE_INFINITY, FRAMES)
})

server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096 })
