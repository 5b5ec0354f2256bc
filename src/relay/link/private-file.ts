/**
 * How does the link keep what outlives it? In files that only its user can read. A file that is damaged, or that others could read or
 * exchange, is refused: a new one in its place would cut off every device, or trust a stranger's key.
 */
import { statSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { makeFolder } from '../../store/make-folder.ts'
import { readWholeFile, syncFolder, writeNewFile, writeWholeFile } from '../../store/whole-file.ts'

/** The error when a file of the link cannot be used. Its message is complete text for a person, without a secret. */
export class LinkFileError extends Error {
  override readonly name = 'LinkFileError'
}

const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022
const ROOT = 0

/** Makes the state folder with mode 700, and refuses one in which others could exchange files. @throws {LinkFileError} */
export function prepareFolder(folder: string): void {
  try {
    makeFolder(folder, 0o700)
  } catch (error) {
    throw new LinkFileError(
      `LINK_STATE_DIR: the folder ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
  }
  const { mode, uid } = statSync(folder)
  const own = process.geteuid?.() ?? uid
  if (uid !== own && uid !== ROOT)
    throw new LinkFileError(
      `LINK_STATE_DIR "${folder}" belongs to another user (${uid}, and this is ${own}); run the link as its owner`,
    )
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    throw new LinkFileError(
      `LINK_STATE_DIR "${folder}" can be written by others; run "chmod 700" on it`,
    )
}

/** Reads a file that belongs to this user alone. @returns undefined when there is none @throws {LinkFileError} */
export function readPrivateFile(path: string, maxBytes: number): string | undefined {
  try {
    return readWholeFile(path, maxBytes, (stats) => refuseUnlessPrivate(path, stats))
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT') return undefined
    if (error instanceof LinkFileError) throw error
    const why = code === 'ELOOP' ? 'it is a link' : code || (error as Error).message
    throw new LinkFileError(`${path} cannot be read (${why})`, { cause: error })
  }
}

function refuseUnlessPrivate(path: string, stats: Stats): void {
  const own = process.geteuid?.() ?? stats.uid
  if (stats.uid !== own)
    throw new LinkFileError(
      `${path} belongs to another user (${stats.uid}, and this is ${own}); run the link as its owner`,
    )
  if ((stats.mode & OTHERS) === 0) return
  const mode = (stats.mode & 0o777).toString(8).padStart(4, '0')
  throw new LinkFileError(
    `${path} can be read by others (mode ${mode}); run "chmod 600" on it if nobody else has used this machine, else remove it and daemon-keypair.json and devices.json beside it, and pair every device again`,
  )
}

/** Creates a file that is on the disk when this returns. @returns false when there is one already */
export function createPrivateFile(path: string, text: string): boolean {
  const isMade = writeNewFile(path, text, { durable: true })
  if (isMade) syncFolder(dirname(path))
  return isMade
}

/** Replaces a file at once, and puts it on the disk before this returns. @throws an error of the system, with the old file in place */
export function replacePrivateFile(path: string, text: string): void {
  writeWholeFile(path, text, { durable: true })
  syncFolder(dirname(path))
}
