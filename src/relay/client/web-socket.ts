/** How does a device open a WebSocket of the workspace? By a handshake on a stream of its own, as a client of RFC 6455. */
import { listElements } from '../../http/fields.ts'
import { concat, randomBytes, readU16, u16, utf8, type Bytes } from '../protocol/bytes.ts'
import { Gathered } from './gathered.ts'
import { readHead, requestHead, type AnswerHead, type Fields } from './http-head.ts'
import { beginExchange, type Exchange, type Way } from './http.ts'
import { RemoteError } from './remote-error.ts'
import {
  CLOSE,
  encodeFrame,
  FrameError,
  MAX_CONTROL_BYTES,
  OPCODE,
  readFrame,
  type Frame,
} from './web-socket-frames.ts'

/** A handshake of a device. */
export interface RemoteSocketRequest {
  /** The path with its query, percent-encoded, from `/` on. */
  readonly path: string
  /** The subprotocols that are offered. Default: none. */
  readonly protocols?: readonly string[] | undefined
  readonly headers?: Fields | undefined
  /** The longest message that is taken, in bytes. Default: 1 MiB. */
  readonly maxMessageBytes?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** What happens to a WebSocket. No listener may throw. */
export interface RemoteSocketEvents {
  /** A message. No further one is read before the promise has resolved, which holds the sender up. */
  onMessage(message: Bytes | string): void | Promise<void>
  /** Called once. 1006: the connection ended without a close frame. 1005: the other party has given no code. */
  onClose(code: number, reason: string): void
}

/** An open WebSocket. */
export interface RemoteSocket {
  /** The chosen subprotocol; an empty text for none. */
  readonly protocol: string
  /** Sends a message. Resolves when there was credit for it, or when the WebSocket is over. */
  send(message: Uint8Array | string): Promise<void>
  /** Closes the WebSocket. Default: 1000. Does nothing when it is closed. */
  close(code?: number, reason?: string): void
}

/** The error of a handshake that was answered as a request. */
export class HandshakeRefused extends RemoteError {
  readonly status: number
  readonly headers: Headers

  constructor({ status, headers }: AnswerHead) {
    super('refused', `the workspace answered the handshake with ${status}`)
    this.status = status
    this.headers = headers
  }
}

const DEFAULT_MAX_BYTES = 1024 * 1024

/** How long the other party may take to answer a close frame, in milliseconds. */
const CLOSE_MS = 5000

/** RFC 6455 section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Opens a WebSocket.
 * @throws {HandshakeRefused} when the answer is not 101
 * @throws {RemoteError} `bad-answer` when 101 does not fit the handshake; and as a request
 */
export async function openWebSocket(
  way: Way,
  request: RemoteSocketRequest,
  events: RemoteSocketEvents,
): Promise<RemoteSocket> {
  const { path, protocols = [], headers = {}, signal } = request
  const key = btoa(String.fromCharCode(...randomBytes(16)))
  const head = requestHead('GET', path, headers, [
    ['Host', way.host],
    ['Connection', 'Upgrade'],
    ['Upgrade', 'websocket'],
    ['Sec-WebSocket-Version', '13'],
    ['Sec-WebSocket-Key', key],
    ...(protocols.length === 0 ? [] : [['Sec-WebSocket-Protocol', protocols.join(', ')] as const]),
  ])
  const exchange = beginExchange(way, signal)
  try {
    void exchange.stream.write(head)
    const answer = await readHead(exchange.reader)
    if (answer.status !== 101) throw new HandshakeRefused(answer)
    const protocol = await acceptedProtocol(answer, key, protocols)
    const socket = new OpenSocket({ way, exchange, events, protocol, request })
    void socket.read()
    return socket
  } catch (error) {
    throw exchange.fail(error)
  }
}

/** RFC 6455 section 4.1, the second list. @throws {RemoteError} `bad-answer` */
async function acceptedProtocol(
  { headers }: AnswerHead,
  key: string,
  offered: readonly string[],
): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-1', utf8(key + GUID))
  const accept = btoa(String.fromCharCode(...new Uint8Array(digest)))
  const protocol = headers.get('Sec-WebSocket-Protocol')
  const isAccepted =
    headers.get('Upgrade')?.toLowerCase() === 'websocket' &&
    listElements(headers.get('Connection') ?? '').includes('upgrade') &&
    headers.get('Sec-WebSocket-Accept') === accept &&
    headers.get('Sec-WebSocket-Extensions') === null &&
    (protocol === null || offered.includes(protocol))
  if (!isAccepted) throw new RemoteError('bad-answer', 'the handshake was answered wrongly')
  return protocol ?? ''
}

class OpenSocket implements RemoteSocket {
  readonly protocol: string
  readonly #way: Way
  readonly #exchange: Exchange
  readonly #events: RemoteSocketEvents
  readonly #max: number
  #writing: Promise<void> = Promise.resolve()
  #state: 'open' | 'closing' | 'over' = 'open'
  #cancelClose = () => {}
  readonly #parts = new Gathered()
  /** What the last ping has said, until it is answered. */
  #ping: Bytes | undefined
  /** The opcode of the message that has begun. */
  #opcode: number | undefined

  constructor(parts: {
    readonly way: Way
    readonly exchange: Exchange
    readonly events: RemoteSocketEvents
    readonly protocol: string
    readonly request: RemoteSocketRequest
  }) {
    this.#way = parts.way
    this.#exchange = parts.exchange
    this.#events = parts.events
    this.protocol = parts.protocol
    this.#max = parts.request.maxMessageBytes ?? DEFAULT_MAX_BYTES
  }

  send(message: Uint8Array | string): Promise<void> {
    if (this.#state !== 'open') return Promise.resolve()
    return typeof message === 'string'
      ? this.#write(OPCODE.text, utf8(message))
      : this.#write(OPCODE.binary, message)
  }

  close(code: number = CLOSE.normal, reason = ''): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    const text = utf8(reason).slice(0, MAX_CONTROL_BYTES - 2)
    void this.#write(OPCODE.close, concat(u16(code), text))
    this.#cancelClose = this.#way.clock.after(CLOSE_MS, () => this.#over(CLOSE.abnormal, ''))
  }

  /** Reads frames until the end. */
  async read(): Promise<void> {
    try {
      while (this.#state !== 'over') {
        const frame = await readFrame(this.#exchange.reader, this.#max)
        if (frame === undefined) break
        await this.#take(frame)
      }
    } catch (error) {
      if (error instanceof FrameError) await this.#fail(error)
      else if (!(error instanceof RemoteError)) throw error
    }
    this.#over(CLOSE.abnormal, '')
  }

  async #take({ isLast, opcode, payload }: Frame): Promise<void> {
    if (opcode === OPCODE.close) await this.#takeClose(payload)
    else if (opcode === OPCODE.ping) this.#pinged(payload)
    else if (opcode !== OPCODE.pong) await this.#takeData(isLast, opcode, payload)
  }

  /** Answers the last ping alone (RFC 6455 section 5.5.3): while nothing can be sent, answers must not pile up. */
  #pinged(payload: Bytes): void {
    const isToBeAnswered = this.#ping !== undefined
    this.#ping = payload
    if (!isToBeAnswered) void this.#pong()
  }

  async #pong(): Promise<void> {
    await this.#writing
    const payload = this.#ping ?? new Uint8Array()
    this.#ping = undefined
    if (this.#state === 'open') await this.#write(OPCODE.pong, payload)
  }

  async #takeData(isLast: boolean, opcode: number, payload: Bytes): Promise<void> {
    if ((opcode === OPCODE.continuation) !== (this.#opcode !== undefined))
      throw new FrameError(CLOSE.protocol, 'the pieces of messages are mixed up')
    this.#opcode ??= opcode
    if (this.#parts.length + payload.length > this.#max)
      throw new FrameError(CLOSE.tooLong, 'a message is too long')
    this.#parts.add(payload)
    if (!isLast) return
    const message = this.#parts.take()
    const isText = this.#opcode === OPCODE.text
    this.#opcode = undefined
    if (this.#state === 'open') await this.#events.onMessage(isText ? textOf(message) : message)
  }

  async #takeClose(payload: Bytes): Promise<void> {
    if (payload.length === 1 || (payload.length > 1 && !isCloseCode(readU16(payload, 0))))
      throw new FrameError(CLOSE.protocol, 'a close frame has no close code')
    const code = payload.length === 0 ? CLOSE.none : readU16(payload, 0)
    const reason = textOf(payload.subarray(2))
    if (this.#state === 'open') {
      this.#state = 'closing'
      await this.#write(OPCODE.close, payload.subarray(0, 2))
    }
    this.#over(code, reason)
  }

  async #fail({ code, message }: FrameError): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'closing'
      await this.#write(OPCODE.close, concat(u16(code), utf8(message)))
    }
  }

  #over(code: number, reason: string): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#cancelClose()
    this.#exchange.finish()
    this.#events.onClose(code, reason)
  }

  #write(opcode: number, payload: Uint8Array): Promise<void> {
    const before = this.#writing
    const write = async (): Promise<void> => {
      await before
      await this.#exchange.stream.write(encodeFrame(opcode, payload))
    }
    this.#writing = write()
    return this.#writing
  }
}

function textOf(bytes: Bytes): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new FrameError(CLOSE.notText, 'a text is not UTF-8')
  }
}

/** Whether a code may be in a close frame (RFC 6455 section 7.4). */
function isCloseCode(code: number): boolean {
  return (
    (code >= 1000 && code <= 1003) ||
    (code >= 1007 && code <= 1014) ||
    (code >= 3000 && code < 5000)
  )
}
