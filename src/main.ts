#!/usr/bin/env node
/** Which command was asked for? This entry point reads the arguments, runs the command, and turns errors into exit codes. */
// oxlint-disable-next-line no-unassigned-import
import './process/required-node.ts' // first, because the other modules may not even load in an older Node
import { EXIT } from './process/exit-codes.ts'
import { parseArgs } from 'node:util'
import { argumentProblem } from './commands/argument-problem.ts'
import type { Io } from './commands/io.ts'
import {
  ConfigError,
  loadConfig,
  readSetting,
  SECRET_VARIABLES,
  type Config,
  type Environment,
} from './config/load.ts'
import { SETTINGS } from './config/settings.ts'
import { endProcess } from './process/ending.ts'
import { codeOf } from './answers/errors.ts'
import { parseDuration } from './commands/duration.ts'
import { commandHelp, commandNamed, helpText, unknownCommand } from './commands/help.ts'
import { hasPortKeeper, keepPort } from './process/port-keeper.ts'
import { ListenError } from './process/listen-error.ts'
import { LineOutput } from './observe/line-output.ts'
import {
  AlreadyRunningError,
  checkPidFile,
  removePidFile,
  writePidFile,
} from './process/pid-file.ts'
import { VERSION } from './answers/version.ts'
import { isFolderMissing } from './services/socket-file.ts'
import { NewerStateError, StateAccessError, StateBusyError } from './store/state-errors.ts'

const IO: Io = {
  out: (text) => void commandOutput().write(text),
  err: (text) => void process.stderr.write(text),
}

let isWatched = false

/**
 * Standard output for a command that ends by itself. `serve` does not use it, because it must survive the end of its reader
 * (src/observe/line-output.ts).
 */
function commandOutput(): NodeJS.WriteStream {
  if (!isWatched) {
    isWatched = true
    process.stdout.on('error', (error) => {
      if (codeOf(error) === 'EPIPE') return // the reader closed the pipe, as in `… | head -1`
      IO.err(`workspace-gateway: standard output cannot be written (${codeOf(error)})\n`)
      process.exit(EXIT.failed)
    })
  }
  return process.stdout
}

const STDERR = 2

/** The error of a wrong command line. */
class UsageError extends Error {}

/**
 * Runs one command. Modules are loaded only when their command needs them, which halves the memory of the process that only
 * keeps the port.
 * @returns the exit code, or undefined while the gateway runs
 */
async function run([asked = 'serve', ...args]: readonly string[]): Promise<number | undefined> {
  const command = commandNamed(asked)
  if (command === undefined) throw new UsageError(unknownCommand(asked))
  if (command !== 'help' && ownArguments(args).some((one) => one === '--help' || one === '-h')) {
    IO.out(commandHelp(command))
    return EXIT.ok
  }
  switch (command) {
    case 'serve':
      if (args.length > 0)
        throw new UsageError('serve takes no arguments; settings are GATEWAY_… variables')
      return serve(process.env)
    case 'token':
      return token(args)
    case 'check':
      return (await import('./commands/check.ts')).check(args, process.env, IO)
    case 'doctor':
      return (await import('./commands/doctor.ts')).doctor(args, process.env, IO)
    case 'explain':
      return (await import('./commands/explain.ts')).explain(args, process.env, IO)
    case 'sign-in-link':
      return (await import('./commands/sign-in-link.ts')).signInLink(args, process.env, IO)
    case 'api-token':
      return (await import('./commands/api-token.ts')).apiToken(args, process.env, IO)
    case 'keys':
      return (await import('./commands/keys.ts')).keys(args, process.env, IO)
    case 'second-factor':
      return (await import('./commands/second-factor.ts')).secondFactor(args, process.env, IO)
    case 'sessions':
      return (await import('./commands/sessions.ts')).sessions(args, process.env, IO)
    case 'state':
      return (await import('./commands/state.ts')).state(args, process.env, IO)
    case 'relay':
      if (args.length > 0)
        throw new UsageError('relay takes no arguments; settings are RELAY_… variables')
      return (await import('./commands/relay.ts')).relay(process.env)
    case 'limits':
      return (await import('./commands/limits.ts')).limits(args, process.env, IO)
    case 'terminals':
      return (await import('./commands/terminals.ts')).terminals(args, process.env, IO)
    case 'terminal-credential':
      return (await import('./commands/terminal-credential.ts')).terminalCredential(
        args,
        process.env,
        IO,
      )
    case 'remote':
      return (await import('./commands/remote.ts')).remote(args, process.env, IO)
    case 'vault':
      return (await import('./commands/vault.ts')).vault(args, process.env, IO)
    case 'link':
      return (await import('./commands/link.ts')).link(args, process.env)
    case 'pair':
      return (await import('./commands/pair.ts')).pair(args, process.env, IO)
    case 'devices':
      return (await import('./commands/devices.ts')).devices(args, process.env, IO)
    case 'version':
      if (args.length > 0) throw new UsageError('version takes no arguments')
      IO.out(`workspace-gateway ${VERSION}\n`)
      return EXIT.ok
    case 'help':
      break // no `default`, so that the linter names a command that has no case
  }
  return help(args)
}

/** The arguments that are ours: what stands behind `--` belongs to a program that `vault exec` runs. */
function ownArguments(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--')
  return end < 0 ? args : args.slice(0, end)
}

function help([asked, ...more]: readonly string[]): number {
  if (more.length > 0) throw new UsageError('help takes one command')
  const command = asked === undefined ? 'help' : commandNamed(asked)
  if (command === undefined) throw new UsageError(unknownCommand(asked ?? ''))
  IO.out(command === 'help' ? helpText() : commandHelp(command))
  return EXIT.ok
}

async function serve(env: Environment): Promise<number | undefined> {
  const config = loadConfig(env)
  const sources = { ...env } // for SIGHUP, because the secrets are removed from process.env
  for (const name of SECRET_VARIABLES) delete process.env[name]
  if (config.pidFile !== undefined) checkPidFile(config.pidFile)
  const onReady = (): void => holdPidFile(config)
  if (config.hotRestart && !hasPortKeeper())
    endProcess(await keepPort(config, { env: sources, onReady }))
  const { runGateway } = await import('./process/run.ts')
  await runGateway(config, { env: sources, onReady })
  return undefined
}

/** Writes the PID file, if one is configured, and removes it when the process ends. @throws {ConfigError} */
function holdPidFile({ pidFile }: Config): void {
  if (pidFile === undefined) return
  try {
    writePidFile(pidFile)
  } catch (error) {
    throw new ConfigError([
      `GATEWAY_PID_FILE "${pidFile}" cannot be written (${codeOf(error)}); it takes a path in a folder that exists`,
    ])
  }
  process.on('exit', () => removePidFile(pidFile))
}

async function token(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { sub: { type: 'string' }, ttl: { type: 'string', default: '1h' } },
  })
  const ttlSeconds = parseDuration(values.ttl)
  if (values.sub === undefined || values.sub === '') throw new UsageError('token needs --sub NAME')
  if (ttlSeconds === undefined)
    throw new UsageError(`--ttl "${values.ttl}" is not a duration such as 90s, 15m, 1h or 7d`)
  const workspace = readSetting(SETTINGS.workspace, process.env)
  const { mintToken } = await import('./identity/mint.ts')
  const secret = readSetting(SETTINGS.jwtSecret, process.env)
  const issuer = readSetting(SETTINGS.jwtIssuer, process.env)
  IO.out(`${await mintToken({ secret, workspace, subject: values.sub, ttlSeconds, issuer })}\n`)
  return EXIT.ok
}

/** The message of a failure, and the exit code that tells a supervisor whether a restart can help. */
interface Failure {
  readonly text: string
  readonly exitCode: number
}

/** Describes an error in one line, without its stack. */
function describeFailure(error: unknown): Failure {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  const problem = error instanceof UsageError ? message : argumentProblem(error)
  if (problem !== undefined) return { text: `${problem}\n${helpHint()}`, exitCode: EXIT.usage }
  if (error instanceof ConfigError || error instanceof NewerStateError)
    return { text: message, exitCode: EXIT.config }
  const taken = [StateBusyError, StateAccessError, AlreadyRunningError, ListenError]
  if (taken.some((kind) => error instanceof kind))
    return { text: message, exitCode: EXIT.unavailable }
  if (['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND', 'EPERM'].includes(code))
    return { text: describeAddressFailure(code), exitCode: EXIT.unavailable }
  const isSetting =
    error instanceof Error && /^(?:GATEWAY|LIMITS|LINK|TERMINALS|VAULT|RELAY)_/.test(message)
  return { text: message, exitCode: isSetting ? EXIT.config : EXIT.failed }
}

/** Where the help for this command line is. */
function helpHint(): string {
  const command = commandNamed(process.argv[2] ?? '')
  return `Try "workspace-gateway help${command === undefined || command === 'help' ? '' : ` ${command}`}".`
}

function describeAddressFailure(code: string): string {
  const {
    GATEWAY_SOCKET: socket,
    GATEWAY_PORT: port = SETTINGS.port.default,
    GATEWAY_HOST: host = SETTINGS.host.default,
  } = process.env
  const address =
    socket === undefined ? `GATEWAY_HOST ${host} GATEWAY_PORT ${port}` : `GATEWAY_SOCKET ${socket}`
  if (code === 'EADDRINUSE') return `${address} is taken by another process`
  const why = socket !== undefined && isFolderMissing(socket) ? 'its folder does not exist' : code
  return `${address} cannot be used (${why})`
}

async function main(): Promise<void> {
  try {
    const exitCode = await run(process.argv.slice(2))
    if (exitCode !== undefined) process.exitCode = exitCode
  } catch (error) {
    const { text, exitCode } = describeFailure(error)
    const errors = new LineOutput(STDERR)
    errors.write(`workspace-gateway: ${text}\n`)
    await errors.flush() // has a time limit, so that the process ends even if its supervisor reads nothing
    endProcess(exitCode)
  }
}

void main() // not awaited, because the bundle is CommonJS and has no top-level await (build/bundle.ts)
