/** How is a secret kept between two starts? In a file that only its owner can read, made once and complete. */
import { randomUUID } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { link, mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf } from '../answers/errors.ts'

/** Why a secret's file is not used or not made; the message is complete text for a person and holds no secret. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError'
}

/** A secret, and whether this call has made it. */
export interface KeptSecret {
  readonly secret: string
  readonly made: boolean
}

/** Permission bits of group and others. */
const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022
const ROOT = 0

/** More than any secret; a device or a log by this name is not read to its end. */
const MAX_BYTES = 4096

/** A link is not followed, and a pipe by this name does not hold us up. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * The secret in `file`, made by `make` when there is no such file. Calls at the same time agree on one secret.
 *
 * A file that others can read is refused, since whoever read it has the secret already.
 * @throws {SecretFileError}
 */
export async function ensureSecretFile(file: string, make: () => string): Promise<KeptSecret> {
  return await explained(file, async () => {
    const kept = await readSecretFile(file)
    if (kept !== null) return { secret: kept, made: false }
    const secret = make()
    const isFirst = await withDraft(file, secret, async (draft) => {
      // Unlike a rename, a link replaces nothing: of two first calls one has made the secret, for both.
      return await link(draft, file).then(
        () => true,
        (error: unknown) => {
          if (codeOf(error) !== 'EEXIST') throw error
          return false
        },
      )
    })
    return isFirst
      ? { secret, made: true }
      : { secret: (await readSecretFile(file)) ?? secret, made: false }
  })
}

/**
 * Puts `secret` in the place of what `file` holds, whoever could read that: readers find the old one or the new one.
 * @throws {SecretFileError}
 */
export async function replaceSecretFile(file: string, secret: string): Promise<void> {
  await explained(file, async () => {
    // A link by this name is replaced itself, not what it points to.
    await withDraft(file, secret, async (draft) => await rename(draft, file))
  })
}

async function readSecretFile(file: string): Promise<string | null> {
  let handle: FileHandle
  try {
    handle = await open(file, READ_FLAGS)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    if (codeOf(error) === 'ELOOP')
      throw new SecretFileError(`${file} is a link. Put a file in its place, or delete it.`)
    throw error
  }
  try {
    // The open file is asked, not its name: nobody can exchange it between the check and the reading.
    refuseUnlessPrivate(file, await handle.stat())
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_BYTES), 0, MAX_BYTES, 0)
    if (bytesRead === MAX_BYTES) throw new SecretFileError(`${file} is too long for a secret.`)
    return buffer.toString('utf8', 0, bytesRead).replace(/\r?\n$/, '')
  } finally {
    await handle.close()
  }
}

function refuseUnlessPrivate(file: string, stats: Stats): void {
  if (!stats.isFile())
    throw new SecretFileError(`${file} is not a regular file. Delete it to get a new secret.`)
  const own = process.geteuid?.() ?? stats.uid
  if (stats.uid !== own) {
    throw new SecretFileError(
      `${file} belongs to another user (${stats.uid}, and this is ${own}). Run this as its owner, or delete it to get a new secret.`,
    )
  }
  if ((stats.mode & OTHERS) !== 0) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0')
    throw new SecretFileError(
      `${file} can be read by others (mode ${mode}). Delete it to get a new secret, or run "chmod 600" on it if nobody else has used this machine.`,
    )
  }
}

/** Writes the secret completely under another name, and gives it its own: nobody ever meets half of it. */
async function withDraft<T>(
  file: string,
  secret: string,
  name: (draft: string) => Promise<T>,
): Promise<T> {
  await ensureFolder(dirname(file))
  const draft = `${file}.${randomUUID()}`
  // "x" is O_EXCL: a file or a link that is there already is an error.
  const handle = await open(draft, 'wx', 0o600)
  try {
    try {
      await handle.writeFile(`${secret}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    return await name(draft)
  } finally {
    await rm(draft, { force: true })
  }
}

/** Whoever can write to the folder can exchange the file in it. */
async function ensureFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { mode, uid } = await stat(folder)
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    throw new SecretFileError(`Others can write to ${folder}. Run "chmod 700" on it.`)
  const own = process.geteuid?.() ?? uid
  if (uid !== own && uid !== ROOT) {
    throw new SecretFileError(
      `${folder} belongs to another user (${uid}, and this is ${own}). Run this as its owner.`,
    )
  }
}

/** Turns what the system says into a line for a person. */
async function explained<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof SecretFileError || codeOf(error) === '') throw error
    throw new SecretFileError(`${file} cannot be read or made (${codeOf(error)}).`, {
      cause: error,
    })
  }
}
