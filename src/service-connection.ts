/** How does a request reach a service, and its answer come back? HTTP/1.1 over connections that are used again. */
import { connect, type Socket } from 'node:net'
import { AnswerReader, MalformedAnswer, type AnswerSink } from './answer-reader.ts'
import { listenerOf, type ServiceAddress } from './config/values.ts'
import { GatewayError, upstreamErrorFrom } from './errors.ts'
import { fieldLines, isFieldName, isFieldValue } from './fields.ts'

// Node and libwebsockets close idle connections after 5 s, ttyd without saying so: we let go first.
const KEEP_ALIVE_MS = 4000
const MAX_KEEP_ALIVE_MS = 60_000

/** How much earlier than a service says we let go of a connection, in milliseconds: a request must not cross its end. */
const KEEP_ALIVE_MARGIN_MS = 2000

/** How often connections that wait for a request are looked through, in milliseconds. */
const SWEEP_MS = 500

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

/** A request without its body. */
export interface RequestHead {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Name and value in turn, `Host` among them; one character a byte. */
  readonly headers: readonly string[]
  readonly hasBody: boolean
}

/** Who is told what comes of a request: connected, then the answer's head, pieces of its body and its end; or an error. */
export interface AnswerReceiver {
  /** The connection is there: the body may be sent. Called before `send` returns when it was there already. */
  onConnect(): void
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
  /** Called once at most, and nothing after it. */
  onError(error: GatewayError): void
}

/** A connection to a service. It carries one request at a time; whoever sends one holds it until `onEnd` or `onError`. */
export class ServiceConnection implements AnswerSink {
  /** Until when it may wait for its next request, on the monotonic clock in milliseconds. */
  idleUntil = 0
  /** Called when more of a body may be sent, after `write` returned false. */
  onWritable: (() => void) | undefined
  readonly #pool: ConnectionPool
  readonly #socket: Socket
  readonly #reader = new AnswerReader(this)
  #receiver: AnswerReceiver | undefined
  #isConnected = false
  #isBodyChunked = false
  #isSent = true
  /** Whether the head of the request is still here. */
  #isHeld = false
  #isPaused = false
  #isFree = false
  #keepAliveMs = KEEP_ALIVE_MS
  /** What the next read goes into. */
  #buffer = shared
  #isLending = false

  constructor(pool: ConnectionPool, address: ServiceAddress) {
    this.#pool = pool
    this.#socket = connect({
      ...listenerOf(address),
      noDelay: true,
      onread: { buffer: () => this.#buffer, callback: this.#onRead },
    })
    this.#socket.once('connect', this.#onConnect)
    this.#socket.on('drain', this.#onDrain)
    this.#socket.once('end', this.#onSocketEnd)
    this.#socket.on('error', this.#onSocketError)
    this.#socket.once('close', this.#onSocketEnd)
  }

  /**
   * Sends a request; its body, if it has one, may follow from `onConnect` on.
   * @throws {GatewayError} `internal-error` when the head cannot be written as one request
   */
  send(head: RequestHead, receiver: AnswerReceiver): void {
    const hasLength = fieldLines(head.headers, 'content-length').length > 0
    const text = requestText(head, hasLength)
    this.#receiver = receiver
    this.#isSent = !head.hasBody
    this.#isBodyChunked = head.hasBody && !hasLength
    this.#reader.expect(head.method === 'HEAD')
    this.#isHeld = true
    this.#socket.cork()
    this.#socket.write(text, 'latin1')
    // With a body, the head leaves with the first of it: Caddy, for one, sends heads whose bodies it no longer has, and a
    // service must not begin with what never comes. Without, at the end of the turn: what all requests of a turn have to
    // say to a service, it hears in one go, and is woken once.
    if (!head.hasBody) setImmediate(this.#letGo)
    if (this.#isConnected) receiver.onConnect()
  }

  /** Sends pieces of the body, as one chunk. @returns false when no more should follow before `onWritable` is called */
  write(pieces: readonly Buffer[]): boolean {
    const socket = this.#socket
    const size = pieces.reduce((sum, { length }) => sum + length, 0)
    if (size > 0) {
      // A chunk of no bytes would be the last.
      socket.cork()
      if (this.#isBodyChunked) socket.write(`${size.toString(16)}\r\n`, 'latin1')
      for (const piece of pieces) socket.write(piece)
      if (this.#isBodyChunked) socket.write('\r\n', 'latin1')
      this.#letGo()
      socket.uncork()
    }
    return !socket.writableNeedDrain
  }

  /** The body is complete. */
  finish(): void {
    this.#isSent = true
    if (this.#isBodyChunked) this.#socket.write('0\r\n\r\n', 'latin1')
    this.#letGo()
  }

  /** Reads on, after `onBody` returned false. */
  resume(): void {
    this.#isPaused = false
    this.#socket.resume()
  }

  /** Ends the connection, whatever is under way. Nobody is told. */
  destroy(): void {
    this.#receiver = undefined
    this.#stopLending()
    this.#pool.forget(this)
    this.#socket.destroy()
  }

  onHead(status: number, fields: string[], length: number | undefined): void {
    this.#keepAliveMs = keepAliveOf(fields)
    const mayLend = this.#receiver?.onHead(status, fields, length) === true
    if (!mayLend || lending >= MAX_LENDING) return
    lending++
    this.#buffer = Buffer.allocUnsafeSlow(LARGE_READ_BYTES)
  }

  onBody(piece: Buffer): void {
    const own = this.#isLending ? piece : Buffer.from(piece)
    if (this.#receiver?.onBody(own) === false) this.#isPaused = true
  }

  onEnd(persists: boolean): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    this.onWritable = undefined
    this.#isPaused = false
    this.#stopLending()
    // A service that answers before it has read all of a request will not read a next one.
    this.#isFree = persists && this.#isSent && this.#socket.writableLength === 0
    if (!this.#isFree) this.destroy()
    receiver?.onEnd()
  }

  /** What was lent is the receiver's for good. */
  #stopLending(): void {
    if (this.#buffer === shared) return
    this.#buffer = shared
    lending--
  }

  readonly #letGo = (): void => {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#socket.uncork()
  }

  readonly #onConnect = (): void => {
    this.#isConnected = true
    this.#receiver?.onConnect()
  }

  /** @returns whether to read on */
  readonly #onRead = (count: number, buffer: Uint8Array): boolean => {
    this.#isLending = buffer !== shared
    try {
      if (this.#isHeld) throw new MalformedAnswer('an answer to what was not asked')
      this.#reader.read((buffer as Buffer).subarray(0, count))
    } catch (error) {
      this.#fail(error)
    }
    // Only now: what came behind the answer's end has been found out.
    if (this.#isFree) {
      this.#isFree = false
      this.#pool.keep(this, this.#keepAliveMs)
    }
    return !this.#isPaused
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
    const receiver = this.#receiver
    this.destroy()
    receiver?.onError(
      error instanceof MalformedAnswer
        ? new GatewayError('upstream-unreachable', { reason: error.message })
        : upstreamErrorFrom(error),
    )
  }
}

/** The connections to one service: those that wait for a request, and those that carry one. */
export class ConnectionPool {
  readonly #address: ServiceAddress
  readonly #all = new Set<ServiceConnection>()
  // The last one comes first: what is not needed for a while is let go.
  readonly #idle: ServiceConnection[] = []
  #sweeper: NodeJS.Timeout | undefined

  constructor(address: ServiceAddress) {
    this.#address = address
  }

  /** How many connections there are. */
  get size(): number {
    return this.#all.size
  }

  /** A connection for one request: one that waits, or a new one. Never fails: what goes wrong is told to the receiver. */
  take(): ServiceConnection {
    const waiting = this.#idle.pop()
    if (waiting !== undefined) {
      if (waiting.idleUntil > performance.now()) return waiting
      waiting.destroy()
      return this.take()
    }
    const connection = new ServiceConnection(this, this.#address)
    this.#all.add(connection)
    return connection
  }

  /** Keeps a connection for the next request, unless it has ended meanwhile. */
  keep(connection: ServiceConnection, milliseconds: number): void {
    if (milliseconds <= 0 || !this.#all.has(connection)) {
      connection.destroy()
      return
    }
    connection.idleUntil = performance.now() + milliseconds
    this.#idle.push(connection)
    this.#sweeper ??= setTimeout(this.#sweep, SWEEP_MS).unref()
  }

  /** The connection has ended. */
  forget(connection: ServiceConnection): void {
    if (!this.#all.delete(connection)) return
    const place = this.#idle.indexOf(connection)
    if (place >= 0) this.#idle.splice(place, 1)
  }

  /** Ends every connection. */
  close(): void {
    clearTimeout(this.#sweeper)
    for (const connection of this.#all) connection.destroy()
  }

  readonly #sweep = (): void => {
    const now = performance.now()
    for (const connection of [...this.#idle]) if (connection.idleUntil <= now) connection.destroy()
    this.#sweeper = this.#idle.length > 0 ? setTimeout(this.#sweep, SWEEP_MS).unref() : undefined
  }
}

/** Methods for which a request without a body says so (RFC 9110 section 8.6). */
const ANNOUNCES_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** The head of a request as it goes over the wire. Its parts come from a parser that lets no line end through; checked again. */
function requestText({ method, path, headers, hasBody }: RequestHead, hasLength: boolean): string {
  if (/[^\x21-\x7e\x80-\xff]/.test(path)) throw unwritable('target')
  let text = `${method} ${path} HTTP/1.1\r\n`
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (!isFieldName(name) || !isFieldValue(value)) throw unwritable('field')
    text += `${name}: ${value}\r\n`
  }
  if (!hasLength) {
    if (hasBody) text += 'Transfer-Encoding: chunked\r\n'
    else if (ANNOUNCES_BODY.has(method)) text += 'Content-Length: 0\r\n'
  }
  return `${text}Connection: keep-alive\r\n\r\n`
}

function unwritable(part: string): GatewayError {
  return new GatewayError('internal-error', { reason: `a ${part} that would end its line` })
}

/** How long a connection may wait for its next request, in milliseconds: less than the service says, if it says. */
function keepAliveOf(fields: readonly string[]): number {
  const seconds = /\btimeout=([0-9]{1,6})\b/i.exec(fieldLines(fields, 'keep-alive').join())?.[1]
  if (seconds === undefined) return KEEP_ALIVE_MS
  return Math.min(Number(seconds) * 1000 - KEEP_ALIVE_MARGIN_MS, MAX_KEEP_ALIVE_MS)
}
