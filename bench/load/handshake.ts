/** How is a WebSocket to the terminal opened? With a handshake written here: the load needs plain sockets without a library. */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

/** The target and the token. */
export interface SocketJob {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** Sends the handshake and waits for the 101. @throws {Error} for any other response */
export function openWebSocket({ port, path, headers }: SocketJob): Promise<Socket> {
  const fields = {
    ...headers,
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': 'tty',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
  }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed before it was open')))
    socket.once('data', (chunk) => {
      const answer = chunk.toString('latin1')
      if (answer.startsWith('HTTP/1.1 101')) resolve(socket)
      else reject(new Error(`not switched: ${answer.slice(0, 200)}`))
    })
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  })
}
