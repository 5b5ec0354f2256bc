/** How does a request reach a service, and its answer come back? HTTP/1.1 over connections that are used again. */
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

// Node and libwebsockets close idle connections after 5 s, ttyd without saying so: we let go first.
const KEEP_ALIVE_MS = 4000
const MAX_KEEP_ALIVE_MS = 60_000

/** How much earlier than a service says we let go of a connection, in milliseconds: a request must not cross its end. */
const KEEP_ALIVE_MARGIN_MS = 2000

/** How much is read at once, in bytes; from a body that is longer, it pays to be lent pieces. */
export const READ_BYTES = 64 * 1024

/** The same for a large body that is lent to its receiver: fewer, larger reads, and not one allocation. */
const LARGE_READ_BYTES = 256 * 1024

/**
 * What every connection reads into, unless it lends. The next read, of whatever connection, overwrites it: nothing of it may
 * outlive the callback of a read, so bodies are copied out of it.
 */
const shared = Buffer.allocUnsafeSlow(READ_BYTES)

/** How many connections lend at once; others copy, so that a thousand clients that do not read cost no more memory. */
const MAX_LENDING = 64

let lending = 0

/** Who is told whether a service takes connections. */
export interface ConnectReceiver {
  /** The connection is there: the body may be sent. Called before `send` returns when it was there already. */
  onConnect(): void
  /**
   * Called once at most, and nothing after it.
   * @param mayRepeat whether the request may be sent once more, on a new connection (`ConnectionPool.dial`, pool.ts)
   */
  onError(error: GatewayError, mayRepeat: boolean): void
}

/** Who is told what comes of a request: connected, then the answer's head, pieces of its body and its end; or an error. */
export interface AnswerReceiver extends ConnectReceiver {
  /** An informational answer (1xx, but neither 100 nor 101) before the answer's head. Fields as for `onHead`. */
  onInformational(status: number, fields: string[]): void
  /**
   * @param fields name and value in turn, one character a byte
   * @param length of the body in bytes; undefined when only its end will tell
   * @returns whether pieces of the body may be lent instead of copied (see `onBody`)
   */
  onHead(status: number, fields: string[], length: number | undefined): boolean
  /**
   * @param piece unchanged until it is answered with true, or until `resume` after false; for good when it was not lent
   * @returns false when no more is wanted for now
   */
  onBody(piece: Buffer): boolean
  onEnd(): void
}

/** What a connection belongs to. */
export interface ConnectionOwner {
  /** Keeps a connection for the next request, unless it has ended meanwhile. */
  keep(connection: ServiceConnection, milliseconds: number): void
  /** The connection has ended. */
  forget(connection: ServiceConnection): void
  /** The service has sent bytes that belong to no response. The connection has ended. */
  noteStrayBytes(count: number): void
}

/**
 * The state of a connection. Its two halves, the request that leaves and the response that comes, overlap (a service may
 * respond before it has the whole request), so four states are the table of both:
 *
 * | | no byte of a response yet | response has begun |
 * | --- | --- | --- |
 * | request incomplete | `sending` | `exchanging` |
 * | request complete | `awaiting` | `receiving` |
 *
 * Flow control (`#isPaused`) and what the request's form allows (`#form`) are no states: they decide no transition but one,
 * from `receiving` to `complete`.
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
 * A connection to a service. It carries one request at a time; whoever sends one holds it until `onEnd` or `onError`.
 *
 * It is used again only behind a complete answer, and only when all of this holds: the answer lets the connection persist,
 * the whole request was written and handed to the kernel, the service surely has read the request as it was written (see
 * `RequestForm`), and nothing came behind the answer. Everything else closes it.
 */
export class ServiceConnection implements AnswerSink {
  /** Until when it may wait for its next request, on the monotonic clock in milliseconds; 0 until the pool keeps it. */
  idleUntil = 0
  /** Called when more of a body may be sent, after `write` returned false. */
  onWritable: (() => void) | undefined
  readonly #pool: ConnectionOwner
  readonly #socket: Socket
  readonly #reader = new AnswerReader(this)
  #state: State = 'fresh'
  #receiver: AnswerReceiver | undefined
  /** Who waits for the connection alone, without a request. */
  #opener: ConnectReceiver | undefined
  /** What the form of the latest request allows. */
  #form: RequestForm = NO_REQUEST
  /** Whether the receiver wants no more of the body for now. */
  #isPaused = false
  #keepAliveMs = KEEP_ALIVE_MS
  /** What the next read goes into. */
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

  /** Waits until the connection is there, and gives it to the pool. */
  open(opener: ConnectReceiver): void {
    this.#opener = opener
  }

  /**
   * Sends a request; its body, if it has one, may follow from `onConnect` on.
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
    // With a body, the head leaves in one packet with the first of the body. Without, it leaves at the end of the turn: a
    // service gets the requests of one turn together, and is woken once.
    if (!form.hasBody) setImmediate(this.#letGo)
    if (!this.#socket.connecting) receiver.onConnect()
  }

  /** Sends pieces of the body, as one chunk. @returns false when no more should follow before `onWritable` is called */
  write(pieces: readonly Buffer[]): boolean {
    const socket = this.#socket
    const size = pieces.reduce((sum, { length }) => sum + length, 0)
    if (size > 0) {
      // A chunk of no bytes would be the last.
      socket.cork()
      if (this.#form.isChunked) socket.write(`${size.toString(16)}\r\n`, 'latin1')
      for (const piece of pieces) socket.write(piece)
      if (this.#form.isChunked) socket.write('\r\n', 'latin1')
      this.#letGo()
      socket.uncork()
    }
    return !socket.writableNeedDrain
  }

  /** The body is complete. */
  finish(): void {
    if (this.#form.isChunked) this.#socket.write('0\r\n\r\n', 'latin1')
    this.#letGo()
    if (this.#state === 'sending') this.#state = 'awaiting'
    else if (this.#state === 'exchanging') this.#state = 'receiving'
  }

  /** Reads on, after `onBody` returned false. */
  resume(): void {
    this.#isPaused = false
    this.#socket.resume()
  }

  /** Ends the connection, whatever is under way. Nobody is told. */
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
    // The receiver may have ended the connection: then nobody would give the place among the lending back.
    if (!mayLend || this.#receiver === undefined || lending >= MAX_LENDING) return
    lending++
    this.#buffer = Buffer.allocUnsafeSlow(LARGE_READ_BYTES)
  }

  onBody(piece: Buffer): void {
    const own = piece.buffer === shared.buffer ? Buffer.from(piece) : piece
    if (this.#receiver?.onBody(own) === false) this.#isPaused = true
  }

  onEnd(persists: boolean): void {
    if (this.#state === 'closed') return // the receiver has ended the connection in this read
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

  /** Lets go of everything that belongs to one request. What was lent is the receiver's for good. */
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

  /** @returns whether to read on */
  readonly #onRead = (count: number, buffer: Uint8Array): boolean => {
    try {
      this.#noteBytes(count)
      this.#reader.read((buffer as Buffer).subarray(0, count))
    } catch (error) {
      this.#fail(error)
    }
    // Only now: what came behind the answer's end has been found out.
    if (this.#state === 'complete') this.#becomeIdle(this.#keepAliveMs)
    return !this.#isPaused
  }

  /** Bytes have come. @throws {StrayBytes} when nothing was asked yet; the reader knows the other bytes without a response */
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

  /** Whether the request may be sent once more if the connection ends now: it was kept, and no byte of a response came. */
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
 * A socket that reads on when a write finds its connection closed by the other side. A service that answers an upload early
 * and hangs up has often sent its whole answer by then, and Node would drop the answer with the error. The write that failed
 * never ends, so no other follows it; what is read decides how the connection ends, and the kernel knows that end already.
 */
class ServiceSocket extends Socket {
  /** What Node passed with the latest write, and the same without the errors that are left to reading. */
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

  /** Made once for a socket: Node passes the same function with each write. */
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

/** Whether a service closed or reset the connection. While nothing was read of a response, a malformed one is a close. */
function isEndOfConnection(error: unknown): boolean {
  if (error instanceof MalformedAnswer) return !(error instanceof StrayBytes)
  const code = codeOf(error)
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** How long a connection may wait for its next request, in milliseconds: less than the service says, if it says. */
function keepAliveOf(fields: readonly string[]): number {
  const seconds = /\btimeout=([0-9]{1,6})\b/i.exec(fieldLines(fields, 'keep-alive').join())?.[1]
  if (seconds === undefined) return KEEP_ALIVE_MS
  return Math.min(Number(seconds) * 1000 - KEEP_ALIVE_MARGIN_MS, MAX_KEEP_ALIVE_MS)
}
