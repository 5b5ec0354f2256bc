/** How does a test run the real program? As a child process, with its arguments, environment, signals and exit code. */
import { spawn, type ChildProcess, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Arrivals, memoryOf } from './waiting.ts'
import { testSettings } from './gateway.ts'

/** The source file of the program. */
export const MAIN = new URL('../../src/main.ts', import.meta.url).pathname

/** A running program. */
export interface Program {
  child: ChildProcess
  pid: number
  stdout: () => string
  stderr: () => string
  /** The parsed log lines so far. */
  logLines: () => Array<Record<string, unknown>>
  /** Waits for a log line with this message. */
  logged: (message: string) => Promise<Record<string, unknown>>
  /** Resolves with the exit code, or with the name of the signal that ended the process. */
  exited: Promise<number | string>
  /** The resident memory in bytes. */
  memory: () => number
  /** The number of open file descriptors. */
  openFiles: () => number
}

/** Creates a folder that is removed when the test ends. */
export function temporaryFolder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'workspace-gateway-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Copies parts of the project to a folder that is removed when the test ends, and links node_modules there. */
export function copyOfProject(t: Test, parts: readonly string[]): string {
  const root = new URL('../..', import.meta.url).pathname
  const folder = temporaryFolder(t)
  for (const part of parts) cpSync(join(root, part), join(folder, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

/**
 * Runs the program with arguments and exactly this environment. It is killed when the test ends.
 * @param main the file to run; by default the source
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

/** Runs the real command with this environment and nothing else: tap gives every process NODE_OPTIONS, with which no vault starts. */
export function runBare(
  t: Test,
  args: readonly string[],
  env: Record<string, string | undefined>,
): Program {
  const command = ['-u', 'NODE_OPTIONS', process.execPath, MAIN, ...args]
  return watch(t, spawn('env', command, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
}

/** Watches a program, or a supervisor that runs it. It is killed when the test ends. */
export function watch(
  t: Test,
  child: ChildProcessByStdio<Writable | null, Readable, Readable>,
): Program {
  let stdout = ''
  let stderr = ''
  const arrivals = new Arrivals()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    arrivals.wake()
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
      Promise.race([
        arrivals.until(() => logLines().find(({ msg }) => msg === message)),
        exited.then((code) => {
          throw new Error(`ended with ${code}: ${stderr}`)
        }),
      ]),
    exited,
    memory: () => memoryOf(pid),
    openFiles: () => readdirSync(`/proc/${pid}/fd`).length,
  }
}

/** Starts the gateway on a free port and waits until it listens. */
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
