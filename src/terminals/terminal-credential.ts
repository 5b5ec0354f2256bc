/** Which user and password open the terminal? Those in a file in the state folder, created when it is first asked for. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  ensureSecretFile,
  replaceSecretFile,
  SecretFileError,
  type KeptSecret,
} from '../store/secret-file.ts'

/** Matches `user:password`, both non-empty and without control characters, and the user without a colon. */
// oxlint-disable-next-line no-control-regex -- control characters are what it refuses
const FORM = /^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+$/

/** The file of the credential in a state folder. */
export function terminalCredentialFile(stateDir: string): string {
  return join(stateDir, 'terminal-credential')
}

/**
 * Reads the terminal's credential, `user:password`, or creates its file with a new one.
 *
 * A new file has mode 600, and a new folder for it mode 700.
 * @throws {SecretFileError} for a file that other users can read, or whose content is not a credential
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

/** The credential in a state folder; undefined when there is none that can be read. */
export function readTerminalCredential(stateDir: string): string | undefined {
  try {
    const text = readFileSync(terminalCredentialFile(stateDir), 'utf8').trim()
    return FORM.test(text) ? text : undefined
  } catch {
    return undefined
  }
}

/**
 * Replaces the credential atomically. A running terminal uses the old one until it is restarted.
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
