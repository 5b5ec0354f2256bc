/**
 * How does a stream of a device become a connection to the target? Both directions are copied as they are, each ends for itself, and a
 * side that does not read holds up the other.
 */
import type { Duplex } from 'node:stream'
import type { Stream, StreamEvents } from '../protocol/streams.ts'
import type { BacklogShare } from './backlog.ts'

/**
 * Joins a stream with a connection.
 * @param backlog counts what waits for the other side
 * @returns what happens to the stream, for `Streams`
 */
export function bridge(stream: Stream, connection: Duplex, backlog: BacklogShare): StreamEvents {
  let writing: Promise<void> = Promise.resolve()
  let isOver = false
  const pass = async (before: Promise<void>, chunk: Buffer): Promise<void> => {
    // Beside the chunk, a paused connection reads on until it has as much again.
    const passed = backlog.add(chunk.length + connection.readableHighWaterMark)
    await before
    await stream.write(chunk)
    passed()
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
      const passed = backlog.add(bytes.length)
      connection.write(bytes, () => {
        passed()
        stream.consumed(bytes.length)
      })
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
