/**
 * Which service sends bytes that belong to no response? A log line names the service and the number of bytes, at most once a
 * minute for each service. src/services/answer-reader.ts notices such bytes, and src/services/pool.ts counts them for
 * `gateway_stray_bytes_total`.
 */
import type { Logger } from 'pino'

/** How long the next line about the same service waits, in milliseconds: what a service does constantly fills no log. */
const INTERVAL_MS = 60_000

/** What has not been logged yet of one service. */
interface Unlogged {
  bytes: number
  /** Connections that were closed because of these bytes. */
  connections: number
  readonly timer: NodeJS.Timeout
}

/**
 * Logs bytes of services that belong to no response: the first at once, further ones of the next minute together at its end.
 * The bytes themselves are in no line, because they may be anybody's response.
 */
export class StrayBytesLog {
  readonly #logger: Pick<Logger, 'warn'>
  readonly #intervalMs: number
  /** The services that have had a line within the last minute. */
  readonly #recent = new Map<string, Unlogged>()

  constructor(logger: Pick<Logger, 'warn'>, intervalMs = INTERVAL_MS) {
    this.#logger = logger
    this.#intervalMs = intervalMs
  }

  /** A service has sent so many bytes that belong to no response, and its connection was closed. */
  note(service: string, bytes: number): void {
    const recent = this.#recent.get(service)
    if (recent === undefined) {
      this.#log(service, bytes, 1)
      return
    }
    recent.bytes += bytes
    recent.connections++
  }

  /** Logs what has not been logged yet, and stops waiting. */
  close(): void {
    // A service that gets a line here is in the map anew, and the loop comes to it again: then its timer is stopped as well.
    for (const [service, { timer }] of this.#recent) {
      clearTimeout(timer)
      this.#logRest(service)
    }
  }

  #logRest(service: string): void {
    const rest = this.#recent.get(service)
    this.#recent.delete(service)
    if (rest !== undefined && rest.connections > 0) this.#log(service, rest.bytes, rest.connections)
  }

  /** Writes a line; the next one about this service comes after the interval. */
  #log(service: string, bytes: number, connections: number): void {
    this.#logger.warn(
      { service, bytes, connections },
      'a service sent bytes that belong to no response',
    )
    const timer = setTimeout(() => this.#logRest(service), this.#intervalMs).unref()
    this.#recent.set(service, { bytes: 0, connections: 0, timer })
  }
}
