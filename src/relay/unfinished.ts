/**
 * What does a message cost that never ends? Each fragment keeps the whole read of the socket in memory with which it came, and control
 * frames may come between: so a byte here and there would hold on to as much as the other party cares to send.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { MAX_FRAME_BYTES } from './protocol/relay-wire.ts'

/** Fragments of one message. Nobody has a reason to send pieces of less than 256 bytes. */
export const MAX_FRAGMENTS = 256

/**
 * Bytes that may come without the end of a message among them: a message, what was read together with its end, and as much again for
 * heads and control frames.
 */
const MAX_UNFINISHED_BYTES = 4 * MAX_FRAME_BYTES

/** Cuts a connection on which too much comes that is no message. @param socket what carries it */
export function boundUnfinished(connection: WebSocket, socket: Duplex): void {
  let unfinished = 0
  connection.on('message', () => {
    unfinished = 0
  })
  socket.on('data', (chunk: Buffer) => {
    unfinished += chunk.length
    if (unfinished > MAX_UNFINISHED_BYTES) connection.terminate()
  })
}
