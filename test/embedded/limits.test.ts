/** Can the limits service be tried with one command, does the printed command line work, and do two of them not disturb each other? */
import { execFile, spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { temporaryFolder, watch } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const runFile = promisify(execFile)

/** The command of the script in package.json, without npm. */
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: { limits: string }
}

/** Runs `npm run limits` with its files in a folder. */
function limits(t: Test, folder: string, env: Record<string, string> = { LIMITS_PORT: '0' }) {
  return watch(
    t,
    spawn('sh', ['-c', scripts.limits], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'], GATEWAY_STATE_DIR: folder, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
}

/** The printed command line, when there is one. */
async function printed({ stderr }: { stderr: () => string }): Promise<string> {
  await eventually(() => stderr().includes('Ctrl+C stops it.'), 'the command line')
  return /^ {2}curl [^]*?\n\n/m.exec(stderr())?.[0] ?? ''
}

/** Runs the printed command line. @returns what curl prints */
async function curl(command: string): Promise<string> {
  return (await runFile('sh', ['-c', command], { cwd: ROOT })).stdout
}

t.test(
  'the printed command line is allowed once, and then refused, also after a restart',
  async (t) => {
    const folder = temporaryFolder(t)
    const theirs = {
      LIMITS_TOKEN: 'x'.repeat(40),
      LIMITS_HOST: '0.0.0.0',
      LIMITS_SOCKET: '/nowhere',
    }
    const first = limits(t, folder, { LIMITS_PORT: '0', ...theirs })
    const command = await printed(first)
    t.match(await curl(command), /^HTTP\/1\.1 200 [^]*"user":"alice"/)
    t.match(await curl(command), /^HTTP\/1\.1 429 [^]*Retry-After: 3\d\d\d\r\n/i)
    t.equal(statSync(join(folder, 'limits')).mode & 0o777, 0o700)
    t.equal(statSync(join(folder, 'limits/token')).mode & 0o777, 0o600)
    const token = readFileSync(join(folder, 'limits/token'), 'utf8')
    t.match(token, /^[\w-]{43}\n$/)
    t.notMatch(first.stdout() + first.stderr(), token.trim())
    process.kill(first.pid, 'SIGTERM')
    t.equal(await first.exited, 0)

    const second = limits(t, folder)
    t.match(await curl(await printed(second)), /^HTTP\/1\.1 429 /, 'what was taken is kept')
    t.equal(readFileSync(join(folder, 'limits/token'), 'utf8'), token)
  },
)

t.test('a second one says that the first one has the folder, or the port', async (t) => {
  const folder = temporaryFolder(t)
  const first = limits(t, folder)
  const command = await printed(first)
  const again = limits(t, folder)
  t.equal(await again.exited, 69)
  t.match(again.stderr(), join(folder, 'limits'))
  const [, port = ''] = /:(\d+)\/v1/.exec(command) ?? []
  const other = limits(t, temporaryFolder(t), { LIMITS_PORT: port })
  t.equal(await other.exited, 69)
  t.match(other.stderr(), `LIMITS_PORT ${port} is taken`)
  t.match(await curl(command), /^HTTP\/1\.1 200 /, 'the first one goes on')
})

t.test('its own help says what it does', async (t) => {
  const { stdout } = await runFile('sh', ['-c', `${scripts.limits} --help`], { cwd: ROOT })
  t.match(stdout, 'LIMITS_PORT=0')
})
