/** How do commands ask the running link? They send HTTP requests to the owner's socket (src/relay/link/owner-door.ts). */
import { DEFAULT_SUBJECT } from '../admin/api-token-actions.ts'
import { codeOf } from '../answers/errors.ts'
import type { Environment } from '../config/load.ts'
import { LINK_SETTINGS } from '../config/link-settings.ts'
import { SETTINGS } from '../config/settings.ts'
import { EXIT } from '../process/exit-codes.ts'
import { refusalIn } from '../relay/owner-answers.ts'
import { askDoor } from '../services/ask-door.ts'
import { jsonIn, OddAnswerError } from '../services/door-fields.ts'
import { CommandError, settingOf } from './owner.ts'

/** Time limit of a response, in milliseconds. */
const ANSWER_MS = 10_000

/** A response longer than this is refused (bytes). */
const MAX_ANSWER_BYTES = 256 * 1024

/** A question to the link, and how its answer is read. */
export interface LinkQuestion<Answer> {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body?: object
  /** Takes the answer to pieces. @throws {OddAnswerError} */
  readonly read: (body: unknown) => Answer
}

/**
 * Asks the link at LINK_OWNER_SOCKET.
 * @returns what was read of its answer, which is checked: another program may listen there
 * @throws {CommandError} exit code 69 when it cannot be asked, 1 when it refuses, 78 for a wrong setting
 */
export async function askLink<Answer>(
  env: Environment,
  { method = 'GET', path, body, read }: LinkQuestion<Answer>,
): Promise<Answer> {
  const socket = settingOf(LINK_SETTINGS.ownerSocket, env)
  const limits = { limitMs: ANSWER_MS, maxBytes: MAX_ANSWER_BYTES }
  const { status, bytes } = await askDoor(socket, { method, path, body, ...limits }).catch(
    (cause: unknown) => {
      const why = NOT_REACHED[codeOf(cause)] ?? 'the link did not answer'
      throw new CommandError(`LINK_OWNER_SOCKET "${socket}": ${why}`, EXIT.unavailable, { cause })
    },
  )
  let refusal: string
  try {
    const answer = jsonIn(bytes)
    if (status === 200) return read(answer)
    refusal = refusalIn(answer).detail
  } catch (cause) {
    if (!(cause instanceof OddAnswerError)) throw cause
    const why = 'what answers there is no link, or one of another release'
    throw new CommandError(`LINK_OWNER_SOCKET "${socket}": ${why}`, EXIT.unavailable, { cause })
  }
  throw new CommandError(refusal, EXIT.failed)
}

const OTHERS = 'the socket is the owner’s; run this as the user of the link, or as root'
const NOT_REACHED: Readonly<Record<string, string>> = {
  ENOENT: 'no link runs with this socket; start "workspace-gateway link", or set LINK_OWNER_SOCKET',
  ECONNREFUSED: 'the link that made this socket has ended; start "workspace-gateway link"',
  EACCES: OTHERS,
  EPERM: OTHERS,
}

/** The person for whom the machine acts when it names nobody: the first of GATEWAY_OWNERS, as for API tokens. */
export function subjectOf(sub: string | undefined, env: Environment): string {
  return sub ?? settingOf(SETTINGS.owners, env)[0] ?? DEFAULT_SUBJECT
}
