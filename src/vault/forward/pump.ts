/** How do bytes pass? Chunk by chunk, never faster than the reader takes them, until the end of the use. */
import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { pipeline, type Readable, type Writable } from 'node:stream'
import type { Scrubber } from '../scrub/scrubber.ts'
import { decoding, type Coding } from './decode.ts'
import type { RunningUse } from './running-use.ts'

/** The body of an answer, decoded when it has a coding. */
export function decodedBody(answer: IncomingMessage, coding: Coding | undefined): Readable {
  if (coding === undefined) return answer
  const streams = decoding(coding)
  // The error reaches whoever reads the last stream.
  return pipeline(answer, ...streams, () => {})
}

/**
 * Passes an answer on, scrubbed. Rejects when it is broken, or when the use is ended. Does not end the sink.
 * @param length The bytes of the source; undefined when they are not known. The last of them then leave with those before.
 */
export async function pumpAnswer(
  source: Readable,
  sink: Writable,
  scrubber: Scrubber,
  { run, length }: { readonly run: RunningUse; readonly length?: number | undefined },
): Promise<void> {
  let received = 0
  for await (const chunk of source) {
    received += (chunk as Buffer).length
    const scrubbed = scrubber.push(chunk as Buffer)
    if (scrubber.hits > 0) run.reflected()
    const whole = received === length ? Buffer.concat([scrubbed, scrubber.end()]) : scrubbed
    run.bytes += whole.length
    await put(sink, whole, run)
  }
  const rest = scrubber.end()
  run.bytes += rest.length
  await put(sink, rest, run)
}

/** Writes, and waits until the sink takes more. */
export async function put(sink: Writable, bytes: Buffer, run: RunningUse): Promise<void> {
  run.touch()
  if (bytes.length === 0) return
  if (sink.destroyed) throw new Error('the reader has gone')
  if (!sink.write(bytes)) await once(sink, 'drain', { signal: run.signal })
  run.touch()
}

/**
 * Passes the body of a request on. With events rather than an iterator, which would destroy the agent's connection when it stops.
 * @returns stops it, so that somebody else may read the rest
 */
export function pumpRequest(
  request: IncomingMessage,
  asked: ClientRequest,
  run: RunningUse,
): () => void {
  const resume = () => void request.resume()
  const pass = (chunk: Buffer) => {
    run.touch()
    if (!asked.destroyed && !asked.write(chunk)) request.pause()
  }
  // An agent that goes away in the middle of its body ends nothing: the use is ended then, which destroys the request.
  const end = () => void asked.end()
  // When a request is repeated, its empty body has ended already.
  if (request.readableEnded) end()
  asked.on('drain', resume)
  request.on('data', pass)
  request.once('end', end)
  return () => {
    asked.off('drain', resume)
    request.off('data', pass)
    request.off('end', end)
  }
}
