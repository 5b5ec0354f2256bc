/** How is the network cut in a test? A relay of bytes stands in the connection, and ends or freezes pairs of sockets on request. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type ListenOptions, type Socket } from 'node:net'
import type { NetConnectOpts } from 'node:net'
import { resetConnection } from '../../src/http/reset.ts'

/** A connection that can be cut. */
export interface Cuttable {
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>
  /** The port that it listens on; 0 for a Unix socket. */
  readonly port: number
  /** Ends all connections at once, as a lost network does: with RST where TCP has one. @returns how many there were */
  cut(): number
  /**
   * Forwards nothing more on the connections that have become WebSockets, and does not end them, as when a train enters a tunnel.
   * Neither side hears of it, nor of the end of the other one. New connections are relayed. @returns how many there were
   */
  freeze(): number
  /** Forwards what is asked and no answers any more, on present connections. */
  withhold(): void
  /** Refuses new connections, or accepts them again. Present ones are cut. */
  down(isDown: boolean): void
}

/**
 * Starts a relay.
 * @param listen where
 * @param target to which address each new connection goes
 */
export async function startCuttable(
  listen: ListenOptions,
  target: () => NetConnectOpts,
): Promise<Cuttable> {
  const pairs = new Set<Pair>()
  let isDown = false
  const server = createServer({ noDelay: true }, (near) => {
    near.on('error', () => near.destroy())
    if (isDown) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...target(), noDelay: true } as NetConnectOpts)
    const pair: Pair = { near, far, isWebSocket: false, isFrozen: false }
    pairs.add(pair)
    near.pipe(far)
    far.pipe(near)
    far.on('data', (bytes: Buffer) => {
      pair.isWebSocket ||= bytes.subarray(0, SWITCHING.length).equals(SWITCHING)
    })
    far.on('error', () => far.destroy())
    near.on('close', () => {
      if (!pair.isFrozen) far.destroy()
    })
    far.on('close', () => {
      if (pair.isFrozen) return
      near.destroy()
      pairs.delete(pair)
    })
  })
  const cut = () => {
    const ended = pairs.size
    for (const pair of pairs) {
      if (pair.isFrozen) pairs.delete(pair)
      resetConnection(pair.near)
      resetConnection(pair.far)
    }
    return ended
  }
  server.listen(listen)
  await once(server, 'listening')
  return {
    port: typeof listen.path === 'string' ? 0 : (server.address() as AddressInfo).port,
    cut,
    freeze() {
      const lines = [...pairs].filter(({ isWebSocket, isFrozen }) => isWebSocket && !isFrozen)
      for (const pair of lines) {
        pair.isFrozen = true
        pair.near.unpipe(pair.far).pause()
        pair.far.unpipe(pair.near).pause()
      }
      return lines.length
    },
    withhold() {
      for (const { near, far } of pairs) far.unpipe(near).resume()
    },
    down(yes) {
      isDown = yes
      if (yes) cut()
    },
    async stop() {
      cut()
      server.close()
      await once(server, 'close')
      if (typeof listen.path === 'string') rmSync(listen.path, { force: true })
    },
  }
}

/** How a service begins its answer to a handshake that it accepts (RFC 6455 section 1.3). */
const SWITCHING = Buffer.from('HTTP/1.1 101')

/** The two sockets of a connection. */
interface Pair {
  readonly near: Socket
  readonly far: Socket
  isWebSocket: boolean
  isFrozen: boolean
}
