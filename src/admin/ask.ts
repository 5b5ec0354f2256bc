/** How does a command ask the running gateway? It sends an HTTP request to the admin socket, whose server is door.ts. */
import { request, type IncomingMessage } from 'node:http'
import { adminSocketPath } from './door.ts'
import { codeOf } from '../answers/errors.ts'

/** Time limit of a response, in milliseconds. */
const ANSWER_MS = 5000

/** The gateway does not respond. The message names a remedy. */
export class GatewayNotReachedError extends Error {
  constructor(stateDir: string, cause: unknown) {
    const code = codeOf(cause)
    const why =
      code === 'EACCES' || code === 'EPERM'
        ? 'its admin socket belongs to another user; run this command as the user that runs the gateway'
        : code === 'ENOENT' || code === 'ECONNREFUSED'
          ? 'no gateway is running with this state folder; GATEWAY_STATE_DIR must be the same as the gateway has'
          : 'it did not answer'
    super(`${adminSocketPath(stateDir)}: ${why}`, { cause })
    this.name = 'GatewayNotReachedError'
  }
}

/** A response of the gateway. */
export interface AdminReply {
  readonly status: number
  readonly body: string
}

/**
 * Sends a GET request to the gateway that uses a state folder.
 * @param path such as `/status`
 * @throws {GatewayNotReachedError} when there is no response
 */
export async function askAdmin(stateDir: string, path: string): Promise<AdminReply> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const signal = AbortSignal.timeout(ANSWER_MS)
  request({ socketPath: adminSocketPath(stateDir), path, agent: false, signal }, resolve)
    .on('error', reject)
    .end()
  try {
    const answer = await promise
    const chunks: Buffer[] = []
    for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk)
    return { status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }
  } catch (error) {
    throw new GatewayNotReachedError(stateDir, error)
  }
}
