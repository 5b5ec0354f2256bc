/** How the machine's own ttyd is run as the workspace's terminal. */
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
/** How long ttyd may take to end on SIGTERM; it needs milliseconds. */
const STOP_MS = 3000
const LAST_WORDS = 2000
/** The shortest limit that a system has for the path of a Unix socket (macOS). */
const SOCKET_PATH_BYTES = 103

/** The absolute path of the `ttyd` that a shell with this PATH would run, or null. */
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
 * Runs ttyd as a child of this process, with the gate that asks for the password before it. Both listen on sockets in a
 * folder that only this user can enter. Resolves once ttyd accepts connections.
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
  // However this process ends, ttyd does not stay behind alone.
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
  // No --credential: ttyd 1.7.7 takes it from the command line only, where this machine's other users can see it.
  // A browser answers a ping when it has shown the output before it: with the default of 5 s, long output costs the shell.
  const own = ['-i', socket, '--base-path', '/terminal']
  return [...own, '--ping-interval', '300', '--writable', shell]
}

/** A new folder of mode 700. Not in the state folder: the path of a socket has to be short. */
async function privateFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'workspace-terminal-'))
  if (Buffer.byteLength(join(folder, 'ttyd.sock')) <= SOCKET_PATH_BYTES) return folder
  await rm(folder, { recursive: true })
  throw new Error(`The path of TMPDIR (${tmpdir()}) is too long for a socket in it.`)
}

async function acceptsConnections(path: string, signal: AbortSignal): Promise<void> {
  while (!(await canConnect({ path }, START_MS))) await delay(RETRY_MS, undefined, { signal })
}

/** Rejects when ttyd cannot be run, ends early, or does not come up in time. */
async function failure(
  child: Ttyd,
  program: string,
  lastWords: () => string,
  signal: AbortSignal,
): Promise<never> {
  // 'close' comes after 'exit' and after the last of stderr.
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

/** ttyd writes a line for each visitor: all is read, so that it never blocks, and the end of it is kept. */
function keepLastWords(child: Ttyd): () => string {
  let text = ''
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-LAST_WORDS)
  })
  return () => text.trim()
}

/** Ends the process that was started here, by its own id, and waits until it is gone. */
async function end(child: Ttyd): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const impatience = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(impatience)
}
