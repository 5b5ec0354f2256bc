/** How the machine's own ttyd is run as the workspace's terminal. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { ResolvedTerminalOptions, RunningTerminal } from './terminal.ts'

type Ttyd = ChildProcessByStdio<null, null, Readable>

const START_MS = 10_000
const RETRY_MS = 25
/** How long ttyd may take to end on SIGTERM; it needs milliseconds. */
const STOP_MS = 3000
const LAST_WORDS = 2000

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

/** Runs ttyd as a child of this process, on a free port of 127.0.0.1; resolves once it accepts connections. */
export async function startTtyd(
  program: string,
  options: ResolvedTerminalOptions,
): Promise<RunningTerminal> {
  const port = await freePort()
  const child = spawn(program, ttydArguments(port, options), {
    env: options.env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  // However this process ends, ttyd does not stay behind alone.
  const endWithUs = () => child.kill('SIGTERM')
  process.once('exit', endWithUs)
  child.once('exit', () => process.off('exit', endWithUs))
  const lastWords = keepLastWords(child)
  const started = new AbortController()
  try {
    await Promise.race([
      acceptsConnections(port, started.signal),
      failure(child, program, lastWords, started.signal),
    ])
  } catch (error) {
    await end(child)
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
    url: `http://127.0.0.1:${port}`,
    async close() {
      closing = true
      await end(child)
    },
  }
}

function ttydArguments(port: number, { credential, shell }: ResolvedTerminalOptions): string[] {
  // ttyd 1.7.7 takes its credential from the command line only, where this machine's other users can see it.
  // A browser answers a ping when it has shown the output before it: with the default of 5 s, long output costs the shell.
  const own = ['-i', '127.0.0.1', '-p', String(port), '--credential', credential]
  return [...own, '--base-path', '/terminal', '--ping-interval', '300', '--writable', shell]
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

async function acceptsConnections(port: number, signal: AbortSignal): Promise<void> {
  while (!(await canConnect(port))) await delay(RETRY_MS, undefined, { signal })
}

async function canConnect(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
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
  return () => {
    // It also writes the credential, in base64.
    const lines = text.split('\n').filter((line) => !/credential/i.test(line))
    return lines.join('\n').trim()
  }
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
