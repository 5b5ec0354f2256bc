/** How is a door of the vault, or of the link, asked? With one HTTP request to its Unix socket, within a time limit, for a response of bounded size. */
import { request, type IncomingMessage } from 'node:http'
import { readBody } from '../http/read-body.ts'

/** A question to a door. */
export interface DoorQuestion {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  /** Sent as JSON; nothing is sent when left out. */
  readonly body?: object | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** Time limit of the response, in milliseconds. */
  readonly limitMs: number
  /** A longer response is refused (bytes). */
  readonly maxBytes: number
}

/** A response of a door, whatever its status. */
export interface DoorReply {
  readonly status: number
  readonly bytes: Buffer
}

/** Asks a door. Rejects with an error of the system, or of the time limit, when there is no whole response. */
export async function askDoor(
  socketPath: string,
  { method, path, body, headers: more, limitMs, maxBytes }: DoorQuestion,
): Promise<DoorReply> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const signal = AbortSignal.timeout(limitMs)
  const headers = {
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...more,
  }
  request({ socketPath, method, path, headers, agent: false, signal }, resolve)
    .on('error', reject)
    // Without a response and without an error, when what answers switches to another protocol.
    .on('close', () => reject(new Error('the connection was closed without an answer')))
    .end(body === undefined ? undefined : JSON.stringify(body))
  const answer = await promise
  const bytes = await readBody(answer, maxBytes, () => new Error('the answer is too long'))
  return { status: answer.statusCode ?? 0, bytes }
}
