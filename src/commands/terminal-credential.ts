/** `workspace-gateway terminal-credential`: what are the terminal's user and password? The first call creates them. */
import { parseArgs } from 'node:util'
import { readSetting, type Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import { EXIT } from '../process/exit-codes.ts'
import { SecretFileError } from '../store/secret-file.ts'
import {
  ensureTerminalCredential,
  rotateTerminalCredential,
  terminalCredentialFile,
} from '../terminals/terminal-credential.ts'
import type { Io } from './io.ts'

/**
 * Prints the credential to standard output, or with `--path` the path of its file. Messages go to standard error and never
 * contain the credential. The command needs only one setting, GATEWAY_STATE_DIR.
 * @returns 0, or 78 when other users can read the file or it cannot be created
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function terminalCredential(
  args: readonly string[],
  env: Environment,
  io: Io,
): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rotate: { type: 'boolean', default: false },
      path: { type: 'boolean', default: false },
    },
  })
  const stateDir = readSetting(SETTINGS.stateDir, env)
  const file = terminalCredentialFile(stateDir)
  const say = (text: string) => io.err(`workspace-gateway: ${text}\n`)
  try {
    const { credential, done } = values.rotate
      ? await rotate(stateDir, file)
      : await ensure(stateDir, file)
    if (done !== '') say(done)
    io.out(`${values.path ? file : credential}\n`)
    return EXIT.ok
  } catch (error) {
    if (!(error instanceof SecretFileError)) throw error
    say(error.message)
    return EXIT.config
  }
}

interface Outcome {
  readonly credential: string
  /** The message about a changed file; empty when nothing changed. */
  readonly done: string
}

async function ensure(stateDir: string, file: string): Promise<Outcome> {
  const { secret: credential, made } = await ensureTerminalCredential(stateDir)
  return { credential, done: made ? `made ${file}, the terminal's user and password` : '' }
}

async function rotate(stateDir: string, file: string): Promise<Outcome> {
  const credential = await rotateTerminalCredential(stateDir)
  const done = `replaced ${file}; a ttyd that runs takes the old credential until it is started again`
  return { credential, done }
}
