/** How does a command ask the running gateway? It sends an HTTP request to the admin socket, whose server is door.ts. */
import { request, type IncomingMessage } from 'node:http'
import { adminSocketPath, type AdminRoute } from './door.ts'
import { codeOf } from '../answers/errors.ts'

/** Time limit of a response, in milliseconds. */
const ANSWER_MS = 5000

/** The gateway does not respond. The message names a remedy. */
export class GatewayNotReachedError extends Error {
  /** Whether no gateway runs, as far as one can see: there is no admin socket, or nobody listens on it. */
  readonly isAbsent: boolean

  constructor(stateDir: string, cause: unknown) {
    const code = codeOf(cause)
    const isTooLong = code === 'EINVAL' // of connect(2), for a path that no socket can have
    const isAbsent = code === 'ENOENT' || code === 'ECONNREFUSED' || isTooLong
    const why =
      code === 'EACCES' || code === 'EPERM'
        ? 'its admin socket belongs to another user; run this command as the user that runs the gateway'
        : isTooLong
          ? 'the path is too long for a socket; give the gateway a shorter GATEWAY_STATE_DIR'
          : isAbsent
            ? 'no gateway is running with this state folder; GATEWAY_STATE_DIR must be the same as the gateway has'
            : 'it did not answer'
    super(`${adminSocketPath(stateDir)}: ${why}`, { cause })
    this.name = 'GatewayNotReachedError'
    this.isAbsent = isAbsent
  }
}

/** A response of the gateway. */
export interface AdminReply {
  readonly status: number
  readonly body: string
}

/**
 * Sends a request to the gateway that uses a state folder.
 * @param path such as `/status`
 * @param body sent as JSON; nothing is sent when left out
 * @throws {GatewayNotReachedError} when there is no response
 */
export async function askAdmin(
  stateDir: string,
  path: string,
  { method = 'GET', body }: { method?: AdminRoute['method']; body?: object | undefined } = {},
): Promise<AdminReply> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const signal = AbortSignal.timeout(ANSWER_MS)
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const socketPath = adminSocketPath(stateDir)
  request({ socketPath, method, path, headers, agent: false, signal }, resolve)
    .on('error', reject)
    .end(body === undefined ? undefined : JSON.stringify(body))
  try {
    const answer = await promise
    const chunks: Buffer[] = []
    for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk)
    return { status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }
  } catch (error) {
    throw new GatewayNotReachedError(stateDir, error)
  }
}
