/** How is the machine's own ttyd found, started, watched and ended? A small script stands in for it here. */
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { shellEnvironment, startTerminal } from '../../embedded/terminal.ts'
import { findTtyd } from '../../embedded/terminal-ttyd.ts'
import { CREDENTIAL } from './terminal-client.ts'

/** Puts a program called ttyd in front of everything else on the PATH. */
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

/** Listens where it is told to and writes down how it was started and how it ended. */
const WELL_BEHAVED = `
const fs = require('node:fs')
const note = (name, value) => fs.writeFileSync(__dirname + '/' + name, JSON.stringify(value))
note('arguments', process.argv.slice(2))
note('environment', process.env)
const port = process.argv[process.argv.indexOf('-p') + 1]
const server = require('node:http').createServer((request, response) => {
  response.end(String(process.pid))
  if (request.url === '/end') process.exit(7)
})
server.listen(port, '127.0.0.1')
process.on('SIGTERM', () => { note('ended', 'SIGTERM'); process.exit(0) })
`

function options(more: object = {}) {
  return { credential: CREDENTIAL, shell: '/bin/sh', ...more }
}

async function noted(folder: string, name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(folder, name), 'utf8'))
}

t.test('ttyd is run with the credential, below /terminal, writable, on 127.0.0.1', async (t) => {
  const folder = await installTtyd(t, WELL_BEHAVED)
  process.env['GATEWAY_JWT_SECRET'] = 'nobody in the terminal shall see this'
  t.teardown(() => delete process.env['GATEWAY_JWT_SECRET'])
  const terminal = await startTerminal(options())
  t.teardown(terminal.close)
  t.equal(terminal.kind, 'ttyd')
  const port = new URL(terminal.url).port
  t.same(await noted(folder, 'arguments'), [
    ...['-i', '127.0.0.1', '-p', port, '--credential', CREDENTIAL],
    ...['--base-path', '/terminal', '--ping-interval', '300', '--writable', '/bin/sh'],
  ])
  const environment = (await noted(folder, 'environment')) as Record<string, string>
  t.equal(environment['PATH'], process.env['PATH'])
  t.notOk(Object.keys(environment).some((name) => name.startsWith('GATEWAY_')))
})

t.test('closing ends exactly the process that was started, and waits for it', async (t) => {
  const folder = await installTtyd(t, WELL_BEHAVED)
  const said: string[] = []
  const terminal = await startTerminal(
    options({ onUnexpectedExit: (text: string) => said.push(text) }),
  )
  const answer = await fetch(terminal.url)
  t.equal(Number(await answer.text()), terminal.pid)
  await terminal.close()
  t.equal(await noted(folder, 'ended'), 'SIGTERM')
  t.throws(() => process.kill(terminal.pid, 0), { code: 'ESRCH' })
  await terminal.close()
  t.same(said, [], 'a wanted end is no news')
})

t.test(
  'a ttyd that dies early is an error with its last words, but not with its credential',
  async (t) => {
    const words =
      "console.error('credential: ' + process.argv[6] + '\\nE: no such shell'); process.exit(3)"
    await installTtyd(t, words)
    const error = await startTerminal(options()).catch((reason: Error) => reason)
    t.match(error, { message: /ttyd ended while starting \(exit code 3\)\. E: no such shell$/ })
    t.notMatch((error as Error).message, CREDENTIAL)
  },
)

t.test('a ttyd that cannot be run at all is an error that says so', async (t) => {
  const folder = await installTtyd(t, '')
  await writeFile(join(folder, 'ttyd'), '#!/nowhere/interpreter\n')
  await t.rejects(startTerminal(options()), { message: /ttyd could not be run: spawn .* ENOENT/ })
})

t.test('a ttyd that ends by itself later is told', async (t) => {
  await installTtyd(t, WELL_BEHAVED)
  const told = Promise.withResolvers<string>()
  const terminal = await startTerminal(options({ onUnexpectedExit: told.resolve }))
  await fetch(`${terminal.url}/end`).catch(() => {})
  t.match(await told.promise, /ttyd has ended \(exit code 7\)\.$/)
  await terminal.close()
})

t.test('without a ttyd on the PATH the terminal is built in', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = t.testdir()
  t.teardown(() => (process.env['PATH'] = path))
  const terminal = await startTerminal(options())
  t.teardown(terminal.close)
  t.equal(terminal.kind, 'built-in')
  t.equal(terminal.pid, process.pid)
  t.equal((await fetch(`${terminal.url}/terminal/`)).status, 401)
})

t.test(
  'only a program counts as ttyd: not a folder, not a plain file, not a relative path',
  async (t) => {
    const folder = t.testdir({ folder: { ttyd: {} }, file: { ttyd: '' }, program: { ttyd: '' } })
    await chmod(join(folder, 'file', 'ttyd'), 0o644)
    await chmod(join(folder, 'program', 'ttyd'), 0o755)
    const path = ['', '.', 'program', `${folder}/none`, `${folder}/folder`, `${folder}/file`]
    t.equal(await findTtyd(path.join(':')), null)
    t.equal(await findTtyd([...path, `${folder}/program`].join(':')), `${folder}/program/ttyd`)
  },
)

t.test("the shell's environment lacks what only the gateway and npm need", async (t) => {
  const env = { HOME: '/home/me', GATEWAY_JWT_SECRET: 'x', npm_config_cache: 'x', LANG: 'C.UTF-8' }
  t.same(shellEnvironment(env), { HOME: '/home/me', LANG: 'C.UTF-8', TERM: 'xterm-256color' })
})
