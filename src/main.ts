#!/usr/bin/env node
/** The command `workspace-gateway`: arguments, environment and exit codes. */
import { EXIT } from './exit-codes.ts'
import { parseArgs } from 'node:util'
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
import { helpText } from './help.ts'
import { isKept, keep } from './keeper.ts'
import { AlreadyRunningError, checkPidFile, removePidFile, writePidFile } from './pid-file.ts'
import { codeOf } from './errors.ts'

const IO: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
}

/**
 * Runs one command, and loads what it needs alone: the process that only keeps the port is half the size for it.
 * @returns the exit code, or undefined while the gateway runs
 */
async function run([command = 'serve', ...args]: readonly string[]): Promise<number | undefined> {
  switch (command) {
    case 'serve':
      return args.length === 0
        ? serve(process.env)
        : usage(`serve takes no arguments; settings are GATEWAY_… variables`)
    case 'token':
      return token(args)
    case 'check':
      return (await import('./commands/check.ts')).check(args, process.env, IO)
    case 'doctor':
      return (await import('./commands/doctor.ts')).doctor(args, process.env, IO)
    case 'explain':
      return (await import('./commands/explain.ts')).explain(args, process.env, IO)
    case 'terminal-credential':
      return (await import('./commands/terminal-credential.ts')).terminalCredential(
        args,
        process.env,
        IO,
      )
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(helpText())
      return EXIT.ok
    default:
      return usage(`unknown command "${command}"`)
  }
}

async function serve(env: Environment): Promise<number | undefined> {
  const config = loadConfig(env)
  const sources = { ...env } // what SIGHUP reads again; the environment itself forgets its secrets
  for (const name of SECRET_VARIABLES) delete process.env[name]
  if (config.pidFile !== undefined) checkPidFile(config.pidFile)
  const onReady = (): void => holdPidFile(config)
  if (config.hotRestart && !isKept()) return keep(config, { env: sources, onReady })
  const { runGateway } = await import('./serve.ts')
  await runGateway(config, { env: sources, onReady })
  return undefined
}

/** Writes the PID file, if there is to be one, and removes it at the end. @throws {ConfigError} */
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
  if (values.sub === undefined || values.sub === '') return usage('token needs --sub NAME')
  if (ttlSeconds === undefined)
    return usage(`--ttl "${values.ttl}" is not a duration such as 90s, 15m, 1h or 7d`)
  const workspace = readSetting(SETTINGS.workspace, process.env)
  const { mintToken } = await import('./token.ts')
  const secret = readSetting(SETTINGS.jwtSecret, process.env)
  const issuer = readSetting(SETTINGS.jwtIssuer, process.env)
  process.stdout.write(
    `${await mintToken({ secret, workspace, subject: values.sub, ttlSeconds, issuer })}\n`,
  )
  return EXIT.ok
}

function parseDuration(text: string): number | undefined {
  const match = /^([1-9][0-9]{0,7})(s|m|h|d)$/.exec(text)
  if (match === null) return undefined
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[match[2] ?? ''] ?? 1
  return Number(match[1]) * unit
}

function usage(problem: string): number {
  process.stderr.write(`workspace-gateway: ${problem}\nTry "workspace-gateway help".\n`)
  return EXIT.usage
}

/** One clear line, no stack, and the exit code that tells a supervisor whether trying again can help. */
function explainFailure(error: unknown): number {
  const code = codeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof ConfigError) {
    process.stderr.write(`workspace-gateway: ${message}\n`)
    return EXIT.config
  }
  if (code.startsWith('ERR_PARSE_ARGS')) return usage(message)
  if (error instanceof AlreadyRunningError) {
    process.stderr.write(`workspace-gateway: ${message}\n`)
    return EXIT.unavailable
  }
  if (['EADDRINUSE', 'EACCES', 'EADDRNOTAVAIL', 'ENOTFOUND', 'EPERM'].includes(code)) {
    const why = code === 'EADDRINUSE' ? 'is taken by another process' : `cannot be used (${code})`
    const {
      GATEWAY_SOCKET: socket,
      GATEWAY_PORT: port = SETTINGS.port.default,
      GATEWAY_HOST: host = SETTINGS.host.default,
    } = process.env
    process.stderr.write(
      `workspace-gateway: ${socket === undefined ? `GATEWAY_HOST ${host} GATEWAY_PORT ${port}` : `GATEWAY_SOCKET ${socket}`} ${why}\n`,
    )
    return EXIT.unavailable
  }
  process.stderr.write(`workspace-gateway: ${message}\n`)
  return error instanceof Error && /^GATEWAY_/.test(message) ? EXIT.config : EXIT.failed
}

async function main(): Promise<void> {
  try {
    const exitCode = await run(process.argv.slice(2))
    if (exitCode !== undefined) process.exitCode = exitCode
  } catch (error) {
    process.exitCode = explainFailure(error)
    if (isKept()) process.exit() // the line to its keeper would keep it
  }
}

void main() // not awaited: the bundle is CommonJS (build/bundle.ts)
