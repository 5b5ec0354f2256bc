/** Which arguments does `npm start --` take? `--port` and `--help`. */
import { parseArgs } from 'node:util'
import { SETTINGS } from '../src/config/settings.ts'
import { ADDRESS_SETTINGS } from '../src/rules/services.ts'

/** The error of invalid arguments. Its message is complete text for a person. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The parsed arguments. */
export interface Arguments {
  readonly help: boolean
  /** The port as written on the command line; undefined when not given. */
  readonly port: string | undefined
}

export const USAGE = `npm start: the gateway with an embedded workspace behind it, on this machine

Usage
  npm start                      on port 8080, or the next free one
  npm start -- --port 9000       on this port; GATEWAY_PORT says the same
  npm start -- --help            this text

While it runs
  npm run sign-in-link           another sign-in link; each works once
  npm run sessions -- list       who is signed in; "-- end --all" signs everybody out
  npm run api-token -- create --name ci
                                 a token for a program; "-- list", "-- revoke ci"
  npm run pair -- --sub me       a link that pairs a device; "npm run devices -- list" shows and approves
  npm run vault -- list          the entries of the vault; "-- audit" shows who used them

Settings are environment variables; docs/configuration.md lists them. These matter here:
  ${ADDRESS_SETTINGS.map(({ env }) => env).join(', ')}
                                 a service of your own instead of a stand-in, such as http://127.0.0.1:3001;
                                 GATEWAY_DAEMON_URL for Hubcode's daemon
  GATEWAY_STATE_DIR              sessions, secrets, log and budgets (.workspace in this folder); one
                                 workspace at a time

Exit codes
  0 stopped   1 failed   64 wrong usage   69 the port or the folder is taken   78 wrong settings
`

/** @throws {UsageError} */
export function readArguments(args: readonly string[]): Arguments {
  const { help, port } = parsed(args)
  if (port !== undefined) {
    try {
      SETTINGS.port.parse(port)
    } catch {
      throw new UsageError(`--port "${port}" is not a port; it takes ${SETTINGS.port.accepts}`)
    }
  }
  return { help, port }
}

function parsed(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        help: { type: 'boolean', short: 'h', default: false },
        port: { type: 'string', short: 'p' },
      },
    })
    return values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}
