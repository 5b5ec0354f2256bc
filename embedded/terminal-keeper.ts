/** How do the shells of `npm start` survive a reload? The keeper of terminals runs in front of the terminal, as in production. */
import { rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Environment } from '../src/config/load.ts'
import type { Running } from './listener.ts'
import { startOwnProgram } from './own-program.ts'
import { privateFolder } from './private-folder.ts'

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
  ...rest
}: TerminalKeeperOptions): Promise<Running> {
  const folder = await privateFolder(SOCKET)
  const socket = join(folder, SOCKET)
  const removeWithUs = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', removeWithUs)
  const remove = async () => {
    process.off('exit', removeWithUs)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const end = await startOwnProgram({
      ...{ command: 'terminals', name: 'The keeper of terminals', ready: socket },
      env: { ...env, TERMINALS_SOCKET: socket, TERMINALS_TTYD_URL: terminal },
      ...rest,
    })
    return {
      url: `unix:${socket}`,
      async close() {
        await end()
        await remove()
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}
