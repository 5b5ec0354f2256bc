/**
 * How does a stream of a device become a connection to the target? Both directions are copied as they are, each ends for itself, and a
 * side that does not read holds up the other.
 */
import type { Duplex } from 'node:stream'
import type { Stream, StreamEvents } from '../protocol/streams.ts'

/** Joins a stream with a connection. @returns what happens to the stream, for `Streams` */
export function bridge(stream: Stream, connection: Duplex): StreamEvents {
  let writing: Promise<void> = Promise.resolve()
  let isOver = false
  const pass = async (before: Promise<void>, chunk: Buffer): Promise<void> => {
    await before
    await stream.write(chunk)
    if (!connection.destroyed) connection.resume()
  }
  const finish = async (before: Promise<void>): Promise<void> => {
    await before
    stream.end()
  }
  connection.on('data', (chunk: Buffer) => {
    connection.pause()
    writing = pass(writing, chunk)
  })
  connection.on('end', () => {
    writing = finish(writing)
  })
  connection.on('error', () => connection.destroy()) // `close` follows
  connection.on('close', () => {
    // What was read comes first. A connection that has not ended both ways was broken off.
    const hasEnded = connection.readableEnded && connection.writableFinished
    if (!hasEnded) stream.reset()
  })
  return {
    onData(bytes) {
      connection.write(bytes, () => stream.consumed(bytes.length))
    },
    onEnd() {
      connection.end()
    },
    onClose(wasReset) {
      if (isOver) return
      isOver = true
      if (wasReset) connection.destroy()
    },
  }
}
