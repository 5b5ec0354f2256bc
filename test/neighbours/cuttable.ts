/** How is the network cut in a test? A relay of bytes stands in the connection, and ends every pair of sockets on request. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type ListenOptions, type Socket } from 'node:net'
import type { NetConnectOpts } from 'node:net'
import type { Started } from './neighbour.ts'

/** A connection that can be cut. */
export interface Cuttable extends Started {
  /** The port that it listens on; 0 for a Unix socket. */
  readonly port: number
  /** Ends all connections at once, as a lost network does: with RST where TCP has one. @returns how many there were */
  cut(): number
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
  const pairs = new Set<readonly [Socket, Socket]>()
  let isDown = false
  const server = createServer({ noDelay: true }, (near) => {
    near.on('error', () => near.destroy())
    if (isDown) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...target(), noDelay: true } as NetConnectOpts)
    const pair = [near, far] as const
    pairs.add(pair)
    near.pipe(far)
    far.pipe(near)
    far.on('error', () => far.destroy())
    near.on('close', () => far.destroy())
    far.on('close', () => {
      near.destroy()
      pairs.delete(pair)
    })
  })
  const cut = () => {
    const ended = pairs.size
    for (const pair of pairs) for (const socket of pair) end(socket)
    return ended
  }
  server.listen(listen)
  await once(server, 'listening')
  return {
    port: typeof listen.path === 'string' ? 0 : (server.address() as AddressInfo).port,
    cut,
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

function end(socket: Socket): void {
  if (socket.remotePort === undefined) socket.destroy() // a Unix socket has no RST
  else socket.resetAndDestroy()
}
