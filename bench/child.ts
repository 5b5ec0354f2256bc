/** Starts the processes that a measurement needs, on the cores that are theirs, and ends every one of them. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, closeSync, constants, existsSync, openSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { availableParallelism, setPriority } from 'node:os'
import { join } from 'node:path'

/** Who runs where: what is measured has a core of its own, load and upstream share the others. */
export type Side = 'peer' | 'load' | 'anywhere'

/** How to start a process. */
export interface Launch {
  readonly side: Side
  readonly env?: Readonly<Record<string, string>>
  /** A file for its standard output; dropped when not given. Its standard error is always ours. */
  readonly output?: string
}

const TASKSET = findProgram('taskset')

/** Whether what is measured has a core of its own. */
export const IS_PINNED = TASKSET !== undefined && availableParallelism() > 1

const running = new Set<ChildProcess>()

/** Nine times the share of a program that has the usual niceness, 0. */
const PREFERRED = -10

let goesFirst = false

/** From now on what is started here goes before the other programs of this machine. Takes root. */
export function goFirst(): void {
  goesFirst = true
}

/**
 * Starts a process in a session of its own: where the kernel shares cores between sessions first (autogroup), a niceness
 * counts for the session.
 */
function spawnPreferred(
  command: readonly string[],
  output: number | 'ignore' | 'pipe',
  env?: NodeJS.ProcessEnv,
): ChildProcess {
  const [program = '', ...args] = command
  const stdio: StdioOptions = ['ignore', output, 'inherit']
  const child = spawn(program, args, { env, stdio, detached: true })
  running.add(child)
  child.once('exit', () => running.delete(child))
  if (!goesFirst || child.pid === undefined) return child
  setPriority(child.pid, PREFERRED)
  const autogroup = `/proc/${child.pid}/autogroup`
  if (existsSync(autogroup)) writeFileSync(autogroup, String(PREFERRED))
  return child
}

/** The path of an installed program, or undefined. Debian keeps servers where only root's PATH leads. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** The command that runs another one on a side's cores. */
function onCores(side: Side, command: readonly string[]): string[] {
  if (!IS_PINNED || TASKSET === undefined || side === 'anywhere') return [...command]
  const cores = side === 'peer' ? '0' : `1-${availableParallelism() - 1}`
  return [TASKSET, '--cpu-list', cores, ...command]
}

/** Starts a process that runs until {@link stop}. */
export function start(
  command: readonly string[],
  { side, env = {}, output }: Launch,
): ChildProcess {
  const file = output === undefined ? 'ignore' : openSync(output, 'a')
  const child = spawnPreferred(onCores(side, command), file, {
    PATH: process.env['PATH'] ?? '',
    ...env,
  })
  if (typeof file === 'number') closeSync(file)
  return child
}

/** Starts a file of ours with this Node. */
export function startScript(file: URL, args: readonly string[], launch: Launch): ChildProcess {
  return start([process.execPath, file.pathname, ...args], launch)
}

/** Ends a process, the hard way when it does not go within three seconds. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 3000)
  await gone
  clearTimeout(timer)
}

/** Ends every process that was started here. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map(stop))
}

/** Runs a process to its end. @returns what it wrote @throws {Error} when it fails */
export async function runToEnd(command: readonly string[], side: Side): Promise<string> {
  const child = spawnPreferred(onCores(side, command), 'pipe')
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${text}`)
  return text
}

/** A port that nobody listens on just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Waits so many milliseconds. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds)
  })
}

/** Runs a script of ours on the load's cores. @returns what it printed, parsed */
export async function runScript<Result>(file: URL, job: object): Promise<Result> {
  const text = await runToEnd([process.execPath, file.pathname, JSON.stringify(job)], 'load')
  return JSON.parse(text) as Result
}
