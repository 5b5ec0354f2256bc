/** How does a device send a request to the workspace? One stream carries one request and its answer, in HTTP/1.1. */
import { concat, utf8, type Bytes } from '../protocol/bytes.ts'
import type { Stream, StreamEvents } from '../protocol/streams.ts'
import type { ClientClock } from './clock.ts'
import { Gathered } from './gathered.ts'
import { bodyLength, readHead, requestHead, type AnswerHead, type Fields } from './http-head.ts'
import { RemoteError } from './remote-error.ts'
import { StreamReader } from './stream-reader.ts'

/** A request of a device. */
export interface RemoteRequest {
  /** Default: GET. */
  readonly method?: string | undefined
  /** The path with its query, percent-encoded, from `/` on. */
  readonly path: string
  readonly headers?: Fields | undefined
  /** Text is sent in UTF-8. */
  readonly body?: Uint8Array | string | undefined
  /** Breaks the request off, also while its answer is read. */
  readonly signal?: AbortSignal | undefined
}

/** An answer of the workspace. */
export interface RemoteAnswer {
  readonly status: number
  readonly headers: Headers
  /** The body as it comes. Whoever does not read it to its end cancels it. */
  readonly body: ReadableStream<Bytes>
  /** The whole body. @param max in bytes; default 1 MiB @throws {RemoteError} `bad-answer` for a longer one; `cut` */
  bytes(max?: number): Promise<Bytes>
  /** The whole body as UTF-8, with U+FFFD for what is none. @throws as `bytes` */
  text(max?: number): Promise<string>
}

/** Opens a stream of the channel. @throws {RemoteError} `not-open` */
type OpenStream = (events: StreamEvents) => Stream

/** Where a request goes, and by what. */
export interface Way {
  readonly open: OpenStream
  /** The workspace's host, for `Host`. */
  readonly host: string
  readonly clock: ClientClock
}

const DEFAULT_MAX_BYTES = 1024 * 1024

/** How long the other party may leave a stream open after its answer was read, in milliseconds. */
const LINGER_MS = 5000

/** The longest line with the size of a chunk, in bytes. */
const MAX_CHUNK_LINE = 256

/** Bytes of all trailers. */
const MAX_TRAILER_BYTES = 8192

/** Sends a request. Resolves when the head of its answer is there. @throws {RemoteError} */
export async function sendRequest(way: Way, request: RemoteRequest): Promise<RemoteAnswer> {
  const { method = 'GET', path, headers = {}, signal } = request
  const body = typeof request.body === 'string' ? utf8(request.body) : request.body
  const head = requestHead(method, path, headers, [
    ['Host', way.host],
    ['Connection', 'close'],
    ...(body === undefined ? [] : [['Content-Length', String(body.length)] as const]),
  ])
  const exchange = beginExchange(way, signal)
  try {
    // Not awaited: a server may answer before it has read the body.
    void exchange.stream.write(body === undefined ? head : concat(head, body))
    const answer = await readHead(exchange.reader)
    if (answer.status === 101)
      throw new RemoteError('bad-answer', 'the answer changes the protocol')
    return answerOf(method, answer, exchange)
  } catch (error) {
    throw exchange.fail(error)
  }
}

/** A stream with a reader, which the caller's signal breaks off. */
export interface Exchange {
  readonly stream: Stream
  readonly reader: StreamReader
  /** Ends the exchange as it should. */
  finish(): void
  /** Breaks the exchange off. @returns what to throw: the error, or that the caller has given up */
  fail(error: unknown): unknown
}

/** Opens a stream for one exchange. @throws {RemoteError} `not-open`, `aborted` */
export function beginExchange({ open, clock }: Way, signal: AbortSignal | undefined): Exchange {
  const aborted = () => new RemoteError('aborted', 'the request was given up')
  if (signal?.aborted === true) throw aborted()
  const reader = new StreamReader()
  let isOver = false
  let forget = () => {}
  const stream = open({
    onData: (bytes) => reader.onData(bytes),
    onEnd: () => reader.onEnd(),
    onClose(wasReset) {
      isOver = true
      forget()
      reader.onClose(wasReset)
    },
  })
  reader.attach(stream)
  const abort = () => stream.reset()
  signal?.addEventListener('abort', abort)
  forget = () => signal?.removeEventListener('abort', abort)
  return {
    stream,
    reader,
    finish() {
      if (isOver) return
      stream.end()
      // It may be over by that.
      if (isOver) return
      const cancel = clock.after(LINGER_MS, () => stream.reset())
      const rest = forget
      forget = () => {
        rest()
        cancel()
      }
      if (!reader.isAtEnd) void expectEnd(reader, stream)
    },
    fail(error) {
      stream.reset()
      return signal?.aborted === true ? aborted() : error
    },
  }
}

/** Reads on after the end of an answer, where nothing may come. */
async function expectEnd(reader: StreamReader, stream: Stream): Promise<void> {
  const more = await reader.read().catch(() => undefined)
  if (more !== undefined) stream.reset()
}

function answerOf(method: string, head: AnswerHead, exchange: Exchange): RemoteAnswer {
  const pieces = bodyPieces(method, head, exchange.reader)
  const body = new ReadableStream<Bytes>(
    {
      async pull(controller) {
        try {
          const { done, value } = await pieces.next()
          if (done !== true) {
            controller.enqueue(value)
            return
          }
          exchange.finish()
          controller.close()
        } catch (error) {
          controller.error(exchange.fail(error))
        }
      },
      cancel: () => exchange.stream.reset(),
    },
    { highWaterMark: 0 },
  )
  const bytes = async (max = DEFAULT_MAX_BYTES): Promise<Bytes> => readAll(body, max)
  const text = async (max?: number): Promise<string> => new TextDecoder().decode(await bytes(max))
  return { status: head.status, headers: head.headers, body, bytes, text }
}

async function readAll(body: ReadableStream<Bytes>, max: number): Promise<Bytes> {
  const reader = body.getReader()
  const gathered = new Gathered()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return gathered.take()
    if (gathered.length + value.length > max) {
      await reader.cancel()
      throw new RemoteError('bad-answer', 'the answer is too long')
    }
    gathered.add(value)
  }
}

/** The body of an answer, without its framing. */
async function* bodyPieces(
  method: string,
  head: AnswerHead,
  reader: StreamReader,
): AsyncGenerator<Bytes, void> {
  const length = bodyLength(method, head)
  if ('bytes' in length) yield* piecesOf(reader, length.bytes)
  else if (length.kind === 'chunked') yield* chunks(reader)
  else
    for (let piece = await reader.read(); piece !== undefined; piece = await reader.read())
      yield piece
}

async function* piecesOf(reader: StreamReader, length: number): AsyncGenerator<Bytes, void> {
  for (let left = length; left > 0;) {
    const piece = await reader.upTo(left)
    if (piece === undefined) throw new RemoteError('bad-answer', 'the answer is cut off')
    left -= piece.length
    yield piece
  }
}

/** RFC 9112 section 7.1. Extensions and trailers are passed over. */
async function* chunks(reader: StreamReader): AsyncGenerator<Bytes, void> {
  for (;;) {
    const size = /^([0-9A-Fa-f]{1,8})[\t ]*(?:;.*)?$/.exec(await reader.line(MAX_CHUNK_LINE))?.[1]
    if (size === undefined) throw new RemoteError('bad-answer', 'a chunk has no size')
    const length = Number.parseInt(size, 16)
    if (length === 0) break
    yield* piecesOf(reader, length)
    if ((await reader.line(0)) !== '') throw new RemoteError('bad-answer', 'a chunk has no end')
  }
  let left = MAX_TRAILER_BYTES
  for (let line = await reader.line(left); line !== ''; line = await reader.line(left))
    left -= line.length
}
