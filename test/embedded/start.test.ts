/** Does `npm start` start a whole workspace, and stop all of it again? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chmod, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { WebSocket } from 'ws'
import { NAVIGATION } from '../helpers/door.ts'
import { cookieFrom, openLink } from '../helpers/npm-start.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually, isAlive, until } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'
import { start } from './started.ts'
import { openShell } from './terminal-client.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LINK = fileURLToPath(new URL('../../embedded/sign-in-link.ts', import.meta.url))

/** The claims of the token that a link or a cookie has. */
function claimsIn(text: string) {
  const json = Buffer.from(text.split('.')[1] ?? '', 'base64url').toString()
  return JSON.parse(json) as { iat: number; exp: number }
}

/** Runs a program to its end. */
async function run(
  program: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
) {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = Promise.all([child.stdout.toArray(), child.stderr.toArray()])
  const [code] = (await once(child, 'close')) as [number]
  const [out = '', errors = ''] = (await texts).map((chunks) => chunks.join(''))
  return { code, out, errors }
}

/** Runs `embedded/sign-in-link.ts` in the folder of a workspace. */
const askForLink = (folder: string, env: Record<string, string> = {}, args: string[] = []) =>
  run(process.execPath, [LINK, ...args], { cwd: folder, env })

t.test('a new user gets a working workspace, and Ctrl+C stops all of it', async (t) => {
  const { child, folder, welcome, ended } = start(t, { GATEWAY_PORT: '0' }, temporaryFolder(t))
  const { origin, link, credential } = await welcome()
  t.match(origin, /^http:\/\/localhost:\d+$/)

  t.match(await (await fetch(`${origin}/health`)).json(), { status: 'ok' })
  t.equal((await fetch(origin, { redirect: 'manual' })).status, 401, 'a stranger sees nothing')

  const headers = await cookieFrom(link)
  t.match(headers.cookie, /^workspace_session=/)
  const page = await (await fetch(origin, { headers })).text()
  t.match(page, /<title>Dashboard · local<\/title>/)
  t.match(page, 'Sign out')

  const models = await fetch(`${origin}/api/v1/models`, { headers })
  t.match(await models.json(), { object: 'list' }, 'the agent is not told about the forwarding')

  const authorization = `Basic ${Buffer.from(credential).toString('base64')}`
  const shell = await openShell(
    t,
    origin,
    { headers: { ...headers, authorization, origin } },
    credential,
  )
  shell.type('export -p; echo works-$((6*7))\r')
  const output = await shell.outputMatching(/works-42/)
  t.match(output, 'HOME=')
  t.notMatch(output, 'GATEWAY_', 'no setting, let alone a secret, is in the shell')

  child.kill('SIGINT')
  // npm forwards a signal that the process has already received.
  child.kill('SIGINT')
  t.equal((await once(shell.socket, 'close'))[0], 1012)
  t.same(await ended, { code: 0, errors: '' })

  const state = join(folder, '.workspace')
  t.equal((await stat(state)).mode & 0o777, 0o700)
  for (const one of await readdir(state, { withFileTypes: true, recursive: true })) {
    if (!one.isFile() || one.parentPath.includes('compile-cache')) continue
    t.equal((await stat(join(one.parentPath, one.name))).mode & 0o777, 0o600, one.name)
  }
  const log = await readFile(join(state, 'gateway.log'), 'utf8')
  t.ok(
    log
      .trimEnd()
      .split('\n')
      .every((line) => JSON.parse(line).time !== undefined),
  )
  t.match(log, '/api/v1/models')
  t.notMatch(log, headers.cookie)
})

/** The process of the keeper of terminals, as its log names it. */
async function keeperOf(folder: string): Promise<number> {
  const line = await keeperSays(folder, '"keeping terminals"')
  return (JSON.parse(line) as { pid: number }).pid
}

/** Waits for a line of the keeper's log that contains a text. */
function keeperSays(folder: string, text: string): Promise<string> {
  const lines = () => readFileSync(join(folder, '.workspace/terminals.log'), 'utf8').split('\n')
  return until(`the keeper says ${text}`, () => lines().find((line) => line.includes(text)))
}

t.test('a shell survives the reload of its page, and ends with npm start', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome, ended } = start(
    t,
    { GATEWAY_PORT: '0', TMPDIR: folder, TERMINALS_SCROLLBACK: '100', LIMITS_TOKEN: 'x' },
    folder,
  )
  const { origin, link, credential } = await welcome()
  const keeper = await keeperOf(folder)
  t.ok(isAlive(keeper))
  t.notMatch(
    readFileSync(`/proc/${keeper}/environ`, 'utf8'),
    /GATEWAY_|LIMITS_/,
    'it needs no secret',
  )

  const authorization = `Basic ${Buffer.from(credential).toString('base64')}`
  const headers = { ...(await cookieFrom(link)), authorization, origin }
  const page = await send(Number(new URL(origin).port), 'GET /terminal/', [
    `Host: ${new URL(origin).host}`,
    `Cookie: ${headers.cookie}`,
    `Authorization: ${authorization}`,
    ...NAVIGATION,
  ])
  const [, query = ''] = (page.headers['location'] ?? '').split('?')
  t.match(query, /^tab=[\w-]{16,64}$/)

  const open = () => openShell(t, origin, { headers, path: `/terminal/ws?${query}` }, credential)
  const first = await open()
  first.type('echo shell-$$; echo left-$((6*7))\r')
  const [, pid = ''] = /shell-(\d+)/.exec(await first.outputMatching(/left-42/)) ?? []
  first.socket.terminate()
  await once(first.socket, 'close')
  const second = await open()
  await second.outputMatching(/left-42/)
  second.type('echo again-$$\r')
  t.match(await second.outputMatching(/again-\d/), `again-${pid}`)

  const third = await open()
  t.equal((await once(second.socket, 'close'))[0], 1000, 'two tabs do not fight')
  third.type('exit\r')
  t.equal((await once(third.socket, 'close'))[0], 1000)
  await keeperSays(folder, '"the shell ended"') // who comes back before that gets the last screen of this shell

  const fourth = await open()
  fourth.type('echo parked-$$\r')
  const [, parked = ''] = /parked-(\d+)/.exec(await fourth.outputMatching(/parked-\d/)) ?? []
  fourth.socket.terminate()
  child.kill('SIGTERM')
  t.same(await ended, { code: 0, errors: '' })
  for (const one of [keeper, Number(pid), Number(parked)]) t.notOk(isAlive(one))
  t.same(
    (await readdir(folder)).filter((name) => name.startsWith('workspace-terminal-')),
    [],
    'no folder is left behind',
  )
})

t.test('the keeper of terminals ends with an npm start that was killed', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome } = start(t, { GATEWAY_PORT: '0', TMPDIR: folder }, folder)
  await welcome()
  const keeper = await keeperOf(folder)
  t.ok(isAlive(keeper))
  child.kill('SIGKILL')
  await eventually(() => !isAlive(keeper), 'its end')
})

t.test('a keeper of terminals that ends is reported', async (t) => {
  const folder = temporaryFolder(t)
  const { child, welcome, ended } = start(t, { GATEWAY_PORT: '0', TMPDIR: folder }, folder)
  const { origin } = await welcome()
  process.kill(await keeperOf(folder), 'SIGKILL')
  let errors = ''
  child.stderr.on('data', (text: string) => (errors += text))
  await eventually(
    () => errors.includes('The keeper of terminals has ended (SIGKILL).'),
    'a report',
  )
  t.equal((await fetch(`${origin}/health`)).status, 200, 'the rest goes on')
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
})

t.test(
  'a second start has the same secrets, and the printed command makes a token of a program',
  async (t) => {
    const folder = temporaryFolder(t)
    const first = start(t, { GATEWAY_PORT: '0' }, folder)
    const { credential } = await first.welcome()
    first.child.kill('SIGTERM')
    t.equal((await first.ended).code, 0)

    const second = start(t, { GATEWAY_PORT: '0' }, folder)
    const { origin, text, credential: again } = await second.welcome()
    t.equal(again, credential)
    const [, command = ''] = /TOKEN=\$\((npm run --silent api-token -- .+)\)\n/.exec(text) ?? []
    const made = run('sh', ['-c', command], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'], GATEWAY_STATE_DIR: join(folder, '.workspace') },
    })
    const [, token = ''] = /^(hub_\w{32})\n$/.exec((await made).out) ?? []
    const headers = { authorization: `Bearer ${token}` }
    t.equal((await fetch(`${origin}/api/v1/models`, { headers })).status, 200)
    t.equal((await fetch(origin, { headers })).status, 403, 'the agent alone')
  },
)

t.test('the link works once; sign-in-link makes others for the workspace that runs', async (t) => {
  const folder = temporaryFolder(t)
  const first = start(t, { GATEWAY_PORT: '0' }, folder)
  const { origin, link, text } = await first.welcome()
  t.match(text, 'Open this link within 10 minutes to sign in, for 12 hours:')
  t.match(text, '\n    npm run sign-in-link\n')
  const [ticket, headers] = [claimsIn(link), await cookieFrom(link)]
  t.equal(ticket.exp - ticket.iat, 600)
  const session = claimsIn(headers.cookie)
  t.match(session, { use: 'session', sub: userInfo().username })
  t.ok(Math.abs(session.exp - ticket.iat - 12 * 3600) < 60, 'signed in for 12 hours')
  const again = await openLink(link)
  t.match([again.status, again.headers['x-gateway-error']], [401, 'ticket-used'])

  const { code, out, errors } = await askForLink(folder)
  t.equal(code, 0)
  t.match(errors, '10 minutes')
  t.match(out, /^http:\S+\n$/, 'the link alone is on standard output')
  t.equal(new URL(out).origin, origin, 'the port of the running workspace')
  const other = await cookieFrom(out.trim())
  t.match(other.cookie, /^workspace_session=/)
  t.not(other.cookie, headers.cookie)

  first.child.kill('SIGTERM')
  await first.ended
  const second = start(t, { GATEWAY_PORT: '0' }, folder)
  const restarted = await second.welcome()
  const page = await fetch(restarted.origin, { headers })
  t.equal(page.status, 200, 'a browser stays signed in')
  t.equal((await openLink(link.replace(origin, restarted.origin))).status, 401, 'used for ever')
})

t.test(
  'a stand-in of Hubcode’s daemon is behind /_code/, also of two workspaces at once',
  async (t) => {
    const folders = t.testdir({ first: {}, second: {} })
    const both = ['first', 'second'].map((name) =>
      start(t, { GATEWAY_PORT: '0' }, join(folders, name)),
    )
    for (const { welcome } of both) {
      const { origin, link, text } = await welcome()
      t.match(text, `${origin}/_code/`)
      const address = `${origin}/_code/api/health`
      t.equal((await fetch(address, { redirect: 'manual' })).status, 401)
      const headers = await cookieFrom(link)
      t.match(await (await fetch(address, { headers })).json(), { status: 'ok' })
      const socket = new WebSocket(`${origin.replace('http', 'ws')}/_code/ws`, {
        headers: { ...headers, origin },
      })
      await once(socket, 'open')
      socket.send('hello')
      t.equal(String((await once(socket, 'message'))[0]), 'hello', 'as a page of the workspace')
      socket.terminate()
    }
  },
)

t.test('lists of the daemon that cannot be read are reported before anything starts', async (t) => {
  const home = t.testdir({ 'config.json': '{' })
  const { ended, folder } = start(t, { HUBCODE_HOME: home }, temporaryFolder(t))
  t.match(await ended, { code: 78, errors: /config\.json is not a JSON object/ })
  t.same(await readdir(folder), [])
})

t.test('sign-in-link says what it lacks', async (t) => {
  const folder = t.testdir()
  const { code, out, errors } = await askForLink(folder)
  t.equal(code, 69)
  t.equal(out, '')
  t.match(errors, `No workspace is running with ${join(folder, '.workspace')}.`)
  t.match(errors, 'npm start')
  const wrong = await askForLink(folder, {}, ['--port', '9000'])
  t.equal(wrong.code, 64)
  t.match(wrong.errors, "Unknown option '--port'")
  t.match(wrong.errors, 'sign-in-link -- --help')
  const help = await askForLink(folder, {}, ['--help'])
  t.equal(help.code, 0)
  t.match(help.out, 'the running workspace tells its own port')
  t.equal((await askForLink(folder, { GATEWAY_STATE_DIR: '../x' })).code, 78)
})

t.test('a workspace on a socket gets a link without an origin', async (t) => {
  const folder = temporaryFolder(t)
  const socket = join(folder, 'gateway.sock')
  const { welcome } = start(t, { GATEWAY_SOCKET: socket }, folder)
  const { text } = await welcome()
  t.match(text, /\n {4}\/_gateway\/sign-in\?token=/)
  const { code, out } = await askForLink(folder)
  t.equal(code, 0)
  t.match(out, /^\/_gateway\/sign-in\?token=\S+\n$/)
})

t.test('a state folder has one workspace at a time', async (t) => {
  const folder = temporaryFolder(t)
  const { origin } = await start(t, { GATEWAY_PORT: '0' }, folder).welcome()
  const { code, errors } = await start(t, { GATEWAY_PORT: '0' }, folder).ended
  t.equal(code, 69)
  t.match(errors, `A workspace runs with ${join(folder, '.workspace')} already at ${origin}`)
  t.match(errors, 'npm run sign-in-link')
  t.match(errors, 'GATEWAY_STATE_DIR=.workspace-2 npm start')
  t.equal((await fetch(`${origin}/health`)).status, 200, 'the first goes on')
})

t.test('without a configured port, the next free port is used', async (t) => {
  const folder = t.testdir({ first: {}, second: {} })
  const first = start(t, {}, join(folder, 'first'))
  const second = start(t, {}, join(folder, 'second'))
  const [a, b] = await Promise.all([first.welcome(), second.welcome()])
  t.not(a.origin, b.origin)
  for (const { origin } of [a, b]) t.ok(Number(new URL(origin).port) >= 8080)
})

t.test('a configured port that is in use is an error', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const { ended } = start(t, { GATEWAY_PORT: String(port) })
  const { code, errors } = await ended
  t.equal(code, 69)
  t.match(errors, `Port ${port} is taken by another program.`)
  t.equal(errors.trim().split('\n').length, 1)
})

t.test('the port argument overrides the setting', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const taken = start(t, {}, t.testdir(), [`--port=${port}`])
  t.same(await taken.ended, {
    code: 69,
    errors: `Port ${port} is taken by another program. Without --port and GATEWAY_PORT a free one is taken.\n`,
  })
  other.close()
  await once(other, 'close')
  const { welcome } = start(t, { GATEWAY_PORT: '1' }, t.testdir(), ['--port', String(port)])
  t.equal((await welcome()).origin, `http://localhost:${port}`)
})

t.test('--help starts nothing', async (t) => {
  for (const option of ['--help', '-h']) {
    const { child, ended, folder } = start(t, {}, t.testdir(), [option])
    const text = (await child.stdout.toArray()).join('')
    for (const word of ['--port', 'sign-in-link', 'GATEWAY_DASHBOARD_URL', '.workspace', '69'])
      t.match(text, word)
    t.same(await ended, { code: 0, errors: '' })
    t.same(await readdir(folder), [])
  }
})

t.test('invalid arguments are reported, with a reference to --help', async (t) => {
  for (const [args, said] of [
    [['--prot', '9000'], /Unknown option '--prot'/],
    [['9000'], /Unexpected argument '9000'/],
    [['--port', '70000'], /--port "70000" is not a port; it takes a whole number from 0 to 65535/],
    [['--port='], /--port "" is not a port/],
    [['--port'], /--port/],
  ] as const) {
    const { ended, folder } = start(t, {}, t.testdir(), args)
    const { code, errors } = await ended
    t.equal(code, 64, args.join(' '))
    t.match(errors, said)
    t.match(errors, 'Try "npm start -- --help".')
    t.notMatch(errors, /\n\s+at /)
    t.same(await readdir(folder), [])
  }
})

t.test('the workspace is reported as up only when the configured services respond', async (t) => {
  const held = createServer().listen(0, '127.0.0.1')
  await once(held, 'listening')
  const { port } = held.address() as AddressInfo
  held.close()
  await once(held, 'close')
  const { child, welcome } = start(t, {
    GATEWAY_PORT: '0',
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${port}`,
  })
  const printed = welcome()
  let text = ''
  child.stdout.on('data', (chunk: string) => (text += chunk))
  await eventually(() => text.includes('Waiting for the dashboard'), 'it waits', 20_000)
  t.notMatch(text, ' is up')
  const dashboard = createHttpServer((_request, response) => response.writeHead(404).end())
  dashboard.listen(port, '127.0.0.1')
  t.teardown(() => {
    dashboard.closeAllConnections()
    dashboard.close()
  })
  t.match((await printed).text, 'Your workspace is up: http://localhost:')
})

t.test('invalid settings are reported before any file is created', async (t) => {
  const { ended, folder } = start(t, { GATEWAY_RATE_LIMIT: 'many', GATEWAY_NOPE: '1' })
  const { code, errors } = await ended
  t.equal(code, 78)
  t.match(errors, 'GATEWAY_RATE_LIMIT')
  t.match(errors, 'GATEWAY_NOPE')
  t.same(await readdir(folder), [])
  const keeper = start(t, { TERMINALS_SCROLLBACK: 'many' })
  t.match(await keeper.ended, { code: 78, errors: 'TERMINALS_SCROLLBACK' })
  t.same(await readdir(keeper.folder), [])
})

t.test('a secret file that other users can read is an error', async (t) => {
  const folder = t.testdir({ '.workspace': {} })
  const file = join(folder, '.workspace', 'jwt-secret')
  await chmod(join(folder, '.workspace'), 0o700)
  await writeFile(file, 'x'.repeat(64), { mode: 0o644 })
  const { code, errors } = await start(t, {}, folder).ended
  t.equal(code, 78)
  t.match(errors, 'jwt-secret can be read by others')
})

t.test('a configured service gets no stand-in', async (t) => {
  const service = createServer((socket) =>
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmine'),
  )
  service.listen(0, '127.0.0.1')
  t.teardown(() => service.close())
  await once(service, 'listening')
  const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
  const state = join(t.testdir(), 'elsewhere')
  const socketFolder = temporaryFolder(t)
  const { child, welcome, folder, ended } = start(t, {
    GATEWAY_PORT: '0',
    GATEWAY_DASHBOARD_URL: url,
    GATEWAY_TERMINAL_URL: url,
    GATEWAY_STATE_DIR: state,
    GATEWAY_VAULT_SOCKETS: '/run/of-my-own',
    GATEWAY_LINK_SOCKET: join(socketFolder, 'link.sock'),
    GATEWAY_JWT_SECRET: 'a secret of my own that is long enough',
    GATEWAY_WORKSPACE: 'houston',
  })
  const { origin, link, text } = await welcome()
  t.notMatch(text, 'password')
  t.notMatch(text, 'GATEWAY_JWT_SECRET')
  t.notMatch(text, 'vault', 'the vault of my own is not for trying')
  t.notMatch(text, 'npm run --silent pair', 'nor is the link of my own')
  t.match(text, 'GATEWAY_STATE_DIR=elsewhere npm run sign-in-link')
  const headers = await cookieFrom(link)
  t.equal(await (await fetch(origin, { headers })).text(), 'mine')
  t.same(await readdir(folder), ['elsewhere'])
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
  t.same(
    (await readdir(state)).toSorted(),
    ['budgets.json', 'gateway.log', 'state.db', 'state.lock'],
    'no secret was made',
  )
})

t.test('ending npm ends the workspace, and no process remains', async (t) => {
  const folder = t.testdir()
  const child = spawn('npm', ['start', '--', '--port', '0'], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], HOME: folder, GATEWAY_STATE_DIR: join(folder, 'state') },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  // 'close' comes when no process has the output open any more, so the workspace has ended too.
  let isClosed = false
  const closed = once(child, 'close').then(() => (isClosed = true))
  t.teardown(async () => {
    if (!isClosed) process.kill(-(child.pid ?? 0), 'SIGKILL')
    await closed
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  await eventually(() => text.includes('Ctrl+C stops it.'), 'the workspace', 30_000)
  child.kill('SIGTERM')
  await eventually(() => isClosed, 'the end of the workspace', 30_000)
})

t.test('a signal during the start stops the workspace too', async (t) => {
  const { child, folder, ended } = start(t, { GATEWAY_PORT: '0' })
  await once(child, 'spawn')
  while (!(await readdir(folder)).includes('.workspace')) await new Promise(setImmediate)
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
})
