/** What does each command of the vault get, and which options do several of them share? */
import type { Environment } from '../../config/load.ts'
import { EXIT } from '../../process/exit-codes.ts'
import { MAX_VALUE_BYTES } from '../../vault/policy.ts'
import type { Io } from '../io.ts'
import { CommandError, wrongUsage } from '../owner.ts'

/** Where a credential is read from. */
export type Input = AsyncIterable<Buffer | string> & { readonly isTTY?: boolean }

/** What a command works with. */
export interface VaultContext {
  /** What stands behind the command's name. */
  readonly args: readonly string[]
  readonly env: Environment
  readonly io: Io
  readonly input: Input
}

/** The options of every command that asks the owner's door. */
export const OWNER_OPTIONS = { socket: { type: 'string' } } as const

/** The one word that a command takes, such as a service. @throws {CommandError} */
export function onlyWord(words: readonly string[], command: string, what: string): string {
  const [word = '', ...more] = words
  if (word === '' || more.length > 0) throw wrongUsage('vault', `vault ${command} takes ${what}`)
  return word
}

/** The elements of a list on the command line; undefined when the option was not given. */
export function listOf(text: string | undefined): string[] | undefined {
  return text?.split(',').map((element) => element.trim())
}

/**
 * Reads a credential from standard input: never from an argument, which every user of the machine can read.
 * @throws {CommandError} at a terminal, where it would be shown while it is typed; and when there is too much
 */
export async function readCredential(input: Input, command: string): Promise<string> {
  if (input.isTTY === true)
    throw wrongUsage(
      'vault',
      `vault ${command} reads the credential from standard input, and a terminal would show it; give it a file (… < FILE) or a pipe`,
    )
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of input) {
    const bytes = Buffer.from(piece)
    size += bytes.length
    // One line break at its end is cut by the vault.
    if (size > MAX_VALUE_BYTES + 2)
      throw new CommandError(
        `standard input has more than the ${MAX_VALUE_BYTES} bytes of a credential`,
        EXIT.failed,
      )
    pieces.push(bytes)
  }
  return Buffer.concat(pieces).toString('utf8')
}
