/** How does a test's program die at every step of its writing? It kills itself before a statement, or before a file is made or renamed. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { DatabaseSync, StatementSync } from 'node:sqlite'

/**
 * Kills the process with SIGKILL before a step. To be called before the modules are loaded that make steps.
 * @returns a function that begins to count again
 */
export function killAtStep(step: number): () => void {
  let steps = 0
  const killBefore = <Name extends string>(
    owner: Record<Name, (...args: never[]) => unknown>,
    name: Name,
  ): void => {
    const work = owner[name]
    owner[name] = function counted(this: unknown, ...args: never[]) {
      if (++steps === step) process.kill(process.pid, 'SIGKILL')
      return work.apply(this, args)
    }
  }
  killBefore(DatabaseSync.prototype, 'exec')
  killBefore(DatabaseSync.prototype, 'close')
  killBefore(StatementSync.prototype, 'run')
  killBefore(fs as never, 'renameSync')
  killBefore(fs as never, 'openSync')
  syncBuiltinESMExports()
  return () => {
    steps = 0
  }
}
