/**
 * How is a folder made with those above it? One after the other: Node's own `recursive` never returns where a file system makes no
 * folders, such as /proc, because it takes ENOENT for a missing folder above (Node 24).
 */
import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { codeOf } from '../answers/errors.ts'

/** Why a folder cannot be made, by the code of the error. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not make it',
  EDQUOT: 'the disk is full',
  EEXIST: 'a link that leads nowhere, or a file, is in its place',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'its name is too long',
  ENOENT: 'the file system there makes no folders',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a file is where a folder must be',
  EPERM: 'this user may not make it',
  EROFS: 'the file system there cannot be written',
}

/** Makes a folder and those above it, unless they are there. @throws an error of the system, with its code and a sentence */
export function makeFolder(path: string, mode: number): void {
  try {
    const missing: string[] = []
    let at = resolve(path)
    for (; !isFolder(at); at = dirname(at)) missing.push(at)
    for (const folder of missing.toReversed()) makeOne(folder, mode)
  } catch (error) {
    const code = codeOf(error)
    if (code === '') throw error
    const why = REASONS[code] ?? 'the system refuses'
    throw Object.assign(new Error(`${path} cannot be made: ${why} (${code})`, { cause: error }), {
      code,
    })
  }
}

/** @returns false when nothing is there @throws when something else is */
function isFolder(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats !== undefined && !stats.isDirectory())
    throw Object.assign(new Error('no folder'), { code: 'ENOTDIR' })
  return stats !== undefined
}

function makeOne(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Another process may have made it at this moment.
    if (codeOf(error) !== 'EEXIST' || !isFolder(path)) throw error
  }
}
