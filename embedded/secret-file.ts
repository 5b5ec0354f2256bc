/** Where the embedded workspace keeps a secret between two starts: a file that only its owner can read. */
import { randomUUID } from 'node:crypto'
import { link, mkdir, open, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Why a secret's file is not used; the message is complete text for a person. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError'
}

/**
 * The secret in `file`, made by `make` when there is no such file yet.
 *
 * A file that group or others can read is refused, since whoever read it has the secret already.
 */
export async function ensureSecretFile(file: string, make: () => string): Promise<string> {
  return (await readSecretFile(file)) ?? (await createSecretFile(file, make()))
}

async function readSecretFile(file: string): Promise<string | null> {
  const handle = await open(file, 'r').catch(nullWhen('ENOENT'))
  if (handle === null) return null
  try {
    // The open file is asked, not its name: nobody can exchange it between the check and the reading.
    const { mode } = await handle.stat()
    if (mode & 0o077) {
      const seen = (mode & 0o777).toString(8).padStart(4, '0')
      throw new SecretFileError(
        `${file} can be read by others (mode ${seen}). Run "chmod 600" on it, or delete it to get a new secret.`,
      )
    }
    return (await handle.readFile('utf8')).replace(/\r?\n$/, '')
  } finally {
    await handle.close()
  }
}

async function createSecretFile(file: string, secret: string): Promise<string> {
  const folder = dirname(file)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if ((await stat(folder)).mode & 0o022) {
    throw new SecretFileError(`Others can write to ${folder}. Run "chmod 700" on it.`)
  }
  // Complete under another name first, then named: a crash or a second start never meets half a secret.
  const draft = `${file}.${randomUUID()}`
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(`${secret}\n`).finally(async () => await handle.close())
    const taken = await link(draft, file).then(() => false, trueWhen('EEXIST'))
    return taken ? ((await readSecretFile(file)) ?? secret) : secret
  } finally {
    await rm(draft, { force: true })
  }
}

/** A catch handler that turns one error code into null and throws every other. */
function nullWhen(code: string): (error: NodeJS.ErrnoException) => null {
  return (error) => {
    if (error.code !== code) throw error
    return null
  }
}

/** A catch handler that turns one error code into true and throws every other. */
function trueWhen(code: string): (error: NodeJS.ErrnoException) => true {
  return (error) => {
    if (error.code !== code) throw error
    return true
  }
}
