/**
 * How does a test reach every step of writing a file? It replaces the functions of node:fs that change something, and is told before
 * each call. A write is two steps: before the first byte, and after half of the bytes.
 */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

/** The functions that are steps, besides the writes. */
const STEPS = ['openSync', 'fsyncSync', 'fdatasyncSync', 'linkSync', 'renameSync'] as const
const MORE_STEPS = ['rmSync', 'ftruncateSync', 'closeSync', 'fchmodSync'] as const

type Work = (...args: unknown[]) => unknown

/**
 * Calls `before` before each step. It may throw, as a full disk does, or end the process.
 * @param names the steps; by default all
 * @returns puts the functions back
 */
export function watchFileSteps(
  before: (name: string) => void,
  names?: readonly string[],
): () => void {
  const owner = fs as unknown as Record<string, Work>
  const originals: Array<[string, Work]> = []
  const replace = (name: string, make: (work: Work) => Work): void => {
    const work = owner[name]
    if (work === undefined || names?.includes(name) === false) return
    originals.push([name, work])
    owner[name] = make(work)
  }
  for (const name of [...STEPS, ...MORE_STEPS])
    replace(name, (work) => (...args) => {
      before(name)
      return work(...args)
    })
  replace('writeFileSync', (work) => (target, content, ...rest) => {
    before('writeFileSync')
    const bytes = Buffer.from(content as string)
    const half = Math.floor(bytes.length / 2)
    work(target, bytes.subarray(0, half), ...rest)
    before('writeFileSync half')
    return work(target, bytes.subarray(half), ...rest)
  })
  replace('writeSync', (work) => (fd, bytes, offset, ...rest) => {
    const buffer = bytes as Buffer
    if (offset !== 0) return work(fd, buffer, offset, ...rest) // the second half
    before('writeSync')
    const done = work(fd, buffer, 0, Math.ceil(buffer.length / 2))
    before('writeSync half')
    return done
  })
  syncBuiltinESMExports()
  return () => {
    for (const [name, work] of originals) owner[name] = work
    syncBuiltinESMExports()
  }
}

/** An error as the system makes it. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made by a test`), { code })
}
