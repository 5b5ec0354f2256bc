/** How is the log written? As JSON lines by pino; the line of a request is made by hand and written beside it. */
import { openSync } from 'node:fs'
import pino, { type DestinationStream, type Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import { LineOutput } from './line-output.ts'

/** Where log lines are written: a file descriptor, a path, or a stream that a test reads. */
export type LogDestination = number | string | DestinationStream

/** The levels at which a request is logged. */
export type RequestLevel = 'info' | 'warn' | 'error'

/** The log of the gateway. */
export interface Log {
  readonly logger: Logger
  /**
   * Writes a line as pino would, with fields that are JSON text already, because pino would examine each of the twenty
   * fields of a request.
   * @param fields JSON text that begins with a comma
   */
  writeLine(level: RequestLevel, fields: string, message: string): void
  /** Writes the buffered lines, or as many as the reader accepts in half a second. Call it before the process ends. */
  flush(): Promise<void>
}

/** The number of causes of an error that are logged, because a chain of causes may be circular. */
const MAX_CAUSES = 5

/** Opens the log: JSON lines with the time in ISO 8601. A reader that stops reading blocks nothing (line-output.ts). */
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
  const logger = pino(options, lines) // pino calls `flushSync` after a fatal line
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

/** The time as a JSON field in ISO 8601, as pino expects it; cached for a millisecond, which many lines share under load. */
function isoTime(): string {
  const now = Date.now()
  if (now !== lastTime) {
    lastTime = now
    lastText = `,"time":"${new Date(now).toISOString()}"`
  }
  return lastText
}

/** An error as a log field: JSON text that begins with a comma, or an empty string without an error. */
export function errorField(error: unknown): string {
  return error === undefined ? '' : `,"err":${JSON.stringify(describeError(error))}`
}

/** The name, code and message of an error and its causes. No stack, because it names paths and repeats the message. */
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
