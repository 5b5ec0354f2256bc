/** How is a secret kept between two starts? In a file that only its owner can read, and that appears complete or not at all. */
import { randomUUID } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { link, mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { codeOf } from '../answers/errors.ts'

/** The error when a secret's file cannot be used or created. Its message is complete text for a person, without the secret. */
export class SecretFileError extends Error {
  override readonly name = 'SecretFileError'
}

/** A secret, and whether this call created it. */
export interface KeptSecret {
  readonly secret: string
  readonly made: boolean
}

/** Permission bits of group and others. */
const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022
const ROOT = 0

/** The maximum size of a secret's file, in bytes. The bound prevents reading a device or a log of this name to its end. */
const MAX_BYTES = 4096

/** Opens a file without following a symbolic link and without blocking on a pipe. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Reads the secret in `file`, or creates the file with the secret from `make`. Concurrent calls return the same secret.
 *
 * A file that other users can read is refused, because another user may already know the secret.
 * @throws {SecretFileError}
 */
export async function ensureSecretFile(file: string, make: () => string): Promise<KeptSecret> {
  return await explained(file, async () => {
    const kept = await readSecretFile(file)
    if (kept !== null) return { secret: kept, made: false }
    const secret = make()
    const isFirst = await withDraft(file, secret, async (draft) => {
      // Unlike a rename, a link never replaces a file. Of two concurrent first calls one wins, and both use its secret.
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
 * Replaces the secret in `file`, also when the old file is unsafe. The change is atomic: readers get the old or the new secret.
 * @throws {SecretFileError}
 */
export async function replaceSecretFile(file: string, secret: string): Promise<void> {
  await explained(file, async () => {
    // If `file` is a symbolic link, the rename replaces the link and not its target.
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
    // Check the open file, not its name, so that the file cannot be exchanged between the check and the read.
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

/** Writes the secret to a draft under another name, which `name` then moves into place, so that nobody reads half a secret. */
async function withDraft<T>(
  file: string,
  secret: string,
  name: (draft: string) => Promise<T>,
): Promise<T> {
  await ensureFolder(dirname(file))
  const draft = `${file}.${randomUUID()}`
  // "x" is O_EXCL: opening fails if a file or a link of this name exists.
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

/** Creates the folder, and refuses one in which other users could exchange the file. */
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

/** Turns an error of the system into a message for a person. */
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
