/** How does the machine's own ttyd become the workspace's terminal? As a child process behind the gate (terminal-gate.ts). */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { constants, rmSync } from 'node:fs'
import { access, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { canConnect } from '../src/services/can-connect.ts'
import type { Running } from './listener.ts'
import { startTerminalGate } from './terminal-gate.ts'
import type { ResolvedTerminalOptions, RunningTerminal } from './terminal.ts'

type Ttyd = ChildProcessByStdio<null, null, Readable>

const START_MS = 10_000
const RETRY_MS = 25
/** How long ttyd may take to end after SIGTERM, in milliseconds. It normally needs a few. */
const STOP_MS = 3000
const LAST_WORDS = 2000
/** The longest path of a Unix socket on every system, in bytes. macOS has the lowest limit. */
const SOCKET_PATH_BYTES = 103

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
  const folder = await privateFolder()
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
    await end(child)
    process.off('exit', endWithUs)
    await rm(folder, { recursive: true, force: true })
  }
  const lastWords = keepLastWords(child)
  const started = new AbortController()
  let gate: Running
  try {
    await Promise.race([
      acceptsConnections(socket, started.signal),
      failure(child, program, lastWords, started.signal),
    ])
    gate = await startTerminalGate(options.credential, join(folder, 'gate.sock'), socket)
  } catch (error) {
    await close()
    throw error
  } finally {
    started.abort()
  }
  let closing = false
  child.once('exit', (code, signal) => {
    if (!closing)
      options.onUnexpectedExit(`${program} has ended (${signal ?? `exit code ${code}`}).`)
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

/** Creates a folder with mode 700. It is not in the state folder, because the path of a socket must be short. */
async function privateFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'workspace-terminal-'))
  if (Buffer.byteLength(join(folder, 'ttyd.sock')) <= SOCKET_PATH_BYTES) return folder
  await rm(folder, { recursive: true })
  throw new Error(`The path of TMPDIR (${tmpdir()}) is too long for a socket in it.`)
}

async function acceptsConnections(path: string, signal: AbortSignal): Promise<void> {
  while (!(await canConnect({ path }, START_MS))) await delay(RETRY_MS, undefined, { signal })
}

/** Rejects when ttyd cannot be run, ends early, or does not start in time. */
async function failure(
  child: Ttyd,
  program: string,
  lastWords: () => string,
  signal: AbortSignal,
): Promise<never> {
  // Wait for 'close', which comes after 'exit' and after the end of stderr.
  const ended = once(child, 'close', { signal }).then(
    ([code, killedBy]) => `ended while starting (${killedBy ?? `exit code ${code}`})`,
  )
  const silent = delay(START_MS, `accepted no connection within ${START_MS / 1000} s`, { signal })
  let what
  try {
    what = await Promise.race([ended, silent])
  } catch (error) {
    throw new Error(`${program} could not be run: ${(error as Error).message}`, { cause: error })
  }
  throw new Error(`${program} ${what}. ${lastWords() || 'It wrote nothing to stderr.'}`)
}

/** Reads all of ttyd's log, so that ttyd never blocks on a full pipe, and keeps the last part for an error message. */
function keepLastWords(child: Ttyd): () => string {
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-LAST_WORDS)
  })
  return () => text.trim()
}

/** Ends the child process and waits until it has ended. */
async function end(child: Ttyd): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(impatience)
}
