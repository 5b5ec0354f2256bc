/** How does a test send exact bytes? With raw requests, raw responses and hand-made WebSocket frames. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { Arrivals, later, within } from './waiting.ts'

/** A response as received. */
export interface RawAnswer {
  status: number
  /** The headers by lower-case name. Repeated headers are joined with a newline. */
  headers: Record<string, string>
  /** The body as received. Chunked framing is not decoded. */
  body: string
  raw: string
}

/** Connects to a loopback port or a Unix socket. Errors are ignored, because tests wait for `close`. */
export async function open(to: number | string): Promise<Socket> {
  const socket = connect(typeof to === 'string' ? { path: to } : { port: to, host: '127.0.0.1' })
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** The bytes that a socket has received. */
export interface Received {
  text: () => string
  bytes: () => number
  /** Waits until the received text matches a condition, or the connection has ended. */
  until: (condition: (text: string) => boolean) => Promise<string>
  /** Resolves when the connection has ended, with how it ended (FIN or reset) and what was received. */
  over: Promise<{ text: string; how: 'ended' | 'reset' }>
}

/** Collects what a socket receives. */
export function gather(socket: Socket): Received {
  const chunks: string[] = []
  let size = 0
  let how: 'ended' | 'reset' = 'reset'
  const arrivals = new Arrivals()
  const text = () => {
    if (chunks.length > 1) chunks.splice(0, chunks.length, chunks.join(''))
    return chunks[0] ?? ''
  }
  socket.on('data', (chunk: Buffer) => {
    size += chunk.length
    chunks.push(chunk.toString('latin1'))
    arrivals.wake()
  })
  socket.on('end', () => {
    how = 'ended'
    socket.end()
  })
  const over = new Promise<{ text: string; how: 'ended' | 'reset' }>((resolve) => {
    socket.on('close', () => {
      arrivals.wake()
      resolve({ text: text(), how })
    })
  })
  return {
    text,
    bytes: () => size,
    over,
    until: (condition) =>
      arrivals.until(() => (condition(text()) || socket.destroyed ? text() : undefined)),
  }
}

/** Builds the text of a request. `Host` is added if missing. */
export function requestBytes(
  requestLine: string,
  headers: readonly string[] = [],
  body = '',
): string {
  const has = headers.some((line) => line.toLowerCase().startsWith('host:'))
  const lines = [
    `${requestLine} HTTP/1.1`,
    ...(has ? [] : ['Host: houston.hubify.com']),
    ...headers,
  ]
  return `${lines.join('\r\n')}\r\n\r\n${body}`
}

/** Decodes a body in chunked coding; undefined when it is truncated. */
export function dechunk(body: string): string | undefined {
  let text = ''
  let at = 0
  for (;;) {
    const lineEnd = body.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const size = Number.parseInt(body.slice(at, lineEnd), 16)
    if (Number.isNaN(size)) return undefined
    if (size === 0) return body.indexOf('\r\n', lineEnd + 2) < 0 ? undefined : text
    text += body.slice(lineEnd + 2, lineEnd + 2 + size)
    at = lineEnd + 4 + size
    if (at > body.length) return undefined
  }
}

/** Sends bytes and reads until the other side closes, or until a time limit in milliseconds. */
export async function exchange(
  to: number | string,
  bytes: string | Buffer,
  capMs = 5000,
): Promise<string> {
  const socket = await open(to)
  return new Promise((resolve) => {
    let received = ''
    const cancelCap = later(capMs, () => socket.destroy())
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => (received += chunk))
    socket.on('end', () => socket.end())
    socket.on('close', () => {
      cancelCap()
      resolve(received)
    })
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
}

/** Sends one request on its own connection. `Host` and `Connection: close` are added if missing. */
export async function send(
  to: number | string,
  requestLine: string,
  headers: readonly string[] = [],
  body = '',
): Promise<RawAnswer> {
  const has = (name: string) => headers.some((line) => line.toLowerCase().startsWith(`${name}:`))
  const lines = [
    requestLine.includes(' HTTP/') ? requestLine : `${requestLine} HTTP/1.1`,
    ...(has('host') ? [] : ['Host: houston.hubify.com']),
    ...(has('connection') ? [] : ['Connection: close']),
    ...headers,
  ]
  return parseAnswer(await exchange(to, `${lines.join('\r\n')}\r\n\r\n${body}`))
}

/** Parses the first response in a byte stream. */
export function parseAnswer(raw: string): RawAnswer {
  const end = raw.indexOf('\r\n\r\n')
  const [statusLine = '', ...fields] = raw.slice(0, end < 0 ? undefined : end).split('\r\n')
  const headers: Record<string, string> = {}
  for (const field of fields) {
    const colon = field.indexOf(':')
    const name = field.slice(0, colon).toLowerCase()
    const value = field.slice(colon + 1).trim()
    headers[name] = headers[name] === undefined ? value : `${headers[name]}\n${value}`
  }
  return {
    status: Number(statusLine.split(' ')[1] ?? 0),
    headers,
    body: end < 0 ? '' : raw.slice(end + 4),
    raw,
  }
}

/** The header lines of a WebSocket handshake. Given lines replace those of the same name. */
export function handshake(extra: readonly string[] = []): string[] {
  const defaults = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
  ]
  const nameOf = (line: string) => line.slice(0, line.indexOf(':')).toLowerCase()
  const given = new Set(extra.map(nameOf))
  return [...defaults.filter((line) => !given.has(nameOf(line))), ...extra]
}

/** Builds a client's frame, which is masked (RFC 6455). */
export function clientFrame(opcode: number, payload: Buffer | string, fin = true): Buffer {
  const data = Buffer.from(payload)
  const mask = randomBytes(4)
  return Buffer.concat([
    frameHeader(opcode, data.length, fin, true),
    mask,
    data.map((byte, i) => byte ^ (mask[i & 3] ?? 0)),
  ])
}

/** Builds a server's frame, which is not masked. */
export function serverFrame(opcode: number, payload: Buffer | string, fin = true): Buffer {
  const data = Buffer.from(payload)
  return Buffer.concat([frameHeader(opcode, data.length, fin, false), data])
}

function frameHeader(opcode: number, length: number, fin: boolean, masked: boolean): Buffer {
  const first = (fin ? 0x80 : 0) | opcode
  const maskBit = masked ? 0x80 : 0
  if (length < 126) return Buffer.from([first, maskBit | length])
  if (length < 65_536) return Buffer.from([first, maskBit | 126, length >> 8, length & 0xff])
  const header = Buffer.alloc(10)
  header[0] = first
  header[1] = maskBit | 127
  header.writeBigUInt64BE(BigInt(length), 2)
  return header
}

/** An upgraded connection, or the response that refused the upgrade. */
export interface Upgraded {
  socket: Socket
  answer: RawAnswer
  /** The bytes received after the handshake so far. */
  received: () => Buffer
  /** Waits until at least this many bytes were received after the handshake, or the socket has closed. */
  until: (bytes: number) => Promise<Buffer>
  /** Resolves when the socket has closed. */
  closed: Promise<void>
}

/** Sends a handshake, followed directly by early bytes if given, and waits for the response's whole header section. */
export async function upgrade(
  to: number | string,
  path: string,
  headers: readonly string[] = [],
  early: Buffer = Buffer.alloc(0),
): Promise<Upgraded> {
  const socket = await open(to)
  const has = (name: string) => headers.some((line) => line.toLowerCase().startsWith(`${name}:`))
  const lines = [
    `GET ${path} HTTP/1.1`,
    ...(has('host') ? [] : ['Host: houston.hubify.com']),
    ...handshake(headers),
  ]
  let bytes = Buffer.alloc(0)
  const arrivals = new Arrivals()
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      resolve()
      arrivals.wake()
    })
  })
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    arrivals.wake()
  })
  socket.write(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), early]))
  const waitFor = (ready: () => boolean) =>
    arrivals.until(() => ready() || socket.destroyed || undefined)
  await waitFor(() => bytes.includes('\r\n\r\n'))
  const headEnd = bytes.indexOf('\r\n\r\n') + 4
  const answer = parseAnswer(bytes.toString('latin1'))
  const received = () => bytes.subarray(headEnd)
  return {
    socket,
    answer,
    received,
    async until(count) {
      await waitFor(() => received().length >= count)
      return received()
    },
    closed,
  }
}

/** The code of the close frame that came last; undefined when none did. */
export function closeCode({ received }: Upgraded): number | undefined {
  const bytes = received()
  for (let at = bytes.length - 4; at >= 0; at--) {
    const length = bytes[at + 1] ?? 0
    if (bytes[at] === 0x88 && at + 2 + length === bytes.length) return bytes.readUInt16BE(at + 2)
  }
  return undefined
}

/** Writes until the other side has taken nothing for a while, or up to a limit. @returns bytes that were written */
export async function writeUntilStuck(
  to: Writable,
  piece: Buffer,
  limit: number,
  stuckMs = 500,
): Promise<number> {
  let written = 0
  while (written < limit && !to.destroyed) {
    written += piece.length
    if (to.write(piece)) continue
    if (!(await within(stuckMs, once(to, 'drain')))) break
  }
  return written
}
