/** Which terminal does the workspace get? This machine's own ttyd, or else the built-in one, which has the same protocol. */
import { userInfo } from 'node:os'
import { findTtyd, startTtyd } from './terminal-ttyd.ts'
import type { Running } from './listener.ts'

/** Options of a terminal. */
export interface TerminalOptions {
  /** The user and password that open the terminal, as `user:password`. */
  credential: string
  /** The program to run for each WebSocket. Default: the user's own shell. */
  shell?: string
  /** The environment of the shell. Default: this process's environment, without the gateway's and npm's variables. */
  env?: NodeJS.ProcessEnv
  /** Called with a message for a person when the terminal ends unexpectedly. */
  onUnexpectedExit?: (message: string) => void
}

/** A running terminal, below `/terminal` of its URL. The terminal itself checks its password. */
export interface RunningTerminal extends Running {
  readonly kind: 'ttyd' | 'built-in'
  /** The process to watch: ttyd's, or this one. */
  readonly pid: number
}

/** Options with all defaults filled in. */
export type ResolvedTerminalOptions = Required<TerminalOptions>

/** Starts ttyd if it is on the PATH, else the built-in terminal. */
export async function startTerminal(options: TerminalOptions): Promise<RunningTerminal> {
  const resolved = {
    shell: usersShell(),
    env: shellEnvironment(process.env),
    onUnexpectedExit: () => {},
    ...options,
  }
  const ttyd = await findTtyd(process.env['PATH'] ?? '')
  if (ttyd !== null) return await startTtyd(ttyd, resolved)
  // Loaded only when needed, because a machine with ttyd needs no pty library for its platform.
  const { startBuiltInTerminal } = await import('./terminal-built-in.ts')
  return await startBuiltInTerminal(resolved)
}

/** The environment for a shell: without the workspace's variables, which include secrets, and without npm's. */
export function shellEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) => !/^(?:GATEWAY_|LIMITS_|LINK_|RELAY_|TERMINALS_|VAULT_|npm_)/.test(name),
  )
  return { ...Object.fromEntries(kept), TERM: 'xterm-256color' }
}

function usersShell(): string {
  try {
    return process.env['SHELL'] || userInfo().shell || '/bin/sh'
  } catch {
    // userInfo throws for an account without an entry in the user database.
    return '/bin/sh'
  }
}
