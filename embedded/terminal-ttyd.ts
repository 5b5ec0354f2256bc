/** How does the machine's own ttyd become the workspace's terminal? As a child process behind the gate (terminal-gate.ts). */
import { spawn } from 'node:child_process'
import { constants, rmSync } from 'node:fs'
import { access, rm, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { endChild, endWords, hasStarted } from './child-program.ts'
import type { Running } from './listener.ts'
import { privateFolder } from './private-folder.ts'
import { startTerminalGate } from './terminal-gate.ts'
import type { ResolvedTerminalOptions, RunningTerminal } from './terminal.ts'

/** Returns the absolute path of the `ttyd` that a shell with this PATH would run, or null. */
export async function findTtyd(path: string): Promise<string | null> {
  for (const folder of path.split(delimiter).filter((part) => part.startsWith('/'))) {
    const file = join(folder, 'ttyd')
    const found = await access(file, constants.X_OK)
      .then(async () => (await stat(file)).isFile())
      .catch(() => false)
    if (found) return file
  }
  return null
}

/**
 * Runs ttyd as a child of this process, behind the gate that checks the password. Both listen on Unix sockets in a folder that
 * only this user can open. Resolves when ttyd accepts connections.
 */
export async function startTtyd(
  program: string,
  options: ResolvedTerminalOptions,
): Promise<RunningTerminal> {
  const folder = await privateFolder('ttyd.sock')
  const socket = join(folder, 'ttyd.sock')
  const child = spawn(program, ttydArguments(socket, options), {
    env: options.env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  // End ttyd when this process exits.
  const endWithUs = () => {
    child.kill('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', endWithUs)
  const close = async () => {
    await endChild(child)
    process.off('exit', endWithUs)
    await rm(folder, { recursive: true, force: true })
  }
  let gate: Running
  try {
    await hasStarted(program, child, socket)
    gate = await startTerminalGate(options.credential, join(folder, 'gate.sock'), socket)
  } catch (error) {
    await close()
    throw error
  }
  let closing = false
  child.once('exit', (code, signal) => {
    if (!closing) options.onUnexpectedExit(`${program} has ended (${endWords(code, signal)}).`)
  })
  return {
    kind: 'ttyd',
    pid: child.pid as number,
    url: gate.url,
    async close() {
      closing = true
      await gate.close()
      await close()
    },
  }
}

function ttydArguments(socket: string, { shell }: ResolvedTerminalOptions): string[] {
  // No --credential: ttyd 1.7.7 reads it only from the command line, which other users of this machine can see.
  // A long ping interval: a browser responds to a ping after it has displayed the output sent before. With the default of 5 s,
  // ttyd ends the shell during long output.
  const own = ['-i', socket, '--base-path', '/terminal']
  return [...own, '--ping-interval', '300', '--writable', shell]
}
