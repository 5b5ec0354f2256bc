/** What is in the memory of another process? A test searches it for secrets that the process must not have. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

/** The largest piece that is read at once, in bytes. */
const PIECE = 4 * 1024 * 1024

/**
 * Which of some byte strings are in the memory of a child process: in all of its pages that it can write, of whatever use (proc(5)).
 * @returns the names of those that were found
 */
export function foundInMemory(pid: number, wanted: ReadonlyMap<string, Buffer>): Set<string> {
  const found = new Set<string>()
  const longest = Math.max(...[...wanted.values()].map(({ length }) => length))
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const { start, end } of writablePages(pid))
      for (let at = start; at < end; at += PIECE) {
        const piece = readAt(memory, at, Math.min(end, at + PIECE + longest) - at)
        for (const [name, bytes] of wanted) if (piece.includes(bytes)) found.add(name)
      }
  } finally {
    closeSync(memory)
  }
  return found
}

function writablePages(pid: number): Array<{ start: number; end: number }> {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n')
  return lines.flatMap((line) => {
    const [, start = '', end = '', rights = ''] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? []
    if (!rights.startsWith('rw')) return []
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }]
  })
}

/** What can be read; a page that is gone by then is left out. */
function readAt(memory: number, at: number, length: number): Buffer {
  const piece = Buffer.alloc(length)
  try {
    return piece.subarray(0, readSync(memory, piece, 0, length, at))
  } catch {
    return Buffer.alloc(0)
  }
}
