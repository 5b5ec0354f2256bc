/** How is the body of a message read into memory? Whole, and never beyond a bound. */
import type { IncomingMessage } from 'node:http'

/**
 * Reads a body. When it is too long, the message is destroyed.
 * @param maxBytes the longest body that is read
 * @param tooLong makes the error for a longer one
 */
export async function readBody(
  message: IncomingMessage,
  maxBytes: number,
  tooLong: () => Error,
): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes) throw tooLong()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
