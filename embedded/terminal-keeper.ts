/** How do the shells of `npm start` survive a reload? The keeper of terminals runs in front of the terminal, as in production. */
import { spawn } from 'node:child_process'
import { closeSync, openSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Environment } from '../src/config/load.ts'
import { endChild, endWords, hasStarted, type Child } from './child-program.ts'
import type { Running } from './listener.ts'
import { privateFolder } from './private-folder.ts'

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const ENDS_WITH_PARENT = new URL('ends-with-parent.ts', import.meta.url).href
const SOCKET = 'terminals.sock'

/** Options of the keeper. */
export interface TerminalKeeperOptions {
  /** The terminal's address. */
  readonly terminal: string
  /** The settings of the keeper that the user has set, `TERMINALS_…`, and the environment of the process. */
  readonly env: Environment
  /** The file to which the keeper writes its log. */
  readonly logFile: string
  /** Called with a message for a person when the keeper ends unexpectedly. */
  readonly onUnexpectedExit: (message: string) => void
}

/** Starts the keeper of terminals as a child process. Resolves when it accepts connections. */
export async function startTerminalKeeper({
  terminal,
  env,
  logFile,
  onUnexpectedExit,
}: TerminalKeeperOptions): Promise<Running> {
  const folder = await privateFolder(SOCKET)
  const socket = join(folder, SOCKET)
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(process.execPath, ['--import', ENDS_WITH_PARENT, MAIN, 'terminals'], {
    // A group of its own: Ctrl+C reaches the whole group of this process, and the gateway says goodbye to terminals first.
    detached: true,
    env: { ...env, TERMINALS_SOCKET: socket, TERMINALS_TTYD_URL: terminal },
    stdio: ['ignore', log, 'pipe', 'ipc'],
  }) as Child
  closeSync(log)
  const endWithUs = () => {
    child.kill('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', endWithUs)
  let closing = false
  const close = async () => {
    closing = true
    await endChild(child)
    process.off('exit', endWithUs)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await hasStarted('The keeper of terminals', child, socket)
  } catch (error) {
    await close()
    throw error
  }
  child.once('exit', (code, signal) => {
    if (!closing) onUnexpectedExit(`The keeper of terminals has ended (${endWords(code, signal)}).`)
  })
  return { url: `unix:${socket}`, close }
}
