/** Which terminal the workspace gets: this machine's own ttyd, or a built-in one that speaks the same protocol. */
import { userInfo } from 'node:os'
import { findTtyd, startTtyd } from './terminal-ttyd.ts'
import type { Running } from './listener.ts'

/** What a terminal needs to know. */
export interface TerminalOptions {
  /** Who may use it, as `user:password`. */
  credential: string
  /** The program to run for each visitor. Default: the user's own shell. */
  shell?: string
  /** The environment of the shell. Default: this process's own, without the gateway's and npm's variables. */
  env?: NodeJS.ProcessEnv
  /** Told, as text for a person, when the terminal ends without having been closed. */
  onUnexpectedExit?: (message: string) => void
}

/** A terminal that is up, below `/terminal` of its url. It asks for its password itself. */
export interface RunningTerminal extends Running {
  readonly kind: 'ttyd' | 'built-in'
  /** The process to watch: ttyd's own, or this one. */
  readonly pid: number
}

/** Options with every default filled in. */
export type ResolvedTerminalOptions = Required<TerminalOptions>

/** Starts ttyd when there is one on the PATH, else the built-in terminal. */
export async function startTerminal(options: TerminalOptions): Promise<RunningTerminal> {
  const resolved = {
    shell: usersShell(),
    env: shellEnvironment(process.env),
    onUnexpectedExit: () => {},
    ...options,
  }
  const ttyd = await findTtyd(process.env['PATH'] ?? '')
  if (ttyd !== null) return await startTtyd(ttyd, resolved)
  // Loaded only now: a machine with a ttyd of its own can do without a pty library for its platform.
  const { startBuiltInTerminal } = await import('./terminal-built-in.ts')
  return await startBuiltInTerminal(resolved)
}

/** What a person's shell may see: the gateway's secrets are not among it, nor what npm says to its scripts. */
export function shellEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !/^(?:GATEWAY_|npm_)/.test(name))
  return { ...Object.fromEntries(kept), TERM: 'xterm-256color' }
}

function usersShell(): string {
  try {
    return process.env['SHELL'] || userInfo().shell || '/bin/sh'
  } catch {
    // An account without an entry in the list of users has no shell of its own.
    return '/bin/sh'
  }
}
