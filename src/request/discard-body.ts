/** What becomes of a request body that nobody needs? The gateway reads it for a while and throws it away. */
import type { IncomingMessage } from 'node:http'

/** How long the rest of a body is still read and thrown away after the response was sent, in milliseconds. */
export const DISCARD_MS = 5000

/**
 * Reads on for a while when the response was sent before the whole body had arrived, because a client that is still sending
 * would otherwise be reset before it reads the response; then ends the connection (nginx's lingering close).
 */
export function discardBody(request: IncomingMessage): void {
  if (request.complete || request.socket.destroyed) return
  request.resume()
  const { socket } = request
  const timer = setTimeout(() => {
    if (!request.complete) socket.destroy()
  }, DISCARD_MS)
  timer.unref()
  request.once('end', () => clearTimeout(timer))
  request.once('close', () => clearTimeout(timer))
}
