/** What happens on a terminal's WebSocket? ttyd's protocol is translated to the input and output of a real shell. */
import { hostname } from 'node:os'
import { basename } from 'node:path'
import pty, { type IPty } from '@lydell/node-pty'
import type { WebSocket } from 'ws'
import { flowOf, type Flow } from './terminal-flow.ts'

/** Options for each shell. */
export interface ShellOptions {
  shell: string
  env: NodeJS.ProcessEnv
  /** Whether a value is the token from `/terminal/token`. */
  isToken: (token: unknown) => boolean
  /** Milliseconds between two pings. */
  pingMs: number
  /** Milliseconds without any message after which the browser is considered gone. */
  cutMs: number
}

/** All shells of one terminal. */
export interface Shells {
  /** Serves a WebSocket whose handshake had the right password. */
  readonly serve: (socket: WebSocket) => void
  /** Resolves when the processes of all shells have ended. */
  readonly ended: () => Promise<void>
}

/** The first character of a message from the browser. */
const INPUT = '0'
const RESIZE = '1'
const PAUSE = '2'
const RESUME = '3'
/** The first character of a message to the browser. */
const TITLE = '1'
const PREFERENCES = '2'

/** How long a shell may take to end after its browser has disconnected, in milliseconds. */
const HANGUP_MS = 2000
const POLICY_VIOLATION = 1008

/** Keeps the list of running shells, so that a stop can wait for them. */
export function shellsOf(options: ShellOptions): Shells {
  const running = new Set<Promise<void>>()
  return {
    serve(socket) {
      watch(socket, options)
      // The shell starts before the next message is read, so input that follows at once is not lost.
      socket.once('message', (data) => {
        const size = authenticated(data as Buffer, options)
        if (size === null) return socket.close(POLICY_VIOLATION, 'not authenticated')
        const ended = runShell(socket, size, options).finally(() => running.delete(ended))
        running.add(ended)
      })
    },
    async ended() {
      await Promise.all(running)
    },
  }
}

interface Size {
  columns: number
  rows: number
}

/** Returns the window size in a first message that has the right token, else null. */
function authenticated(data: Buffer, { isToken }: ShellOptions): Size | null {
  const message = parseObject(data.toString())
  return message !== null && isToken(message['AuthToken']) ? sizeFrom(message) : null
}

/** Runs one shell for one browser. Resolves when the shell's process has ended. */
async function runShell(
  socket: WebSocket,
  size: Size,
  { shell, env }: ShellOptions,
): Promise<void> {
  const { promise: exited, resolve } = Promise.withResolvers<void>()
  let terminal: IPty
  try {
    terminal = pty.spawn(shell, [], {
      name: 'xterm-256color',
      cols: size.columns,
      rows: size.rows,
      cwd: env['HOME'] ?? process.cwd(),
      env,
      // No decoding: the browser joins characters that are split between two messages.
      encoding: null,
    })
  } catch {
    socket.close(1011, 'the shell cannot be started')
    return
  }
  let alive = true
  terminal.onExit(() => {
    alive = false
    socket.close(1000)
    resolve()
  })
  socket.send(Buffer.from(`${TITLE}${basename(shell)} (${hostname()})`))
  socket.send(Buffer.from(`${PREFERENCES}{"unicodeVersion":"6"}`))

  const flow = flowOf(socket, terminal)
  terminal.onData((data) => flow.send(data as unknown as Buffer))
  socket.on('message', (data) => {
    if (alive) handleMessage(data as Buffer, terminal, flow)
  })
  let impatience: NodeJS.Timeout | undefined
  socket.once('close', () => {
    if (!alive) return
    terminal.kill('SIGHUP')
    impatience = setTimeout(() => terminal.kill('SIGKILL'), HANGUP_MS)
  })
  await exited
  clearTimeout(impatience)
}

function handleMessage(message: Buffer, terminal: IPty, flow: Flow): void {
  const rest = message.subarray(1)
  switch (String.fromCharCode(message[0] ?? 0)) {
    case INPUT:
      // The cast is needed only for the type: the pty accepts bytes too.
      terminal.write(rest as unknown as string)
      break
    case RESIZE: {
      const size = sizeFrom(parseObject(rest.toString()) ?? {})
      if (size !== null) terminal.resize(size.columns, size.rows)
      break
    }
    case PAUSE:
      flow.pausedByBrowser(true)
      break
    case RESUME:
      flow.pausedByBrowser(false)
      break
    default:
    // ttyd ignores unknown messages too.
  }
}

/** Pings the browser, as ttyd does, and disconnects one that is gone. */
function watch(socket: WebSocket, { pingMs, cutMs }: ShellOptions): void {
  let seen = performance.now()
  const alive = () => {
    seen = performance.now()
  }
  socket.on('message', alive).on('pong', alive).on('ping', alive)
  socket.on('error', () => socket.terminate())
  const timer = setInterval(() => {
    if (performance.now() - seen >= cutMs) socket.terminate()
    else socket.ping()
  }, pingMs)
  socket.once('close', () => clearInterval(timer))
}

function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

function sizeFrom({ columns = 80, rows = 24 }: Record<string, unknown>): Size | null {
  return isCount(columns) && isCount(rows) ? { columns, rows } : null
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 10_000
}
