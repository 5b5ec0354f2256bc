/** The real program as a process of its own: arguments, environment, signals, exit codes, memory. */
import { spawn, type ChildProcess, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import type { Readable } from 'node:stream'
import { join } from 'node:path'
import type { Test } from 'tap'
import { testSettings } from './gateway.ts'

/** The program. */
export const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** A program that runs. */
export interface Program {
  child: ChildProcess
  pid: number
  stdout: () => string
  stderr: () => string
  /** Log lines so far, parsed. */
  logLines: () => Array<Record<string, unknown>>
  /** Waits for a log line with this message. */
  logged: (message: string) => Promise<Record<string, unknown>>
  /** Resolves with the exit code, or the name of the signal that ended it. */
  exited: Promise<number | string>
  /** Resident memory in bytes. */
  memory: () => number
  /** Open file descriptors. */
  openFiles: () => number
}

/** A folder that is removed when the test ends. */
export function temporaryFolder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'workspace-gateway-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/**
 * Runs the program with arguments and exactly this environment; it is killed when the test ends.
 * @param main what is run: the source when not given
 */
export function run(
  t: Test,
  args: readonly string[],
  env: Record<string, string | undefined>,
  main = MAIN,
): Program {
  return watch(
    t,
    spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
}

/** Watches a program, or a supervisor that runs it; it is killed when the test ends. */
export function watch(t: Test, child: ChildProcessByStdio<null, Readable, Readable>): Program {
  let stdout = ''
  let stderr = ''
  const waiting = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    for (const wake of waiting) wake()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exited = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const logLines = () =>
    stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  const pid = child.pid ?? 0
  return {
    child,
    pid,
    stdout: () => stdout,
    stderr: () => stderr,
    logLines,
    logged: (message) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = logLines().find(({ msg }) => msg === message)
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
        void exited.then((code) => reject(new Error(`ended with ${code}: ${stderr}`)))
      }),
    exited,
    memory() {
      const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
      return Number(kilobytes?.[1]) * 1024
    },
    openFiles: () => readdirSync(`/proc/${pid}/fd`).length,
  }
}

/** Runs the gateway on a free port and waits until it listens. */
export async function serve(
  t: Test,
  overrides: Record<string, string | undefined> = {},
  main = MAIN,
) {
  const stateDir = overrides['GATEWAY_STATE_DIR'] ?? temporaryFolder(t)
  const program = run(
    t,
    ['serve'],
    testSettings({ GATEWAY_STATE_DIR: stateDir, ...overrides }),
    main,
  )
  const { port } = await program.logged('listening')
  return { ...program, port: Number(port), stateDir }
}
