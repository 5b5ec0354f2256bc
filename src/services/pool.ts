/** Which connections to a service are there, and which of them may carry the next request? */
import type { ServiceAddress } from '../config/values.ts'
import { ServiceConnection, type ConnectionOwner, type ConnectReceiver } from './connection.ts'

/** How often connections that wait for a request are looked through, in milliseconds. */
const SWEEP_MS = 500

/** What a pool may be told to do besides. */
export interface PoolOptions {
  /** Called when the service sent bytes that belong to no response, with their number. Must not throw. */
  readonly onStrayBytes?: ((count: number) => void) | undefined
}

/** The connections to one service: those that wait for a request, and those that carry one. */
export class ConnectionPool implements ConnectionOwner {
  /**
   * Bytes of the service that belonged to no response: on a connection without a request, behind the end of a response, or
   * before the request had left. Nobody gets them, and the connection is closed: they could become another's response.
   */
  strayBytes = 0
  readonly #address: ServiceAddress
  readonly #onStrayBytes: ((count: number) => void) | undefined
  readonly #all = new Set<ServiceConnection>()
  // The last one comes first: what is not needed for a while is let go.
  readonly #idle: ServiceConnection[] = []
  #sweeper: NodeJS.Timeout | undefined

  constructor(address: ServiceAddress, { onStrayBytes }: PoolOptions = {}) {
    this.#address = address
    this.#onStrayBytes = onStrayBytes
  }

  /** How many connections there are. */
  get size(): number {
    return this.#all.size
  }

  /** A connection for one request: one that waits, or a new one. Never fails: what goes wrong is told to the receiver. */
  take(): ServiceConnection {
    return this.#takeWaiting() ?? this.dial()
  }

  /** A new connection for one request. Never fails either. */
  dial(): ServiceConnection {
    const connection = new ServiceConnection(this, this.#address)
    this.#all.add(connection)
    return connection
  }

  /**
   * Finds out whether the service takes connections, before somebody is asked for a body. A connection that waits proves it;
   * without one, a new one is made, and waits then. `onConnect` may be called before this returns.
   * @returns the connection that is being made; undefined when one was waiting
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

  noteStrayBytes(count: number): void {
    this.strayBytes += count
    this.#onStrayBytes?.(count)
  }

  /** Ends every connection. */
  close(): void {
    clearTimeout(this.#sweeper)
    for (const connection of this.#all) connection.destroy()
  }

  /** The connection that has waited for the shortest time, unless it should have been let go meanwhile. */
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
