/**
 * How is a shell opened at ttyd? With the client's own handshake and password, so that ttyd decides as if the keeper were not
 * there. The connection then lives as long as the shell.
 */
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { WebSocket, type RawData } from 'ws'
import { listenerOf, type ServiceAddress } from '../../config/values.ts'
import { TTYD_PROTOCOL } from '../protocol.ts'

/** The largest message of ttyd, in bytes. ttyd reads its shell in pieces of 64 KiB at most. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

/** How long ttyd may take to answer a close frame, in milliseconds. */
const CLOSE_MS = 1000

/** How much input may wait for the shell, in bytes. */
const MAX_INPUT_BYTES = 1024 * 1024

/** What the result of a handshake is. */
export type TtydAnswer =
  | { readonly kind: 'open'; readonly link: TtydLink }
  /** ttyd answered with something else than a `101`. */
  | { readonly kind: 'refused'; readonly answer: IncomingMessage }
  /** ttyd closed the connection, which is how it refuses a wrong password, or is not there. */
  | { readonly kind: 'failed'; readonly error: Error }

/** What a terminal wants to hear of ttyd. */
export interface TtydEvents {
  readonly onMessage: (message: Buffer) => void
  /** The shell has ended, or ttyd has. */
  readonly onEnd: (code: number) => void
  /** There is room for more input. */
  readonly onDrain: () => void
}

/** What is asked of ttyd. */
export interface TtydHandshake {
  readonly address: ServiceAddress
  /** Path and query, which reach ttyd byte for byte. */
  readonly target: string
  /** The client's headers, without those of the handshake itself. */
  readonly headers: Record<string, string | string[]>
  /** Gives up, because the client has gone. */
  readonly signal: AbortSignal
  /** How long ttyd may take, in milliseconds. */
  readonly timeoutMs: number
}

/** Sends a handshake to ttyd. Never rejects. */
export function openTtyd({
  address,
  target,
  headers,
  signal,
  timeoutMs,
}: TtydHandshake): Promise<TtydAnswer> {
  const { promise, resolve } = Promise.withResolvers<TtydAnswer>()
  const socket = new WebSocket(`ws://${address.hostname}:${address.port ?? 80}/`, TTYD_PROTOCOL, {
    headers,
    createConnection: () => connect(listenerOf(address)),
    finishRequest(request) {
      request.path = target // not in the URL, which would be normalised, and must have no `#`
      request.end()
    },
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    skipUTF8Validation: true,
    followRedirects: false,
  })
  // A limit for all of the handshake: ws has one only for each pause, and a ttyd that sends a byte now and then would be waited for.
  const timer = setTimeout(() => socket.terminate(), timeoutMs)
  const giveUp = () => socket.terminate()
  signal.addEventListener('abort', giveUp, { once: true })
  const settle = (answer: TtydAnswer) => {
    clearTimeout(timer)
    signal.removeEventListener('abort', giveUp)
    resolve(answer)
  }
  socket.once('open', () => settle({ kind: 'open', link: new TtydLink(socket) }))
  socket.once('unexpected-response', (_request, answer) => settle({ kind: 'refused', answer }))
  socket.on('error', (error) => settle({ kind: 'failed', error }))
  return promise
}

/** The connection to ttyd for one shell. */
export class TtydLink {
  readonly #socket: WebSocket
  #events: TtydEvents | undefined
  #hasRoom = true

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.pause() // until somebody listens
    socket.on('error', () => socket.terminate()) // `close` follows
  }

  /** Begins to read. */
  listen(events: TtydEvents): void {
    this.#events = events
    this.#socket.on('message', (data: RawData) => events.onMessage(data as Buffer))
    this.#socket.once('close', (code) => events.onEnd(code))
    this.#socket.resume()
  }

  /** Whether there is room for more input; if not, `onDrain` follows. */
  get hasRoom(): boolean {
    return this.#hasRoom
  }

  /** How much input ttyd has not read yet, in bytes, without what the kernel holds. */
  get unreadBytes(): number {
    return this.#socket.bufferedAmount
  }

  /** Sends a message, input for the shell for instance. @returns whether there is room for more; if not, `onDrain` follows */
  send(message: Buffer): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return true
    this.#socket.send(message, this.#onSent)
    this.#hasRoom = this.unreadBytes < MAX_INPUT_BYTES
    return this.#hasRoom
  }

  /** Stops reading, or goes on: then the shell waits as soon as ttyd's buffers are full. */
  hold(isHeld: boolean): void {
    if (isHeld) this.#socket.pause()
    else this.#socket.resume()
  }

  /** Says that the keeper lives, also while nothing is read: ttyd hangs up 12 s after the last pong. */
  reassure(): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.pong()
  }

  /** Ends the shell: ttyd hangs up on it. */
  close(): void {
    this.#socket.resume() // the close frame has to be read
    this.#socket.close(1000)
    setTimeout(() => this.#socket.terminate(), CLOSE_MS).unref()
  }

  readonly #onSent = (): void => {
    if (this.#hasRoom || this.unreadBytes > 0) return
    this.#hasRoom = true
    this.#events?.onDrain()
  }
}
