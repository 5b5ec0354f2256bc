/** How is the keeper of terminals asked? With one HTTP request over its Unix socket, bounded in time and in size. */
import { request, type IncomingMessage } from 'node:http'
import { noAnswerReason } from '../answers/errors.ts'
import type { ServiceAddress } from '../config/values.ts'
import { readBody } from '../http/read-body.ts'
import { greetingIn, NotKeeperError, type Greeting } from './keeper-answers.ts'
import { READY_PATH, type KeeperReady } from './protocol.ts'

/** What is behind GATEWAY_TERMINAL_URL. */
export type TerminalSide =
  /** No keeper. */
  | { readonly kind: 'ttyd' }
  /** A keeper that this gateway understands. */
  | { readonly kind: 'keeper'; readonly ready: KeeperReady }
  /** A keeper that this gateway does not understand, and treats as a plain ttyd. */
  | ({ readonly kind: 'other-version' } & Pick<Greeting, 'protocol' | 'version'>)
  /** Nobody answers. */
  | {
      readonly kind: 'away'
      /** Whether nobody listens, so that there are no terminals either. */
      readonly isAbsent: boolean
      /** Why, as the code of the system's error. */
      readonly why: string
    }

/** How long the keeper may take for a whole answer, in milliseconds. It is on this machine, and answers from memory. */
const ANSWER_MS = 2000

/** The largest answer that is read, in bytes: a list of 64 terminals is smaller. */
const MAX_ANSWER_BYTES = 1024 * 1024

/** Finds out what is behind GATEWAY_TERMINAL_URL. Only a Unix socket can be a keeper's. Never rejects. */
export async function lookAtTerminals(address: ServiceAddress): Promise<TerminalSide> {
  if (address.socketPath === undefined) return { kind: 'ttyd' }
  try {
    const { ready, protocol, version } = greetingIn(await askKeeper(address, 'GET', READY_PATH))
    return ready === undefined
      ? { kind: 'other-version', protocol, version }
      : { kind: 'keeper', ready }
  } catch (error) {
    if (error instanceof NotKeeperError) return { kind: 'ttyd' }
    const why = noAnswerReason(error)
    return { kind: 'away', isAbsent: why === 'ENOENT' || why === 'ECONNREFUSED', why }
  }
}

/**
 * Sends a request to the keeper.
 * @returns the JSON of its answer, unchecked
 * @throws {NotKeeperError} when what answers is no keeper; an error with a code, or an abort, when nobody answers in time
 */
export async function askKeeper(
  { socketPath }: ServiceAddress,
  method: string,
  path: string,
): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  // The signal also ends the reading of the body, so that a keeper that sends byte by byte takes no longer.
  const signal = AbortSignal.timeout(ANSWER_MS)
  request({ socketPath, method, path, agent: false, signal }, resolve)
    .on('error', reject)
    .on('upgrade', (_answer, socket) => {
      socket.destroy()
      reject(new NotKeeperError('it switched to another protocol'))
    })
    .end()
  const answer = await promise
  try {
    return jsonIn(await textOf(answer))
  } catch (error) {
    throw signal.aborted ? signal.reason : error // the body itself only says that it was cut
  } finally {
    answer.destroy()
  }
}

async function textOf(answer: IncomingMessage): Promise<Buffer> {
  if (answer.statusCode !== 200) throw new NotKeeperError(`it answered ${answer.statusCode}`)
  return await readBody(answer, MAX_ANSWER_BYTES, () => new NotKeeperError('it answered too much'))
}

function jsonIn(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString('utf8')) as unknown
  } catch {
    throw new NotKeeperError('it answered no JSON')
  }
}
