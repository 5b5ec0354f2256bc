/** Which connection carries the next request? The idle one that was used last; else a new one. */
import type { ServiceAddress } from '../config/values.ts'
import { ServiceConnection, type ConnectionOwner, type ConnectReceiver } from './connection.ts'

/** How often idle connections are checked, in milliseconds. */
const SWEEP_MS = 500

/** Options of a pool. */
export interface PoolOptions {
  /** Called when the service has sent bytes that belong to no response, with their number. Must not throw. */
  readonly onStrayBytes?: ((count: number) => void) | undefined
}

/** The connections to one service: idle ones, and those that carry a request. */
export class ConnectionPool implements ConnectionOwner {
  /**
   * How many bytes of the service belonged to no response: bytes on an idle connection, behind the end of a response, or before
   * the request had left. They are dropped and their connection is closed, because they could become another user's response.
   */
  strayBytes = 0
  readonly #address: ServiceAddress
  readonly #onStrayBytes: ((count: number) => void) | undefined
  readonly #all = new Set<ServiceConnection>()
  /** A stack: connections that are not needed stay at the bottom until they are closed. */
  readonly #idle: ServiceConnection[] = []
  #sweeper: NodeJS.Timeout | undefined

  constructor(address: ServiceAddress, { onStrayBytes }: PoolOptions = {}) {
    this.#address = address
    this.#onStrayBytes = onStrayBytes
  }

  /** The number of connections. */
  get size(): number {
    return this.#all.size
  }

  /** A connection for one request, idle or new. Never fails: the receiver of the request gets the error. */
  take(): ServiceConnection {
    return this.#takeWaiting() ?? this.dial()
  }

  /** A new connection for one request. Never fails: the receiver of the request gets the error. */
  dial(): ServiceConnection {
    const connection = new ServiceConnection(this, this.#address)
    this.#all.add(connection)
    return connection
  }

  /**
   * Checks that the service takes connections, before a client is told to send its body. An idle connection proves it. Without
   * one, a new connection is opened, and becomes idle. `onConnect` may be called before this returns.
   * @returns the connection that is being opened; undefined when there was an idle one
   */
  reach(receiver: ConnectReceiver): ServiceConnection | undefined {
    const waiting = this.#takeWaiting()
    if (waiting === undefined) {
      const connection = this.dial()
      connection.open(receiver)
      return connection
    }
    this.#idle.push(waiting)
    receiver.onConnect()
    return undefined
  }

  /** Keeps a connection for the next request, unless it is to be closed at once or the pool has forgotten it. */
  keep(connection: ServiceConnection, milliseconds: number): void {
    if (milliseconds <= 0 || !this.#all.has(connection)) {
      connection.destroy()
      return
    }
    connection.idleUntil = performance.now() + milliseconds
    this.#idle.push(connection)
    this.#sweeper ??= setTimeout(this.#sweep, SWEEP_MS).unref()
  }

  /** Forgets a connection that has ended. */
  forget(connection: ServiceConnection): void {
    if (!this.#all.delete(connection)) return
    const place = this.#idle.indexOf(connection)
    if (place >= 0) this.#idle.splice(place, 1)
  }

  noteStrayBytes(count: number): void {
    this.strayBytes += count
    this.#onStrayBytes?.(count)
  }

  /** Closes every connection. */
  close(): void {
    clearTimeout(this.#sweeper)
    for (const connection of this.#all) connection.destroy()
  }

  /** The idle connection that was used last. One that has been idle for too long is closed instead. */
  #takeWaiting(): ServiceConnection | undefined {
    for (;;) {
      const waiting = this.#idle.pop()
      if (waiting === undefined || waiting.idleUntil > performance.now()) return waiting
      waiting.destroy()
    }
  }

  readonly #sweep = (): void => {
    const now = performance.now()
    for (const connection of [...this.#idle]) if (connection.idleUntil <= now) connection.destroy()
    this.#sweeper = this.#idle.length > 0 ? setTimeout(this.#sweep, SWEEP_MS).unref() : undefined
  }
}
