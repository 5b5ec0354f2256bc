/** Which user and password open the terminal? They are kept in the state folder, made on the first boot. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import {
  ensureSecretFile,
  replaceSecretFile,
  SecretFileError,
  type KeptSecret,
} from '../store/secret-file.ts'

/** A name without a colon, a colon, a password; neither empty nor with control characters. */
// oxlint-disable-next-line no-control-regex -- control characters are what it refuses
const FORM = /^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+$/

/** The file of the credential in a state folder. */
export function terminalCredentialFile(stateDir: string): string {
  return join(stateDir, 'terminal-credential')
}

/**
 * The terminal's credential as `user:password`, from its file or freshly made into it.
 *
 * The file has mode 600, in a folder of mode 700 when that is made too.
 * @throws {SecretFileError} for a file that others can read, or with something else in it
 */
export async function ensureTerminalCredential(stateDir: string): Promise<KeptSecret> {
  const file = terminalCredentialFile(stateDir)
  const kept = ensureSecretFile(file, newCredential)
  if (!FORM.test(kept.secret)) {
    throw new SecretFileError(
      `${file} does not hold a credential of the form user:password. Delete it to get a new one.`,
    )
  }
  return kept
}

/**
 * Replaces the credential by a new one, all at once. A terminal that runs keeps the old one until it is started again.
 * @throws {SecretFileError}
 */
export async function rotateTerminalCredential(stateDir: string): Promise<string> {
  const credential = newCredential()
  replaceSecretFile(terminalCredentialFile(stateDir), credential)
  return credential
}

function newCredential(): string {
  // 18 random bytes are exactly 24 url-safe characters, without padding.
  return `user:${randomBytes(18).toString('base64url')}`
}
