/** How is the machine's own ttyd found, started, watched and ended? A small script stands in for ttyd. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { shellEnvironment, startTerminal } from '../../embedded/terminal.ts'
import { findTtyd } from '../../embedded/terminal-ttyd.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { BASIC, CREDENTIAL, TOKEN } from './terminal-client.ts'

/** Puts a program named ttyd first on the PATH. */
async function installTtyd(t: Test, script: string): Promise<string> {
  const folder = t.testdir()
  const file = join(folder, 'ttyd')
  await writeFile(file, `#!${process.execPath}\n${script}`)
  await chmod(file, 0o755)
  const path = process.env['PATH']
  process.env['PATH'] = `${folder}:${path}`
  t.teardown(() => (process.env['PATH'] = path))
  return folder
}

/** A script that listens on the given socket and records how it was started and ended. */
const WELL_BEHAVED = `
const fs = require('node:fs')
const note = (name, value) => fs.writeFileSync(__dirname + '/' + name, JSON.stringify(value))
note('arguments', process.argv.slice(2))
note('environment', process.env)
const path = process.argv[process.argv.indexOf('-i') + 1]
const server = require('node:http').createServer((request, response) => response.end(String(process.pid)))
server.listen(path)
process.on('SIGTERM', () => { note('ended', 'SIGTERM'); process.exit(0) })
process.on('SIGUSR1', () => process.exit(7))
`

function options(more: object = {}) {
  return { credential: CREDENTIAL, shell: '/bin/sh', ...more }
}

async function noted(folder: string, name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(folder, name), 'utf8'))
}

/** The folder of a terminal's sockets. */
const folderOf = ({ url }: { url: string }) => dirname(url.slice('unix:'.length))

/** The gate's response to a request with the password, or with other headers. */
async function get(url: string, headers: Record<string, string> = BASIC) {
  const socketPath = url.slice('unix:'.length)
  const request = httpRequest({ socketPath, path: '/terminal/', headers, agent: false }).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  return { status: answer.statusCode, text: Buffer.concat(await answer.toArray()).toString() }
}

t.test(
  'ttyd runs with the base path /terminal, writable, on a socket that only this user can reach',
  async (t) => {
    const folder = await installTtyd(t, WELL_BEHAVED)
    process.env['GATEWAY_JWT_SECRET'] = 'nobody in the terminal shall see this'
    t.teardown(() => delete process.env['GATEWAY_JWT_SECRET'])
    const terminal = await startTerminal(options())
    t.teardown(terminal.close)
    t.equal(terminal.kind, 'ttyd')
    t.equal((await stat(folderOf(terminal))).mode & 0o777, 0o700)
    t.same(await noted(folder, 'arguments'), [
      ...['-i', join(folderOf(terminal), 'ttyd.sock')],
      ...['--base-path', '/terminal', '--ping-interval', '300', '--writable', '/bin/sh'],
    ])
    const environment = (await noted(folder, 'environment')) as Record<string, string>
    t.equal(environment['PATH'], process.env['PATH'])
    t.notOk(Object.keys(environment).some((name) => name.startsWith('GATEWAY_')))
    t.equal((await get(terminal.url, {})).status, 401, 'who reaches it is asked for the password')
    t.same(await get(terminal.url), { status: 200, text: String(terminal.pid) })
  },
)

t.test('other users of the machine cannot find the password anywhere', async (t) => {
  const folder = await installTtyd(t, WELL_BEHAVED)
  const terminal = await startTerminal(options())
  t.teardown(terminal.close)
  const [user = '', password = ''] = CREDENTIAL.split(':')
  for (const name of ['arguments', 'environment']) {
    const text = JSON.stringify(await noted(folder, name))
    for (const secret of [password, TOKEN, `${user}:`]) t.notMatch(text, secret, name)
  }
  if (process.platform === 'linux') {
    const commandLine = await readFile(`/proc/${terminal.pid}/cmdline`, 'utf8')
    for (const secret of [password, TOKEN]) t.notMatch(commandLine, secret)
  }
})

t.test(
  'another user of the machine cannot connect to ttyd',
  { skip: process.geteuid?.() !== 0 && 'needs root, to be somebody else' },
  async (t) => {
    await installTtyd(t, WELL_BEHAVED)
    const terminal = await startTerminal(options())
    t.teardown(terminal.close)
    const script = `
      process.setgid(65534); process.setuid(65534)
      require('node:net').connect(process.argv[1])
        .on('connect', () => process.exit(0))
        .on('error', ({ code }) => { console.log(code); process.exit(1) })`
    for (const name of ['ttyd.sock', 'gate.sock']) {
      const other = spawn(process.execPath, ['-e', script, join(folderOf(terminal), name)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      t.equal(Buffer.concat(await other.stdout.toArray()).toString(), 'EACCES\n', name)
    }
  },
)

t.test('closing ends exactly the started process, and leaves no files', async (t) => {
  const folder = await installTtyd(t, WELL_BEHAVED)
  const said: string[] = []
  const terminal = await startTerminal(
    options({ onUnexpectedExit: (text: string) => said.push(text) }),
  )
  t.equal(Number((await get(terminal.url)).text), terminal.pid)
  await terminal.close()
  t.equal(await noted(folder, 'ended'), 'SIGTERM')
  t.throws(() => process.kill(terminal.pid, 0), { code: 'ESRCH' })
  await t.rejects(stat(folderOf(terminal)), { code: 'ENOENT' })
  await terminal.close()
  t.same(said, [], 'a wanted end is no news')
})

t.test('a ttyd that ends early is an error with its last output', async (t) => {
  await installTtyd(t, "console.error('E: no such shell'); process.exit(3)")
  await t.rejects(startTerminal(options()), {
    message: /ttyd ended while starting \(exit code 3\)\. E: no such shell$/,
  })
})

t.test('a path of the socket folder that is too long is an error that says so', async (t) => {
  await installTtyd(t, WELL_BEHAVED)
  const before = process.env['TMPDIR']
  const long = join(temporaryFolder(t), 'x'.repeat(100))
  await mkdir(long)
  process.env['TMPDIR'] = long
  t.teardown(() => {
    if (before === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = before
  })
  await t.rejects(startTerminal(options()), { message: /TMPDIR .* is too long for a socket/ })
  t.same(await readdir(long), [])
})

t.test('a ttyd that cannot be run at all is an error that says so', async (t) => {
  const folder = await installTtyd(t, '')
  await writeFile(join(folder, 'ttyd'), '#!/nowhere/interpreter\n')
  await t.rejects(startTerminal(options()), { message: /ttyd could not be run: spawn .* ENOENT/ })
})

t.test('a ttyd that ends unexpectedly later is reported', async (t) => {
  await installTtyd(t, WELL_BEHAVED)
  const told = Promise.withResolvers<string>()
  const terminal = await startTerminal(options({ onUnexpectedExit: told.resolve }))
  process.kill(terminal.pid, 'SIGUSR1')
  t.match(await told.promise, /ttyd has ended \(exit code 7\)\.$/)
  await terminal.close()
})

t.test('without a ttyd on the PATH, the built-in terminal is used', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = t.testdir()
  t.teardown(() => (process.env['PATH'] = path))
  const terminal = await startTerminal(options())
  t.teardown(terminal.close)
  t.equal(terminal.kind, 'built-in')
  t.equal(terminal.pid, process.pid)
  t.equal((await fetch(`${terminal.url}/terminal/`)).status, 401)
})

t.test('only an executable file on an absolute path is used as ttyd', async (t) => {
  const folder = t.testdir({ folder: { ttyd: {} }, file: { ttyd: '' }, program: { ttyd: '' } })
  await chmod(join(folder, 'file', 'ttyd'), 0o644)
  await chmod(join(folder, 'program', 'ttyd'), 0o755)
  const path = ['', '.', 'program', `${folder}/none`, `${folder}/folder`, `${folder}/file`]
  t.equal(await findTtyd(path.join(':')), null)
  t.equal(await findTtyd([...path, `${folder}/program`].join(':')), `${folder}/program/ttyd`)
})

t.test("the shell's environment has no variables of our programs and npm", async (t) => {
  const env = {
    ...{ HOME: '/home/me', LANG: 'C.UTF-8', npm_config_cache: 'x' },
    ...{ GATEWAY_JWT_SECRET: 'x', VAULT_MASTER_KEY: 'x', TERMINALS_SOCKET: 'x' },
    ...{ LINK_RELAY_URL: 'x', RELAY_STORE_URL: 'x', LIMITS_TOKEN: 'x' },
  }
  t.same(shellEnvironment(env), { HOME: '/home/me', LANG: 'C.UTF-8', TERM: 'xterm-256color' })
})
