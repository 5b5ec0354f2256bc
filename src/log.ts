/** What is written to the log, and how? pino's options and the fields of the request line. */
import pino, { type DestinationStream, type Logger } from 'pino'
import { codeOf } from './errors.ts'

/** Where log lines go: a file descriptor, a path, or a stream that a test reads. */
export type LogDestination = number | string | DestinationStream

/** The levels at which a request is logged. */
export type RequestLevel = 'info' | 'warn' | 'error'

/** The gateway's log and how to empty its buffer. */
export interface Log {
  readonly logger: Logger
  /**
   * Writes a line as pino would, whose fields are JSON text already: a request has twenty, and pino would look at each.
   * @param fields beginning with a comma
   */
  writeLine(level: RequestLevel, fields: string, message: string): void
  /** Writes what is buffered, as far as the reader takes it; call before the process ends. */
  flush(): Promise<void>
}

/** Characters that are gathered before they are written, and for how long at most (milliseconds). */
const GATHERED_LENGTH = 8192
const GATHERED_MS = 500

/** Bytes that may wait for a reader that does not read; lines past that are dropped, not kept in memory. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024

/** How long the reader of the log is waited for at the end, in milliseconds. */
const FLUSH_MS = 500

/** How many causes of an error are told; one that is its own cause would never end. */
const MAX_CAUSES = 5

/**
 * Opens the log: JSON lines, with the time in ISO 8601. Lines are gathered and written in one go, because a write a
 * request is what a busy proxy spends its time on. A closed pipe is survived.
 */
export function openLog(level: string, destination: LogDestination = 1): Log {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    timestamp: isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: (error: unknown) => describeError(error) },
  }
  if (typeof destination === 'object') {
    const logger = pino(options, destination)
    return { logger, writeLine: lineWriter(logger, destination), async flush() {} }
  }
  const stream = pino.destination({
    dest: destination,
    sync: false,
    minLength: 1, // what is written has been gathered already; with 0, flushing would not wait
    maxLength: MAX_WAITING_BYTES,
    ...(typeof destination === 'string' ? { mode: 0o600, append: true } : {}),
  })
  stream.on('error', () => {
    // The reader of our output went away (EPIPE) or the disk is full: requests go on without a log.
  })
  const lines = new GatheredLines(stream)
  const logger = pino(options, lines)
  process.on('exit', () => {
    lines.hand()
    flushRest(stream)
  })
  return {
    logger,
    writeLine: lineWriter(logger, lines),
    flush() {
      lines.hand()
      const { promise, resolve } = Promise.withResolvers<void>()
      // A reader that has stopped reading must not keep the process from ending: what is left is then lost.
      const timer = setTimeout(resolve, FLUSH_MS)
      stream.flush((error) => {
        clearTimeout(timer)
        if (!error) flushRest(stream)
        resolve()
      })
      return promise
    },
  }
}

/**
 * Lines on their way to the stream, handed over many at a time. The stream would gather them too, but it measures all that
 * it has gathered whenever a line is added.
 */
class GatheredLines implements DestinationStream {
  readonly #stream: DestinationStream
  #lines = ''

  constructor(stream: DestinationStream) {
    this.#stream = stream
    setInterval(() => this.hand(), GATHERED_MS).unref()
  }

  write(line: string): void {
    this.#lines += line
    if (this.#lines.length >= GATHERED_LENGTH) this.hand()
  }

  /** Hands the stream what was gathered. */
  hand(): void {
    if (this.#lines === '') return
    const lines = this.#lines
    this.#lines = ''
    this.#stream.write(lines)
  }
}

function lineWriter(logger: Logger, destination: DestinationStream): Log['writeLine'] {
  const enabled = {
    info: logger.isLevelEnabled('info'),
    warn: logger.isLevelEnabled('warn'),
    error: logger.isLevelEnabled('error'),
  }
  return (level, fields, message) => {
    if (!enabled[level]) return
    destination.write(`{"level":"${level}"${isoTime()}${fields},"msg":"${message}"}\n`)
  }
}

/** Writes what came while an earlier write was under way; the reader is known to be there. */
function flushRest(stream: { flushSync(): void }): void {
  try {
    stream.flushSync()
  } catch {
    // Nothing left to write to.
  }
}

let lastTime = 0
let lastText = ''

/** The time as pino wants it, in ISO 8601; written once a millisecond, which many lines share when it matters. */
function isoTime(): string {
  const now = Date.now()
  if (now !== lastTime) {
    lastTime = now
    lastText = `,"time":"${new Date(now).toISOString()}"`
  }
  return lastText
}

/** An error as a log field, as JSON text that begins with a comma; an empty string when there is none. */
export function errorField(error: unknown): string {
  return error === undefined ? '' : `,"err":${JSON.stringify(describeError(error))}`
}

/** An error as log fields: name, code, message, and the same of its causes. No stack: it names paths and repeats itself. */
function describeError(error: unknown, causes = MAX_CAUSES): unknown {
  if (!(error instanceof Error)) return { message: String(error).slice(0, 500) }
  const code = codeOf(error)
  return {
    name: error.name,
    ...(code === '' ? {} : { code }),
    message: error.message.slice(0, 500),
    ...(error.cause === undefined || causes === 0
      ? {}
      : { cause: describeError(error.cause, causes - 1) }),
  }
}
