/** How does one connection carry requests to a service and responses back? As HTTP/1.1, one request at a time, kept alive between them. */
import { Socket } from 'node:net'
import { AnswerReader, MalformedAnswer, StrayBytes, type AnswerSink } from './answer-reader.ts'
import { listenerOf, type ServiceAddress } from '../config/values.ts'
import { codeOf, GatewayError, upstreamErrorFrom } from '../answers/errors.ts'
import { fieldLines } from '../http/fields.ts'
import {
  formOf,
  hasLength,
  NO_REQUEST,
  requestText,
  type RequestForm,
  type RequestHead,
} from './request-text.ts'

// Node and libwebsockets close idle connections after 5 s, and ttyd sends no Keep-Alive field. The gateway closes first,
// because a request that is sent while the service closes may be lost.
const KEEP_ALIVE_MS = 4000
const MAX_KEEP_ALIVE_MS = 60_000

/** How much earlier than the service announces the gateway closes an idle connection, in milliseconds, for the same reason. */
const KEEP_ALIVE_MARGIN_MS = 2000

/** The size of one read, in bytes. Lending pieces pays off for a body that is longer. */
export const READ_BYTES = 64 * 1024

/** The size of one read while a large body is lent to its receiver, in bytes: fewer and larger reads, without an allocation. */
const LARGE_READ_BYTES = 256 * 1024

/**
 * The read buffer of every connection that does not lend. The next read of any connection overwrites it, so no view of it may
 * outlive the callback of a read: body pieces are copied out of it.
 */
const shared = Buffer.allocUnsafeSlow(READ_BYTES)

/** How many connections may lend at once. The others copy, so that a thousand clients that do not read cost no more memory. */
const MAX_LENDING = 64

let lending = 0

/** Callbacks of whoever waits for a connection to a service. */
export interface ConnectReceiver {
  /** The connection is established: the body may be sent. Called before `send` returns when it already was. */
  onConnect(): void
  /**
   * The connection has ended without a whole response. Called at most once, and nothing is called after it.
   * @param mayRepeat whether the request may be sent once more, on a new connection (`ConnectionPool.dial`, pool.ts)
   */
  onError(error: GatewayError, mayRepeat: boolean): void
}

/** Callbacks of whoever sends a request: connected, then the response's head, pieces of its body and its end; or an error. */
export interface AnswerReceiver extends ConnectReceiver {
  /** An informational response (1xx, but neither 100 nor 101) before the response's head. Fields as for `onHead`. */
  onInformational(status: number, fields: string[]): void
  /**
   * @param fields name and value in turn, one character a byte
   * @param length the length of the body in bytes; undefined when it has none in advance
   * @returns whether pieces of the body may be lent instead of copied (see `onBody`)
   */
  onHead(status: number, fields: string[], length: number | undefined): boolean
  /**
   * @param piece If lent: valid until you return true or, after false, until you call `resume()`. Not lent: a copy, yours to
   *   keep.
   * @returns false to get no more pieces before you call `resume()`
   */
  onBody(piece: Buffer): boolean
  onEnd(): void
}

/** The pool that a connection belongs to, as the connection sees it. */
export interface ConnectionOwner {
  /** Keeps an idle connection for the next request; destroys the connection when it must not be kept. */
  keep(connection: ServiceConnection, milliseconds: number): void
  /** Forgets a connection that has ended. */
  forget(connection: ServiceConnection): void
  /** The service has sent bytes that belong to no response. The connection has ended. */
  noteStrayBytes(count: number): void
}

/**
 * The state of a connection. The request that leaves and the response that comes overlap, because a service may respond before
 * it has the whole request. Four of the states are therefore the table of both:
 *
 * | | no byte of a response yet | response has begun |
 * | --- | --- | --- |
 * | request incomplete | `sending` | `exchanging` |
 * | request complete | `awaiting` | `receiving` |
 *
 * Flow control (`#isPaused`) and the request's form (`#form`) are kept apart: no transition depends on the first, and of those
 * of a response only the one from `receiving` to `complete` depends on the second.
 */
type State =
  /** No request, and not in the pool: just made. `send` → held; `onConnect` of one that was opened ahead → idle. */
  | 'fresh'
  /** In the pool. `send` → held. Bytes and the end of the socket → closed. */
  | 'idle'
  /** The head of a request is written, and corked. Let go → sending, or awaiting when there is no body. Bytes → closed. */
  | 'held'
  /** `finish` → awaiting. Bytes → exchanging. */
  | 'sending'
  /** `finish` → receiving. End of the response → closed: a service that responds early does not read the rest. */
  | 'exchanging'
  /** Bytes → receiving. */
  | 'awaiting'
  /** End of the response → complete, when the connection may carry another request; else → closed. */
  | 'receiving'
  /** The response is complete, and the read that completed it is not. More bytes in it → closed; its end → idle. */
  | 'complete'
  /** Final; every state leads here by `destroy`, an error, or the end of the socket. */
  | 'closed'

/**
 * A connection to a service. It carries one request at a time: the sender of a request has the connection to itself until
 * `onEnd` or `onError`.
 *
 * A connection is reused only after a complete response, and only when all of this holds: the response lets the connection
 * persist, the whole request was handed to the kernel, the service surely has read the request as it was written (see
 * `RequestForm`), and no bytes followed the response. Otherwise the connection is closed, because the next request could get a
 * response that is not its own.
 */
export class ServiceConnection implements AnswerSink {
  /** Until when the connection may be idle, on the monotonic clock in milliseconds; 0 until the pool keeps it. */
  idleUntil = 0
  /** Called when more of the request's body may be sent, after `write` returned false. */
  onWritable: (() => void) | undefined
  readonly #pool: ConnectionOwner
  readonly #socket: Socket
  readonly #reader = new AnswerReader(this)
  #state: State = 'fresh'
  #receiver: AnswerReceiver | undefined
  /** Callbacks of whoever waits for the connection alone, without a request. */
  #opener: ConnectReceiver | undefined
  /** The form of the latest request. */
  #form: RequestForm = NO_REQUEST
  /** Whether the receiver has refused more of the body until `resume`. */
  #isPaused = false
  #keepAliveMs = KEEP_ALIVE_MS
  /** The buffer of the next read. */
  #buffer = shared

  constructor(pool: ConnectionOwner, address: ServiceAddress) {
    this.#pool = pool
    this.#socket = new ServiceSocket({
      noDelay: true,
      onread: { buffer: () => this.#buffer, callback: this.#onRead },
    })
    this.#socket.connect(listenerOf(address))
    this.#socket.once('connect', this.#onConnect)
    this.#socket.on('drain', this.#onDrain)
    this.#socket.once('end', this.#onSocketEnd)
    this.#socket.on('error', this.#onSocketError)
    this.#socket.once('close', this.#onSocketEnd)
  }

  /** Waits until the connection is established, and gives it to the pool. */
  open(opener: ConnectReceiver): void {
    this.#opener = opener
  }

  /**
   * Sends a request. Its body, if it has one, may follow after `onConnect`.
   * @throws {GatewayError} `internal-error` when the head cannot be written as one request
   */
  send(head: RequestHead, receiver: AnswerReceiver): void {
    const isCounted = hasLength(head)
    const text = requestText(head, isCounted)
    const form = formOf(head, isCounted)
    this.#receiver = receiver
    this.#form = form
    this.#reader.expect(head.method === 'HEAD')
    this.#state = 'held'
    this.#socket.cork()
    this.#socket.write(text, 'latin1')
    // With a body, the head leaves in one packet with the first body bytes. Without a body, the head leaves at the end of the
    // turn: a service gets the requests of one turn together, and is woken once.
    if (!form.hasBody) setImmediate(this.#letGo)
    if (!this.#socket.connecting) receiver.onConnect()
  }

  /** Sends pieces of the body, as one chunk. @returns false when no more should be written before `onWritable` is called */
  write(pieces: readonly Buffer[]): boolean {
    const socket = this.#socket
    const size = pieces.reduce((sum, { length }) => sum + length, 0)
    if (size > 0) {
      // An empty chunk would end the body.
      socket.cork()
      if (this.#form.isChunked) socket.write(`${size.toString(16)}\r\n`, 'latin1')
      for (const piece of pieces) socket.write(piece)
      if (this.#form.isChunked) socket.write('\r\n', 'latin1')
      this.#letGo()
      socket.uncork()
    }
    return !socket.writableNeedDrain
  }

  /** Ends the body. */
  finish(): void {
    if (this.#form.isChunked) this.#socket.write('0\r\n\r\n', 'latin1')
    this.#letGo()
    if (this.#state === 'sending') this.#state = 'awaiting'
    else if (this.#state === 'exchanging') this.#state = 'receiving'
  }

  /** Continues reading, after `onBody` returned false. */
  resume(): void {
    this.#isPaused = false
    this.#socket.resume()
  }

  /** Closes the connection in any state. No callback is called for it. */
  destroy(): void {
    this.#state = 'closed'
    this.#release()
    this.#opener = undefined
    this.#pool.forget(this)
    this.#socket.destroy()
  }

  onInformational(status: number, fields: string[]): void {
    this.#receiver?.onInformational(status, fields)
  }

  onHead(status: number, fields: string[], length: number | undefined): void {
    this.#keepAliveMs = keepAliveOf(fields)
    const mayLend = this.#receiver?.onHead(status, fields, length) === true
    // The receiver may have closed the connection, and `destroy` would not release the place that is taken here.
    if (!mayLend || this.#receiver === undefined || lending >= MAX_LENDING) return
    lending++
    this.#buffer = Buffer.allocUnsafeSlow(LARGE_READ_BYTES)
  }

  onBody(piece: Buffer): void {
    const own = piece.buffer === shared.buffer ? Buffer.from(piece) : piece
    if (this.#receiver?.onBody(own) === false) this.#isPaused = true
  }

  onEnd(persists: boolean): void {
    const receiver = this.#receiver
    const mayCarryAnother =
      this.#state === 'receiving' &&
      persists &&
      this.#form.isSurelyRead &&
      this.#socket.writableLength === 0
    if (mayCarryAnother) {
      this.#state = 'complete'
      this.#release()
    } else {
      this.destroy()
    }
    receiver?.onEnd()
  }

  /** Releases everything that belongs to one request. A buffer that was lent stays the receiver's: nothing reads into it again. */
  #release(): void {
    this.#receiver = undefined
    this.onWritable = undefined
    this.#isPaused = false
    if (this.#buffer === shared) return
    this.#buffer = shared
    lending--
  }

  readonly #letGo = (): void => {
    if (this.#state !== 'held') return
    this.#state = this.#form.hasBody ? 'sending' : 'awaiting'
    this.#socket.uncork()
  }

  readonly #onConnect = (): void => {
    this.#receiver?.onConnect()
    const opener = this.#opener
    if (opener === undefined) return
    this.#opener = undefined
    this.#becomeIdle(KEEP_ALIVE_MS)
    opener.onConnect()
  }

  #becomeIdle(milliseconds: number): void {
    this.#state = 'idle'
    this.#pool.keep(this, milliseconds)
  }

  /** @returns whether to continue reading */
  readonly #onRead = (count: number, buffer: Uint8Array): boolean => {
    try {
      this.#noteBytes(count)
      this.#reader.read((buffer as Buffer).subarray(0, count))
    } catch (error) {
      this.#fail(error)
    }
    // Only at the end of the read, because bytes behind the response would have closed the connection.
    if (this.#state === 'complete') this.#becomeIdle(this.#keepAliveMs)
    return !this.#isPaused
  }

  /**
   * Bytes have come.
   * @throws {StrayBytes} before the request has left. Other bytes that belong to no response are found by the reader.
   */
  #noteBytes(count: number): void {
    if (this.#state === 'awaiting') this.#state = 'receiving'
    else if (this.#state === 'sending') this.#state = 'exchanging'
    else if (this.#state === 'held') throw new StrayBytes('an answer to what was not asked', count)
  }

  readonly #onDrain = (): void => this.onWritable?.()

  readonly #onSocketEnd = (): void => {
    try {
      this.#reader.close()
      this.destroy()
    } catch (error) {
      this.#fail(error)
    }
  }

  readonly #onSocketError = (error: Error): void => this.#fail(error)

  #fail(error: unknown): void {
    const receiver: ConnectReceiver | undefined = this.#receiver ?? this.#opener
    const mayRepeat = this.#mayRepeat && isEndOfConnection(error)
    this.destroy()
    if (error instanceof StrayBytes) this.#pool.noteStrayBytes(error.count)
    receiver?.onError(
      error instanceof MalformedAnswer
        ? new GatewayError('upstream-unreachable', { reason: error.message })
        : upstreamErrorFrom(error),
      mayRepeat,
    )
  }

  /** Whether the request may be sent once more if the connection ends now: it was kept, and no byte of a response has come. */
  get #mayRepeat(): boolean {
    return (
      (this.#state === 'held' || this.#state === 'awaiting') &&
      this.idleUntil > 0 &&
      this.#form.isRepeatable
    )
  }
}

type WriteDone = (error?: Error | null) => void

/**
 * A socket that continues reading when a write fails because the service has closed the connection. A service that responds to
 * an upload early and closes has often sent its whole response by then, and Node would drop that response with the error. The
 * callback of the failed write is never called, so no other write follows; reading then finds the response and the end.
 */
class ServiceSocket extends Socket {
  /** The callback that Node passed with the latest write, and the one that drops the errors that are left to reading. */
  #done: WriteDone | undefined
  #readingOn: WriteDone = () => {}

  override _write(chunk: unknown, encoding: BufferEncoding, done: WriteDone): void {
    // oxlint-disable-next-line no-underscore-dangle -- the names that Node gives them (stream.Writable)
    super._write(chunk, encoding, this.#withoutEnds(done))
  }

  override _writev(chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, done: WriteDone) {
    // oxlint-disable-next-line no-underscore-dangle
    super._writev?.(chunks, this.#withoutEnds(done))
  }

  /** Makes the callback once for a socket, because Node passes the same function with each write. */
  #withoutEnds(done: WriteDone): WriteDone {
    if (this.#done !== done) {
      this.#done = done
      this.#readingOn = (error) => {
        if (!isEndOfConnection(error)) done(error)
      }
    }
    return this.#readingOn
  }
}

/**
 * Whether an error means that the service closed or reset the connection. A malformed response means that as well when no byte
 * of it was read, which is when the result counts.
 */
function isEndOfConnection(error: unknown): boolean {
  if (error instanceof MalformedAnswer) return !(error instanceof StrayBytes)
  const code = codeOf(error)
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** How long a connection may be idle, in milliseconds: less than the service announces, when it announces a time. */
function keepAliveOf(fields: readonly string[]): number {
  const seconds = /\btimeout=([0-9]{1,6})\b/i.exec(fieldLines(fields, 'keep-alive').join())?.[1]
  if (seconds === undefined) return KEEP_ALIVE_MS
  return Math.min(Number(seconds) * 1000 - KEEP_ALIVE_MARGIN_MS, MAX_KEEP_ALIVE_MS)
}
