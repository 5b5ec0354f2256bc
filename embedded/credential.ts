/** Which user and password open the terminal: kept in a file, made on the first run. */
import { randomBytes } from 'node:crypto'
import { ensureSecretFile, SecretFileError } from './secret-file.ts'

/** A name without a colon, a colon, a password; neither empty nor with control characters. */
// oxlint-disable-next-line no-control-regex -- control characters are what it refuses
const FORM = /^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]+$/

/**
 * The terminal's credential as `user:password`, from `file` or freshly made into it.
 *
 * The file has mode 0600, in a folder of mode 0700 when that is made too. A file others can read, or with something else
 * in it, is refused with a SecretFileError.
 */
export async function ensureCredential(file: string): Promise<string> {
  // 18 random bytes are exactly 24 url-safe characters, without padding.
  const credential = await ensureSecretFile(
    file,
    () => `user:${randomBytes(18).toString('base64url')}`,
  )
  if (!FORM.test(credential)) {
    throw new SecretFileError(
      `${file} does not hold a credential of the form user:password. Delete it to get a new one.`,
    )
  }
  return credential
}
