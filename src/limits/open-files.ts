/** How many files may this process have open? Whoever takes connections must leave some for the rest of the process. */
import { readFileSync } from 'node:fs'

/** How many files this process may have open; infinite where the system has no /proc (proc(5)) or no limit. */
export function openFilesLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity)
  } catch {
    return Infinity
  }
}
