/** What does a service answer? The bytes of its connection, read as RFC 9112 has them; refused rather than repaired. */
import { isFieldName, isFieldValue, trimOws } from '../http/fields.ts'
import { Remembered } from '../limits/memo.ts'

/** The longest head of an answer, and the longest trailer section behind a body, in bytes. */
export const MAX_HEAD_BYTES = 64 * 1024

/** The longest line that tells the size of a chunk, extensions included, in bytes. */
const MAX_SIZE_LINE_BYTES = 1024

/**
 * The limit for the heads of all informational answers (1xx) to one request together, in bytes. Bounded by bytes, not by
 * number: a service that works for hours may send `102 Processing` every few seconds.
 */
export const MAX_INFORMATIONAL_BYTES = 256 * 1024

/** An answer that is no HTTP/1.1. Its message tells what is wrong with it, and quotes nothing of it. */
export class MalformedAnswer extends Error {}

/** Bytes that belong to no response. */
export class StrayBytes extends MalformedAnswer {
  /** How many there are in this read. */
  readonly count: number

  constructor(message: string, count: number) {
    super(message)
    this.count = count
  }
}

/** Who is told what a service answers, in this order: informational answers, the head, pieces of the body, the end. */
export interface AnswerSink {
  /** An informational answer (RFC 9110 section 15.2) other than 100, which answers nothing here: `Expect` is not forwarded. */
  onInformational(status: number, fields: string[]): void
  /**
   * @param fields name and value in turn, as the service spelled them, one character a byte
   * @param length of the body in bytes; undefined when only its end will tell
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
 * Reads one answer after the other from a connection's bytes, however they are cut. What is ambiguous is an error, for the
 * next answer on the connection would begin where somebody else thinks it does: a length beside a transfer coding, two
 * lengths, a line end without CR, a folded line, white space before a colon, a coding that is not plain `chunked`.
 */
export class AnswerReader {
  readonly #sink: AnswerSink
  #state: State = 'over'
  #isHead = false
  #informationalBytes = 0
  #persists = false
  /** Bytes of the body, or of its chunk, that are still to come. */
  #left = 0
  /** The beginning of a head, a line or a trailer section whose end is still to come. */
  #begun: Buffer = NOTHING
  /** How much of the trailer section was read. */
  #trailerBytes = 0

  constructor(sink: AnswerSink) {
    this.#sink = sink
  }

  /** Prepares for the next answer. @param isHead whether it answers a HEAD, and so has no body whatever its fields say */
  expect(isHead: boolean): void {
    this.#state = 'head'
    this.#isHead = isHead
    this.#informationalBytes = 0
  }

  /**
   * @param bytes what came; views of it are handed on, and none is kept
   * @throws {MalformedAnswer} the connection is of no further use
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

  /** The service has closed its side. @throws {MalformedAnswer} in the middle of an answer */
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
    // The end may lie across the border of two reads.
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
    // RFC 9112 section 6.3: these have no body, whatever their fields say.
    if (this.#isHead || status === 204 || status === 304) {
      this.#sink.onHead(status, fields, 0)
      // A sender that announces a body all the same may send it, when the next answer is awaited. A 304 often has a length.
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

  /** Only an empty line has two bytes: a chunk that is longer than its size is a line that is too long. */
  #readChunkEnd(bytes: Buffer, start: number): number {
    const [line, next] = this.#readLine(bytes, start, 2)
    if (line !== undefined) this.#state = 'chunk-size'
    return next
  }

  /** Trailers are read and dropped (RFC 9110 section 6.5.1): a policy for fields is a policy for heads. */
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

  /** One line without its end, or undefined until its end has come; and where to read on. */
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

/** Refuses at once what can no longer become a head: its sender may wait for ever. */
function checkBeginning(head: Buffer, from: number): void {
  const start = head.toString('latin1', from, Math.min(head.length, from + 9))
  if (!('HTTP/1.1 '.startsWith(start) || 'HTTP/1.0 '.startsWith(start)))
    throw new MalformedAnswer('no HTTP/1.1')
  for (let lf = head.indexOf(LF, from); lf !== -1; lf = head.indexOf(LF, lf + 1))
    if (head[lf - 1] !== CR) throw new MalformedAnswer('a line end without CR')
}

/** Where a line ends: at its CR, or with the text. */
function endOfLine(text: string, start: number): number {
  const end = text.indexOf('\r\n', start)
  return end === -1 ? text.length : end
}

function parseStatusLine(line: string): [version: 0 | 1, status: number] {
  const match = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/.exec(line)
  if (match === null) throw new MalformedAnswer('a status line that is none')
  return [match[1] === '1' ? 1 : 0, Number(match[2])]
}

/** The fields behind the status line. @param at where the status line ends */
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

/** Where the body ends (RFC 9112 section 6.3), and whether the connection may go on behind it (section 9.3). */
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
 * RFC 9112 section 7.1: hexadecimal, then extensions, which are ignored but must not be anything at all. Leading zeros are
 * legal and bounded by the length of the line; 13 digits behind them are less than 2^53.
 */
function parseChunkSize(line: string): number {
  const digits = /^0*([0-9A-Fa-f]{1,13})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/.exec(line)?.[1]
  if (digits === undefined) throw new MalformedAnswer('a chunk size that is no number')
  return Number.parseInt(digits, 16)
}
