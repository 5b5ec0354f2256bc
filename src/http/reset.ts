/** How is a connection ended so that nobody takes what was sent for the whole? By a reset (RST) in the place of its proper end (FIN). */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/**
 * Resets a connection over TCP, and destroys any other: a Unix socket has no reset, and of TLS the missing close_notify tells.
 * One that waits for its last bytes to leave is destroyed too: libuv does not reset it (EINVAL), and Node then never closes the descriptor.
 */
export function resetConnection(socket: Duplex): void {
  const isTcp =
    socket instanceof Socket && !(socket instanceof TLSSocket) && socket.remotePort !== undefined
  if (isTcp && !socket.writableEnded) socket.resetAndDestroy()
  else socket.destroy()
}
