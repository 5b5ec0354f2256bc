/**
 * How does the command dial the relay? As the link does: with bounds for whatever the relay sends, which Node's own WebSocket lacks. That
 * one inflates messages, takes them at any length, and answers pings without end that nobody reads.
 */
import type { OpenSocket } from '../../relay/client/place-socket.ts'
import { dialRelay, hangUp } from '../../relay/link/relay-socket.ts'

/** Opens a WebSocket to a relay, whose messages are at most as long as a frame. */
export const openBoundedSocket: OpenSocket = (url) => {
  const socket = dialRelay(url, '')
  socket.binaryType = 'arraybuffer'
  return {
    get readyState() {
      return socket.readyState
    },
    get bufferedAmount() {
      return socket.bufferedAmount
    },
    send: (frame) => socket.send(frame),
    // A relay that does not answer the close would keep the process.
    close: (code) => hangUp(socket, code),
    addEventListener: socket.addEventListener.bind(socket),
  }
}
