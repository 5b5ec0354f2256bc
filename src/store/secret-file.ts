/** How is a secret kept between two starts? In a file that only its owner can read, and that appears complete or not at all. */
import { statSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../answers/errors.ts'
import { makeFolder } from './make-folder.ts'
import { readWholeFile, writeNewFile, writeWholeFile } from './whole-file.ts'

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

/** A secret's file is shorter than this, in bytes. */
const MAX_BYTES = 4096

/**
 * Reads the secret in `file`, or creates the file with the secret from `make`. Concurrent calls return the same secret.
 *
 * A file that other users can read is refused, because another user may already know the secret.
 * @throws {SecretFileError}
 */
export function ensureSecretFile(file: string, make: () => string): KeptSecret {
  return explained(file, () => {
    const kept = readSecretFile(file)
    if (kept !== undefined) return { secret: kept, made: false }
    const secret = make()
    ensureFolder(dirname(file))
    return writeNewFile(file, `${secret}\n`, { durable: true })
      ? { secret, made: true }
      : { secret: readSecretFile(file) ?? secret, made: false }
  })
}

/**
 * Replaces the secret in `file`, also when the old file is unsafe. The change is atomic: readers get the old or the new secret.
 * @throws {SecretFileError}
 */
export function replaceSecretFile(file: string, secret: string): void {
  explained(file, () => {
    ensureFolder(dirname(file))
    writeWholeFile(file, `${secret}\n`, { durable: true })
  })
}

/** Returns undefined when there is no such file. */
function readSecretFile(file: string): string | undefined {
  try {
    const text = readWholeFile(file, MAX_BYTES, (stats) => refuseUnlessPrivate(file, stats))
    return text.replace(/\r?\n$/, '')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    if (codeOf(error) === 'ELOOP')
      throw new SecretFileError(`${file} is a link. Put a file in its place, or delete it.`)
    throw error
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
  if (stats.size >= MAX_BYTES) throw new SecretFileError(`${file} is too long for a secret.`)
}

/** Creates the folder, and refuses one in which other users could exchange the file. */
function ensureFolder(folder: string): void {
  makeFolder(folder, 0o700)
  const { mode, uid } = statSync(folder)
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
function explained<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof SecretFileError || codeOf(error) === '') throw error
    throw new SecretFileError(`${file} cannot be read or made (${codeOf(error)}).`, {
      cause: error,
    })
  }
}
