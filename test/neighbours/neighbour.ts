/** What every real neighbour of the gateway has in common: it is installed once, started, watched and stopped. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { promisify } from 'node:util'
import { later, memoryOf } from '../helpers/waiting.ts'

/** Where everything is installed that does not come from the system's own packages. Not part of the repository. */
export const FOLDER = new URL('../../.neighbours', import.meta.url).pathname

/** A real program that stands beside the gateway in production: what its module exports. */
export interface Neighbour {
  /**
   * Makes the program available, in a folder or as a system package. Does nothing when it is there already.
   * @returns its version
   * @throws {Error} that says what could not be installed, and why
   */
  install(folder: string): Promise<string>
}

/** Something that was started. */
export interface Started {
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>
}

/** A program that runs as a child of this process. */
export interface Program extends Started {
  readonly pid: number
  /** Everything that it has written so far, standard output and error together. */
  output(): string
  /** Waits for a piece of output. @throws {Error} with the output when the program ends first or the time is over */
  written(pattern: RegExp, capMs?: number): Promise<RegExpExecArray>
  /** Resident memory in bytes. */
  memory(): number
  signal(name: NodeJS.Signals): void
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | string>
}

/** How a program is started. */
export interface ProgramOptions {
  readonly cwd?: string
  readonly env?: Record<string, string | undefined>
  /** How long it may take to end on SIGTERM before it is killed, in milliseconds. */
  readonly stopMs?: number
}

/** Starts a program. It ends with this process at the latest, also when this one is killed for taking too long. */
export function startProgram(
  command: string,
  args: readonly string[],
  { cwd, env = process.env, stopMs = 10_000 }: ProgramOptions = {},
): Program {
  const tied = ['--pdeathsig', 'KILL', '--', command, ...args] // setpriv becomes the program: same process
  const child: ChildProcess = spawn('setpriv', tied, {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const one of waiting) one()
  }
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text
      wake()
    })
  }
  let end: number | string | undefined
  child.on('error', (error) => (output += `${error.message}\n`))
  const exited = once(child, 'close').then(
    ([code, signal]) => (end = (code ?? signal) as number | string),
    () => (end = 'could not be started'),
  )
  void exited.then(wake)
  return {
    pid: child.pid ?? 0,
    output: () => output,
    exited,
    memory: () => memoryOf(child.pid ?? 0),
    signal: (name) => void child.kill(name),
    async written(pattern, capMs = 60_000) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const look = () => {
        if (end !== undefined || pattern.test(output)) resolve()
      }
      const cancelCap = later(capMs, resolve)
      waiting.add(look)
      look()
      await promise
      cancelCap()
      waiting.delete(look)
      const found = pattern.exec(output)
      if (found !== null) return found
      const how = end === undefined ? `nothing like it in ${capMs} ms` : `it ended with ${end}`
      throw new Error(`${command}: waited for ${pattern}, but ${how}:\n${output.slice(-2000)}`)
    },
    async stop() {
      if (end !== undefined) return
      child.kill('SIGTERM')
      const cancelKill = later(stopMs, () => void child.kill('SIGKILL'))
      await exited
      cancelKill()
    },
  }
}

/** Runs a program to its end. @returns what it wrote to standard output @throws {Error} with its last words */
export async function run(
  command: string,
  args: readonly string[],
  { cwd, env = process.env }: ProgramOptions = {},
): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, args, {
      cwd,
      env: { ...env, DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout
  } catch (error) {
    const { code, stdout = '', stderr = '' } = error as Record<string, string | undefined>
    const words = `${stdout}\n${stderr}`.trim().slice(-2000)
    throw new Error(`${[command, ...args].join(' ')} failed (${code}): ${words}`, { cause: error })
  }
}

/**
 * Installs a package of this Debian's own, unless its program is there.
 * @param program the absolute path of the program that the package brings
 * @throws {Error} when it is missing and this is not root, or when apt cannot get it
 */
export async function installDebianPackage(name: string, program: string): Promise<void> {
  if (existsSync(program)) return
  const command = `apt-get install -y --no-install-recommends ${name}`
  if (process.getuid?.() !== 0)
    throw new Error(
      `${program} is missing, and only root can install it: apt-get update && ${command}`,
    )
  await run('apt-get', ['-qq', 'update'])
  await run('apt-get', command.split(' ').slice(1))
  if (!existsSync(program)) throw new Error(`${command} brought no ${program}`)
}

export { closedPort as freePort } from '../helpers/upstream.ts'

export { until } from '../helpers/waiting.ts'
