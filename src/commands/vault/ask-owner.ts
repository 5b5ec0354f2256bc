/** How do the owner's commands ask the running vault? They send HTTP requests to the owner's socket (src/vault/doors/owner-door.ts). */
import { codeOf } from '../../answers/errors.ts'
import type { Environment } from '../../config/load.ts'
import { VAULT_SETTINGS } from '../../config/vault-settings.ts'
import { EXIT } from '../../process/exit-codes.ts'
import { askDoor } from '../../services/ask-door.ts'
import { ownerSocket } from '../../vault/protocol.ts'
import { CommandError, settingOf } from '../owner.ts'

/** Time limit of a response, in milliseconds. */
const ANSWER_MS = 10_000

/** A response longer than this is refused (bytes): a backup is the longest. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/** A question to the vault. */
export interface OwnerQuestion {
  readonly method?: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
}

/** Where the owner's socket is: as --socket says, else in VAULT_SOCKETS. @throws {CommandError} */
export function ownerSocketOf(socket: string | undefined, env: Environment): string {
  return socket ?? ownerSocket(settingOf(VAULT_SETTINGS.sockets, env))
}

/** Asks the vault. @returns the JSON of the answer @throws {CommandError} exit code 69 when it cannot be asked, 1 when it refuses */
export async function askOwner(socket: string, question: OwnerQuestion): Promise<unknown> {
  const text = (await askForBytes(socket, question)).toString('utf8')
  try {
    return JSON.parse(text) as unknown
  } catch {
    // Without the parser's message, which quotes the answer.
    throw new CommandError(`${socket}: what answers there is no vault`, EXIT.unavailable)
  }
}

/** The same for an answer that is a file. @returns its bytes */
export async function askForBytes(
  socketPath: string,
  { method = 'GET', path, body }: OwnerQuestion,
): Promise<Buffer> {
  const limits = { limitMs: ANSWER_MS, maxBytes: MAX_ANSWER_BYTES }
  const { status, bytes } = await askDoor(socketPath, { method, path, body, ...limits }).catch(
    (error: unknown) => {
      throw notReached(socketPath, error)
    },
  )
  if (status >= 200 && status < 300) return bytes
  const text = detailOf(bytes) ?? `the vault answered ${status}`
  throw new CommandError(text, EXIT.failed)
}

const OTHERS = 'the socket is the owner’s; run this as the user of the vault, or as root'
const NOT_REACHED: Readonly<Record<string, string>> = {
  ENOENT: 'no vault runs with this socket; start "workspace-gateway vault", or name --socket',
  ECONNREFUSED: 'the vault that made this socket has ended; start "workspace-gateway vault"',
  EACCES: OTHERS,
  EPERM: OTHERS,
  EINVAL: 'the path is too long for a socket',
}

function notReached(socket: string, cause: unknown): CommandError {
  const why = NOT_REACHED[codeOf(cause)] ?? 'the vault did not answer'
  return new CommandError(`${socket}: ${why}`, EXIT.unavailable, { cause })
}

function detailOf(body: Buffer): string | undefined {
  try {
    const { detail } = JSON.parse(body.toString('utf8')) as { detail?: unknown }
    return typeof detail === 'string' ? detail : undefined
  } catch {
    return undefined
  }
}
