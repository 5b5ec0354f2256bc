/** How does another process of this project run beside the gateway? As a child process that ends with this one, however that ends. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Environment } from '../src/config/load.ts'
import { endChild, endWords, hasStarted, type Child } from './child-program.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const ENDS_WITH_PARENT = new URL('ends-with-parent.ts', import.meta.url).href

/** The descriptor at which a program finds {@link OwnProgramOptions.descriptor}: the one after those that every program gets. */
export const FIRST_FREE_DESCRIPTOR = 4

/** Options of a program. */
export interface OwnProgramOptions {
  /** The command of `workspace-gateway` that it runs. */
  readonly command: 'link' | 'relay' | 'terminals' | 'vault'
  /** Its name in messages, with an article. */
  readonly name: string
  /** Its environment. What its compiled code is cached in is added: a folder beside `logFile`. */
  readonly env: Environment
  /** The Unix socket that it opens when it is ready, or tells whether it is ready. */
  readonly ready: string | (() => boolean)
  /** The file to which its standard output is appended (mode 600). */
  readonly logFile: string
  /** An open file that it inherits as {@link FIRST_FREE_DESCRIPTOR}. It stays open in this process. Default: none. */
  readonly descriptor?: number
  /** Called with a message for a person when it ends although nobody has ended it. */
  readonly onUnexpectedExit: (message: string) => void
}

/**
 * Starts a program, and resolves when it is ready.
 * @returns a function that ends it, and resolves when it has ended
 * @throws {Error} with the program's last words when it does not start; nothing is left running
 */
export async function startOwnProgram({
  command,
  name,
  env,
  ready,
  logFile,
  descriptor,
  onUnexpectedExit,
}: OwnProgramOptions): Promise<() => Promise<void>> {
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(process.execPath, ['--import', ENDS_WITH_PARENT, MAIN, command], {
    // A group of its own: Ctrl+C reaches the whole group of this process, and the gateway says goodbye to its clients first.
    detached: true,
    // Without the cache, compiling the TypeScript takes most of a program's start.
    env: { NODE_COMPILE_CACHE: join(dirname(logFile), 'compile-cache'), ...env },
    stdio: ['ignore', log, 'pipe', 'ipc', ...(descriptor === undefined ? [] : [descriptor])],
  }) as Child
  closeSync(log)
  const endWithUs = () => child.kill('SIGTERM')
  process.once('exit', endWithUs)
  let closing = false
  const close = async () => {
    closing = true
    await endChild(child)
    process.off('exit', endWithUs)
  }
  try {
    await hasStarted(name, child, ready)
  } catch (error) {
    await close()
    throw error
  }
  child.once('exit', (code, signal) => {
    if (!closing) onUnexpectedExit(`${name} has ended (${endWords(code, signal)}).`)
  })
  return close
}
