/** Which responses are in the bytes of a service's connection? RFC 9112 decides; ambiguous bytes are refused, not repaired. */
import { isFieldName, isFieldValue, trimOws } from '../http/fields.ts'
import { Remembered } from '../limits/memo.ts'

/** The limit for the head of a response, and for the trailer section behind a body, in bytes. */
export const MAX_HEAD_BYTES = 64 * 1024

/** The limit for a line with the size of a chunk, extensions included, in bytes. */
const MAX_SIZE_LINE_BYTES = 1024

/**
 * The limit for the heads of all informational responses (1xx) to one request together, in bytes. Bytes are limited, not the
 * number, because a service that works for hours may send `102 Processing` every few seconds.
 */
export const MAX_INFORMATIONAL_BYTES = 256 * 1024

/** A response that is not HTTP/1.1. The message says what is wrong, and quotes no byte of the response. */
export class MalformedAnswer extends Error {}

/** Bytes that belong to no response: behind the end of one, or while none is expected. pool.ts counts them. */
export class StrayBytes extends MalformedAnswer {
  /** The number of these bytes in this read. */
  readonly count: number

  constructor(message: string, count: number) {
    super(message)
    this.count = count
  }
}

/** Callbacks for the parts of a response, in this order: informational responses, the head, pieces of the body, the end. */
export interface AnswerSink {
  /** An informational response (RFC 9110 section 15.2) other than 100, which means nothing here: `Expect` is not forwarded. */
  onInformational(status: number, fields: string[]): void
  /**
   * @param fields name and value in turn, as the service spelled them, one character a byte
   * @param length the length of the body in bytes; undefined when it is not known in advance
   */
  onHead(status: number, fields: string[], length: number | undefined): void
  /** @param piece a view of the bytes that were given to `read` */
  onBody(piece: Buffer): void
  /** @param persists whether the connection may carry another request */
  onEnd(persists: boolean): void
}

type State =
  | 'head'
  | 'counted'
  | 'chunk-size'
  | 'chunk'
  | 'chunk-end'
  | 'trailers'
  | 'until-close'
  | 'over'

const CR = 0x0d
const LF = 0x0a
const NOTHING = Buffer.alloc(0)

/**
 * Reads one response after the other from a connection's bytes, however TCP cut them. Ambiguous framing is an error, because
 * another parser might see the next response begin elsewhere: a length beside a transfer coding, two lengths, a line end
 * without CR, a folded line, white space before a colon, a coding that is not plain `chunked`.
 */
export class AnswerReader {
  readonly #sink: AnswerSink
  #state: State = 'over'
  #isHead = false
  #informationalBytes = 0
  #persists = false
  /** The number of bytes of the body, or of its chunk, that are still to come. */
  #left = 0
  /** The bytes of a head, or of a line, whose end is still to come. */
  #begun: Buffer = NOTHING
  /** How many bytes of the trailer section were read. */
  #trailerBytes = 0

  constructor(sink: AnswerSink) {
    this.#sink = sink
  }

  /** Expects the next response. @param isHead whether it is the response to a HEAD, which has no body whatever its fields say */
  expect(isHead: boolean): void {
    this.#state = 'head'
    this.#isHead = isHead
    this.#informationalBytes = 0
  }

  /**
   * Reads bytes of the connection.
   * @param bytes the sink gets views of it; the reader keeps none
   * @throws {MalformedAnswer} the connection must not be used any more
   */
  read(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      switch (this.#state) {
        case 'head':
          at = this.#readHead(bytes, at)
          break
        case 'counted':
        case 'chunk':
          at = this.#readCounted(bytes, at)
          break
        case 'chunk-size':
          at = this.#readSizeLine(bytes, at)
          break
        case 'chunk-end':
          at = this.#readChunkEnd(bytes, at)
          break
        case 'trailers':
          at = this.#readTrailerLine(bytes, at)
          break
        case 'until-close':
          this.#sink.onBody(at === 0 ? bytes : bytes.subarray(at))
          return
        case 'over':
          throw new StrayBytes('bytes that belong to no answer', bytes.length - at)
      }
    }
  }

  /** Takes note that the service has closed its side. @throws {MalformedAnswer} in the middle of a response */
  close(): void {
    if (this.#state === 'over') return
    if (this.#state !== 'until-close')
      throw new MalformedAnswer(
        this.#state === 'head' && this.#begun.length === 0
          ? 'closed without an answer'
          : 'closed before the end of its answer',
      )
    this.#end(false)
  }

  #readHead(bytes: Buffer, start: number): number {
    // The empty line that ends the head may be cut between two reads, so the bytes are joined before it is searched for.
    const kept = this.#begun
    const head = kept.length === 0 ? bytes : Buffer.concat([kept, bytes.subarray(start)])
    const from = kept.length === 0 ? start : 0
    const end = head.indexOf('\r\n\r\n', from, 'latin1')
    if (end - from > MAX_HEAD_BYTES || (end === -1 && head.length - from > MAX_HEAD_BYTES))
      throw new MalformedAnswer('a head that is too long')
    if (end === -1) {
      checkBeginning(head, from)
      this.#begun = kept.length === 0 ? Buffer.from(head.subarray(from)) : head
      return bytes.length
    }
    this.#begun = NOTHING
    const next = kept.length === 0 ? end + 4 : start + end + 4 - kept.length
    this.#takeHead(head.toString('latin1', from, end))
    return next
  }

  #takeHead(text: string): void {
    const statusEnd = endOfLine(text, 0)
    const [version, status] = parseStatusLine(text.slice(0, statusEnd))
    const fields = parseFields(text, statusEnd)
    if (status < 200) {
      if (status === 101) throw new MalformedAnswer('a switch of protocols that nobody asked for')
      this.#informationalBytes += text.length + 4
      if (this.#informationalBytes > MAX_INFORMATIONAL_BYTES)
        throw new MalformedAnswer('too much of informational answers')
      if (status !== 100) this.#sink.onInformational(status, fields)
      return
    }
    const framing = framingOf(fields, version)
    const { length } = framing
    this.#persists = framing.persists
    // RFC 9112 section 6.3: responses to HEAD, 204 and 304 have no body, whatever their fields say.
    if (this.#isHead || status === 204 || status === 304) {
      this.#sink.onHead(status, fields, 0)
      // A service that announces a body on a HEAD or 204 response may also send it. Those bytes would be read as the next
      // response, so the connection is not reused. (304 legitimately carries a length.)
      const mayFollow = status !== 304 && (framing.isChunked || (length ?? 0) > 0)
      this.#end(this.#persists && !mayFollow)
      return
    }
    if (length !== undefined) {
      this.#left = length
      this.#state = 'counted'
    } else {
      this.#state = framing.isChunked ? 'chunk-size' : 'until-close'
    }
    this.#sink.onHead(status, fields, length)
    if (length === 0) this.#end(this.#persists)
  }

  #readCounted(bytes: Buffer, start: number): number {
    const end = Math.min(bytes.length, start + this.#left)
    this.#left -= end - start
    const isOver = this.#left === 0
    const isChunk = this.#state === 'chunk'
    if (isOver && isChunk) this.#state = 'chunk-end'
    this.#sink.onBody(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end))
    if (isOver && !isChunk) this.#end(this.#persists)
    return end
  }

  #readSizeLine(bytes: Buffer, start: number): number {
    const [line, next] = this.#readLine(bytes, start, MAX_SIZE_LINE_BYTES)
    if (line === undefined) return next
    this.#left = parseChunkSize(line)
    this.#trailerBytes = 0
    this.#state = this.#left === 0 ? 'trailers' : 'chunk'
    return next
  }

  /** Reads the line end behind a chunk. A chunk that is longer than its size makes a line of more than two bytes: an error. */
  #readChunkEnd(bytes: Buffer, start: number): number {
    const [line, next] = this.#readLine(bytes, start, 2)
    if (line !== undefined) this.#state = 'chunk-size'
    return next
  }

  /** Checks and drops a trailer (RFC 9110 section 6.5.1), because the rules for fields are applied to heads only. */
  #readTrailerLine(bytes: Buffer, start: number): number {
    const [line, next] = this.#readLine(bytes, start, MAX_HEAD_BYTES - this.#trailerBytes)
    if (line === undefined) return next
    if (line === '') {
      this.#end(this.#persists)
      return next
    }
    this.#trailerBytes += line.length + 2
    parseFieldLine(line)
    return next
  }

  /** One line without its end, or undefined until its end has come; and the offset of the next byte to read. */
  #readLine(bytes: Buffer, start: number, limit: number): [line: string | undefined, next: number] {
    const end = bytes.indexOf(LF, start)
    const kept = this.#begun
    const stop = end === -1 ? bytes.length : end + 1
    if (kept.length + stop - start > limit) throw new MalformedAnswer('a line that is too long')
    const piece = bytes.subarray(start, stop)
    const line = kept.length === 0 ? piece : Buffer.concat([kept, piece])
    if (end === -1) {
      this.#begun = kept.length === 0 ? Buffer.from(piece) : line
      return [undefined, stop]
    }
    this.#begun = NOTHING
    if (line[line.length - 2] !== CR) throw new MalformedAnswer('a line end without CR')
    return [line.toString('latin1', 0, line.length - 2), stop]
  }

  #end(persists: boolean): void {
    this.#state = 'over'
    this.#sink.onEnd(persists)
  }
}

/** Refuses an incomplete head as soon as it cannot become valid, because the service may never send the rest. */
function checkBeginning(head: Buffer, from: number): void {
  const start = head.toString('latin1', from, Math.min(head.length, from + 9))
  if (!('HTTP/1.1 '.startsWith(start) || 'HTTP/1.0 '.startsWith(start)))
    throw new MalformedAnswer('no HTTP/1.1')
  for (let lf = head.indexOf(LF, from); lf !== -1; lf = head.indexOf(LF, lf + 1))
    if (head[lf - 1] !== CR) throw new MalformedAnswer('a line end without CR')
}

/** The offset of a line's end: its CR, or the end of the text. */
function endOfLine(text: string, start: number): number {
  const end = text.indexOf('\r\n', start)
  return end === -1 ? text.length : end
}

function parseStatusLine(line: string): [version: 0 | 1, status: number] {
  const match = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/.exec(line)
  if (match === null) throw new MalformedAnswer('a status line that is none')
  return [match[1] === '1' ? 1 : 0, Number(match[2])]
}

/** The fields behind the status line. @param at the offset of the status line's end */
function parseFields(text: string, at: number): string[] {
  const fields: string[] = []
  while (at < text.length) {
    const start = at + 2
    at = endOfLine(text, start)
    const colon = text.indexOf(':', start)
    if (colon === -1 || colon > at) throw new MalformedAnswer('a field without a colon')
    const name = text.slice(start, colon)
    if (!fieldNames.of(name)) throw new MalformedAnswer('a field name with other characters')
    fields.push(name, parseFieldValue(text.slice(colon + 1, at)))
  }
  return fields
}

/** Checks a line of a trailer section. */
function parseFieldLine(line: string): void {
  parseFields(`\r\n${line}`, 0)
}

const fieldNames = new Remembered(isFieldName)

function parseFieldValue(text: string): string {
  const value = trimOws(text)
  if (!isFieldValue(value)) throw new MalformedAnswer('a field value with control characters')
  return value
}

interface Framing {
  readonly length: number | undefined
  readonly isChunked: boolean
  readonly persists: boolean
}

/** The framing of the body (RFC 9112 section 6.3), and whether the connection persists after it (section 9.3). */
function framingOf(fields: readonly string[], version: 0 | 1): Framing {
  let length: number | undefined
  let coding: string | undefined
  let connection = ''
  for (let i = 0; i < fields.length; i += 2) {
    const value = fields[i + 1] ?? ''
    switch (framingFields.of(fields[i] ?? '')) {
      case 'content-length':
        if (length !== undefined) throw new MalformedAnswer('two lengths')
        length = parseLength(value)
        break
      case 'transfer-encoding':
        if (coding !== undefined) throw new MalformedAnswer('two transfer codings')
        coding = value.toLowerCase()
        break
      case 'connection':
        connection += `,${value.toLowerCase()}`
        break
      case 'other':
        break
    }
  }
  if (coding !== undefined) {
    if (length !== undefined) throw new MalformedAnswer('a length and a transfer coding')
    if (coding !== 'chunked') throw new MalformedAnswer('a transfer coding that is not chunked')
    if (version === 0) throw new MalformedAnswer('a transfer coding in HTTP/1.0')
  }
  const saysClose = /,\s*close\s*(?:,|$)/.test(connection)
  return {
    length,
    isChunked: coding !== undefined,
    persists: !saysClose && (version === 1 || /,\s*keep-alive\s*(?:,|$)/.test(connection)),
  }
}

const framingFields = new Remembered((name) => {
  const lower = name.toLowerCase()
  return lower === 'content-length' || lower === 'transfer-encoding' || lower === 'connection'
    ? lower
    : 'other'
})

function parseLength(value: string): number {
  const length = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN
  if (!Number.isSafeInteger(length)) throw new MalformedAnswer('a length that is no number')
  return length
}

/**
 * Parses the size of a chunk (RFC 9112 section 7.1): hexadecimal, then extensions, whose characters are checked and whose
 * meaning is ignored. Leading zeros are legal and bounded by the length of the line; 13 digits behind them are less than 2^53.
 */
function parseChunkSize(line: string): number {
  const digits = /^0*([0-9A-Fa-f]{1,13})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(line)?.[1]
  if (digits === undefined) throw new MalformedAnswer('a chunk size that is no number')
  return Number.parseInt(digits, 16)
}
