/** What does `npm run sign-in-link` do? It prints another sign-in link for the workspace that `npm start` runs. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { askAdmin, GatewayNotReachedError } from '../src/admin/ask.ts'
import type { SignInLink } from '../src/admin/sign-in-link.ts'
import { readSetting, type Environment } from '../src/config/load.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { EXIT } from '../src/process/exit-codes.ts'
import { runningWorkspace, STATE_FOLDER } from './running-workspace.ts'
import { userName } from './sign-in.ts'

const USAGE = `npm run sign-in-link: another sign-in link for the workspace that npm start runs

It takes no arguments: the running workspace tells its own port. GATEWAY_STATE_DIR must be the same
as at npm start, if it was set there. The link alone goes to standard output; with --silent behind
"npm run", nothing else does.

Exit codes
  0 printed   1 failed   64 wrong usage   69 no workspace is running   78 wrong settings
`

process.exitCode = await run(process.argv.slice(2), process.env)

async function run(args: readonly string[], env: Environment): Promise<number> {
  try {
    const { help } = parseArgs({
      args: [...args],
      options: { help: { type: 'boolean', short: 'h', default: false } },
    }).values
    if (help) {
      process.stdout.write(USAGE)
      return EXIT.ok
    }
  } catch (error) {
    return fail(`${messageOf(error)}\nTry "npm run sign-in-link -- --help".`, EXIT.usage)
  }
  try {
    return await printLink(env)
  } catch (error) {
    const isUnavailable = error instanceof GatewayNotReachedError
    return fail(messageOf(error), isUnavailable ? EXIT.unavailable : EXIT.config)
  }
}

async function printLink(env: Environment): Promise<number> {
  const stateDir = readSetting(SETTINGS.stateDir, {
    ...env,
    GATEWAY_STATE_DIR: env['GATEWAY_STATE_DIR'] ?? resolve(STATE_FOLDER),
  })
  const running = await runningWorkspace(stateDir)
  if (running === undefined)
    return fail(
      `No workspace is running with ${stateDir}. Start one with "npm start"; if it was started with GATEWAY_STATE_DIR, set the same here.`,
      EXIT.unavailable,
    )
  const { status, body } = await askAdmin(stateDir, '/sign-in-link', {
    method: 'POST',
    body: { sub: userName() },
  })
  if (status !== 200)
    return fail(`The workspace could not make a link: ${body.trim()}`, EXIT.failed)
  const { path } = JSON.parse(body) as SignInLink
  process.stderr.write('Open this link within 10 minutes. It signs one browser in, once.\n')
  process.stdout.write(`${running.origin}${path}\n`)
  return EXIT.ok
}

function fail(message: string, exitCode: number): number {
  process.stderr.write(`${message}\n`)
  return exitCode
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
