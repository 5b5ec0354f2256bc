/** How are the processes of a measurement started and ended? Each is pinned to the cores of its side; all are ended. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, closeSync, constants, existsSync, openSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { availableParallelism, setPriority } from 'node:os'
import { join } from 'node:path'

/** The side of a process: the measured program has a core of its own; load and upstream share the others. */
export type Side = 'peer' | 'load' | 'anywhere'

/** Options for starting a process. */
export interface Launch {
  readonly side: Side
  readonly env?: Readonly<Record<string, string>>
  /** A file for standard output, which is discarded by default. */
  readonly output?: string
  /** Whether standard error goes to that file too. By default it is inherited. */
  readonly isChatty?: boolean
}

const TASKSET = findProgram('taskset')

/** Whether the measured program has a core of its own. */
export const IS_PINNED = TASKSET !== undefined && availableParallelism() > 1

const running = new Set<ChildProcess>()

/** The niceness that gives a process nine times the processor share of one with niceness 0. */
const PREFERRED = -10

let goesFirst = false

/** Gives processes that are started from now on priority over other programs of this machine. Needs root. */
export function goFirst(): void {
  goesFirst = true
}

/**
 * Starts a process in a session of its own. A kernel with autogroup divides cores between sessions first, so the niceness must
 * be set for the session.
 */
function spawnPreferred(
  command: readonly string[],
  output: number | 'ignore' | 'pipe',
  env?: NodeJS.ProcessEnv,
  errors: number | 'inherit' | 'ignore' = 'inherit',
): ChildProcess {
  const [program = '', ...args] = command
  const stdio: StdioOptions = ['ignore', output, errors]
  const child = spawn(program, args, { env, stdio, detached: true })
  running.add(child)
  child.once('exit', () => running.delete(child))
  if (!goesFirst || child.pid === undefined) return child
  setPriority(child.pid, PREFERRED)
  const autogroup = `/proc/${child.pid}/autogroup`
  if (existsSync(autogroup)) writeFileSync(autogroup, String(PREFERRED))
  return child
}

/** The path of an installed program, or undefined. Also searches /usr/sbin and /sbin, where Debian installs servers. */
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

/** Prefixes a command so that it runs on the cores of a side. */
function onCores(side: Side, command: readonly string[]): string[] {
  if (!IS_PINNED || TASKSET === undefined || side === 'anywhere') return [...command]
  const cores = side === 'peer' ? '0' : `1-${availableParallelism() - 1}`
  return [TASKSET, '--cpu-list', cores, ...command]
}

/** Starts a process that runs until {@link stop}. */
export function start(
  command: readonly string[],
  { side, env = {}, output, isChatty = false }: Launch,
): ChildProcess {
  const file = output === undefined ? 'ignore' : openSync(output, 'a')
  const all = { PATH: process.env['PATH'] ?? '', ...env }
  const child = spawnPreferred(onCores(side, command), file, all, isChatty ? file : 'inherit')
  if (typeof file === 'number') closeSync(file)
  return child
}

/** Starts one of the benchmark's own files with this Node. */
export function startScript(file: URL, args: readonly string[], launch: Launch): ChildProcess {
  return start([process.execPath, file.pathname, ...args], launch)
}

/** Ends a process, with SIGKILL if it does not end within three seconds. */
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

/** Runs a process to its end. @returns its standard output @throws {Error} when it fails */
export async function runToEnd(command: readonly string[], side: Side): Promise<string> {
  const child = spawnPreferred(onCores(side, command), 'pipe')
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${text}`)
  return text
}

/** Finds a port on which nothing listens at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Waits for a time in milliseconds. */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds)
  })
}

/** Runs one of the benchmark's scripts on the load's cores. @returns its output, parsed as JSON */
export async function runScript<Result>(file: URL, job: object): Promise<Result> {
  const text = await runToEnd([process.execPath, file.pathname, JSON.stringify(job)], 'load')
  return JSON.parse(text) as Result
}
