/**
 * What does `npm run limits` run? The real command, on 127.0.0.1:7655, with a token and a folder of its own. This module is loaded before
 * the command (`--import`), sets its settings, and prints a command line to try when it listens.
 */
import { randomBytes } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { Server } from 'node:net'
import { join, relative, resolve } from 'node:path'
import { EXIT } from '../src/process/exit-codes.ts'
import { STATE_FOLDER } from './running-workspace.ts'

const USAGE = `npm run limits: the limits service, to try

It listens on 127.0.0.1:7655, and keeps what was taken, and a token of callers, in ${STATE_FOLDER}/limits. It prints a command line to
try. Of the settings of another limits service it uses these alone:

  LIMITS_PORT=0          another port; 0 is a free one
  LIMITS_POLICY_FILE     a file with more policies
  LIMITS_STORE_URL       a Redis, in the place of the file
  LIMITS_LOG_LEVEL       the least severe line of its log

All of it: docs/limits.md
`

/** The settings that a person may set. What the others would change is what is printed here. */
const KEPT: readonly string[] = [
  'LIMITS_PORT',
  'LIMITS_POLICY_FILE',
  'LIMITS_STORE_URL',
  'LIMITS_STORE_URL_FILE',
  'LIMITS_LOG_LEVEL',
]

const { env } = process
const args = process.argv.slice(3)
if (args.includes('--help') || args.includes('-h')) {
  process.stdout.write(USAGE)
  process.exit(EXIT.ok)
}

const folder = join(resolve(env['GATEWAY_STATE_DIR'] ?? STATE_FOLDER), 'limits')
const tokenFile = join(folder, 'token')
mkdirSync(folder, { recursive: true, mode: 0o700 })
if (!existsSync(tokenFile))
  writeFileSync(tokenFile, `${randomBytes(32).toString('base64url')}\n`, {
    mode: 0o600,
    flag: 'wx',
  })

for (const name of Object.keys(env))
  if (name.startsWith('LIMITS_') && !KEPT.includes(name)) delete env[name]
env['LIMITS_TOKEN_FILE'] = tokenFile
if (!KEPT.slice(2, 4).some((name) => name in env)) env['LIMITS_STATE_DIR'] = folder

// The port is known only when the service has it, because 0 means any.
subscribe('tracing:net.server.listen:asyncEnd', (message) => {
  const { server } = message as { server: unknown }
  const address = server instanceof Server ? server.address() : null
  if (address === null || typeof address === 'string') return
  process.stderr.write(`
The limits service is up. To try it, in another terminal:

  curl -i -H "Authorization: Bearer $(cat ${relative(process.cwd(), tokenFile)})" -H 'Content-Type: application/json' \\
    -d '{"user":"alice"}' http://127.0.0.1:${address.port}/v1/provision

The second time, alice has to wait for an hour. Ctrl+C stops it.

`)
})
