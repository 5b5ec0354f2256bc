/** What is written to the log, and how? pino's options and the fields of the request line. */
import { openSync } from 'node:fs'
import pino, { type DestinationStream, type Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import { LineOutput } from './line-output.ts'

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
  /** Writes what is buffered, as far as the reader takes it in a moment; call before the process ends. */
  flush(): Promise<void>
}

/** How many causes of an error are told; one that is its own cause would never end. */
const MAX_CAUSES = 5

/** Opens the log: JSON lines, with the time in ISO 8601. Whoever reads them holds nothing up (line-output.ts). */
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
  const lines = new LineOutput(
    typeof destination === 'string' ? openSync(destination, 'a', 0o600) : destination,
    (lost) => `{"level":"warn"${isoTime()},"lines":${lost},"msg":"log lines lost"}\n`,
  )
  process.on('exit', () => lines.flushSync())
  const logger = pino(options, lines) // after a fatal line pino calls flushSync by itself
  return { logger, writeLine: lineWriter(logger, lines), flush: () => lines.flush() }
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
