/**
 * What does a shell really print, and what is really typed into it? A relay in front of ttyd notes the messages of every
 * WebSocket. It stands behind the keeper of terminals, so it sees each shell once, from its first message to its end.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Started } from './neighbour.ts'

/** A shell, as ttyd and its client speak about it. */
export interface TappedShell {
  /** ttyd's messages so far, in order: output begins with 0, the title with 1, preferences with 2. */
  readonly messages: Buffer[]
  /** What was typed so far, as text: the client's messages that begin with 0. */
  typed(): string
  /** What was printed so far, as text. */
  printed(): string
  /** Whether the connection has ended, and with it the shell. */
  hasEnded(): boolean
}

/** A relay in front of ttyd. */
export interface ShellTap extends Started {
  readonly url: string
  /** Every shell, oldest first. */
  readonly shells: TappedShell[]
}

/** Starts a relay on a free port for the ttyd on a port. */
export async function startShellTap(ttydPort: number): Promise<ShellTap> {
  const sockets = new Set<Socket>()
  const shells: TappedShell[] = []
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: ttydPort, noDelay: true })
    let ended = false
    const [fromTtyd, fromClient] = [new MessageReader(), new MessageReader()]
    let isListed = false
    const list = () => {
      isListed = true
      shells.push({
        messages: fromTtyd.messages,
        typed: () => textOf(fromClient.messages),
        printed: () => textOf(fromTtyd.messages),
        hasEnded: () => ended,
      })
    }
    near.on('data', (bytes) => fromClient.push(bytes))
    far.on('data', (bytes) => {
      fromTtyd.push(bytes)
      if (fromTtyd.isWebSocket && !isListed) list()
    })
    near.pipe(far).pipe(near)
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        ended = true
        other.destroy()
        sockets.delete(socket)
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    shells,
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function textOf(messages: readonly Buffer[]): string {
  return Buffer.concat(
    messages.filter(([kind]) => kind === 0x30).map((message) => message.subarray(1)),
  ).toString()
}

/** Reads the messages of one direction of a WebSocket connection without extensions (RFC 6455 section 5.2). */
class MessageReader {
  readonly messages: Buffer[] = []
  /** Whether the head was that of a WebSocket's handshake. */
  isWebSocket = false
  #hasHead = false
  #bytes = Buffer.alloc(0)
  #parts: Buffer[] = []

  push(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    if (!this.#hasHead && !this.#readHead()) return
    if (this.isWebSocket) while (this.#readFrame()) continue
    else this.#bytes = Buffer.alloc(0)
  }

  #readHead(): boolean {
    const end = this.#bytes.indexOf('\r\n\r\n')
    if (end < 0) return false
    this.isWebSocket = /^upgrade: *websocket/im.test(this.#bytes.subarray(0, end).toString())
    this.#hasHead = true
    this.#bytes = this.#bytes.subarray(end + 4)
    return true
  }

  #readFrame(): boolean {
    const [first = 0, second = 0] = this.#bytes
    const isMasked = (second & 0x80) !== 0
    const short = second & 0x7f
    const lengthBytes = short === 127 ? 8 : short === 126 ? 2 : 0
    const start = 2 + lengthBytes + (isMasked ? 4 : 0)
    if (this.#bytes.length < start) return false
    const length =
      lengthBytes === 0
        ? short
        : this.#bytes.readUIntBE(lengthBytes === 8 ? 4 : 2, lengthBytes === 8 ? 6 : 2)
    if (this.#bytes.length < start + length) return false
    const payload = Buffer.from(this.#bytes.subarray(start, start + length))
    const mask = this.#bytes.subarray(start - 4, start)
    if (isMasked)
      for (let i = 0; i < length; i++) payload[i] = (payload[i] ?? 0) ^ (mask[i % 4] ?? 0)
    this.#bytes = this.#bytes.subarray(start + length)
    if ((first & 0x08) !== 0) return true // a control frame
    this.#parts.push(payload)
    if ((first & 0x80) === 0) return true
    this.messages.push(Buffer.concat(this.#parts))
    this.#parts = []
    return true
  }
}
