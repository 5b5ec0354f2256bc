/** Does `sessions` list and end sessions, through the running gateway and without one? */
import { join } from 'node:path'
import t from 'tap'
import { sessions } from '../../src/commands/sessions.ts'
import { digestOf } from '../../src/identity/sessions.ts'
import { runCommand } from '../helpers/command.ts'
import { client, HTTPS, signIn } from '../helpers/door.ts'
import { CLAIMS, forge, HEADER } from '../helpers/forged-tokens.ts'
import { SECRET, token } from '../helpers/gateway.ts'
import { run, serve, temporaryFolder } from '../helpers/process.ts'
import { send } from '../helpers/wire.ts'

/** Signs in with a browser of this name. @returns the cookie's field */
const signInWith = async (port: number, subject: string, device: string) =>
  signIn(port, await token({ subject }), [client('203.0.113.9'), `User-Agent: ${device}`])

const isIn = async (port: number, cookie: string) =>
  (await send(port, 'GET /_gateway/v1/session', [cookie, HTTPS])).status === 200

const CHROME =
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36 Edg/147.0'

t.test('sessions are listed and ended, with the gateway and without it', async (t) => {
  const gateway = await serve(t)
  const { port, stateDir } = gateway
  const env = { GATEWAY_STATE_DIR: stateDir }
  const command = (...args: string[]) => runCommand(sessions, args, env)
  t.match(await command('list'), { code: 0, out: '', err: /nobody is signed in/ })
  const cookies = {
    alice: await signInWith(port, 'alice', 'Firefox \u009b31m'),
    bob: await signInWith(port, 'bob', 'x'.repeat(200)),
    carol: await signInWith(port, 'carol', CHROME),
  }
  const list = async () => {
    const { code, out } = await command('list', '--json')
    t.equal(code, 0)
    return JSON.parse(out) as Array<{ id: string; sub: string }>
  }
  const idOf = async (sub: string) => (await list()).find((one) => one.sub === sub)?.id ?? ''
  t.same((await list()).map(({ sub }) => sub).toSorted(), ['alice', 'bob', 'carol'])
  const { out: table } = await command('list')
  t.match(table, /^ID +SUB +KIND +SINCE +UNTIL +LAST SEEN +FROM +SOCKETS +DEVICE$/m)
  t.match(
    table,
    /^\S{22} +alice +browser( +20\d\d-\d\d-\d\d \d\d:\d\dZ){3} +203\.0\.113\.9 +0 +Fire/m,
  )
  t.notMatch(table, /\u{9b}|x{61}/u)
  const { out: json } = await command('list', '--json')
  t.match(json, 'Firefox \\u009b31m', 'nor does the JSON control a terminal')
  t.match(table, /  \(X11; Linux x86_64\) Chrome\/147\.0\.0\.0 Safari\/537\.36 Edg\/147\.0$/m)

  t.match(await command('end', await idOf('alice')), { code: 0, out: '1 session ended\n', err: '' })
  t.notOk(await isIn(port, cookies.alice))
  t.ok(await isIn(port, cookies.bob))
  t.match(await command('end', 'x'), { code: 1, out: '', err: /: No session has this id/ })
  const line = await gateway.logged('owner acted')
  t.match(line, { action: 'end-session', by: 'machine', door: 'admin-socket', count: 1 })

  gateway.child.kill('SIGTERM')
  t.equal(await gateway.exited, 0)
  t.same((await list()).map(({ sub }) => sub).toSorted(), ['bob', 'carol'], 'read from the file')
  t.match(await command('end', await idOf('bob')), { code: 0, out: '1 session ended\n' })
  t.match(await command('end', '--sub', 'nobody'), {
    ...{ code: 0, out: '0 sessions ended\n' },
    err: /nobody is signed in as "nobody"; "workspace-gateway sessions list" shows the names/,
  })
  const next = await serve(t, { GATEWAY_STATE_DIR: stateDir })
  t.notOk(await isIn(next.port, cookies.bob), 'a gateway that starts knows of it')
  t.ok(await isIn(next.port, cookies.carol))
  const all = run(t, ['sessions', 'end', '--all'], env)
  t.equal(await all.exited, 0, all.stderr())
  t.equal(all.stdout(), '1 session ended\n')
  t.notOk(await isIn(next.port, cookies.carol))
  for (const cookie of Object.values(cookies)) {
    const value = cookie.split('=')[1] ?? cookie
    t.notOk(JSON.stringify([next.stdout(), gateway.stdout()]).includes(value), 'no log has a token')
  }
  t.notOk(gateway.stdout().includes(SECRET))
})

t.test('a session whose id looks like an option is ended too', async (t) => {
  const { port, stateDir } = await serve(t)
  const command = (...args: string[]) => runCommand(sessions, args, { GATEWAY_STATE_DIR: stateDir })
  for (const start of ['-', '--']) {
    const name = Array.from({ length: 100_000 }, (_, at) => `job ${at}`).find((text) =>
      digestOf(`sid\0alice\0${text}`).startsWith(start),
    )
    const exp = Math.floor(Date.now() / 1000) + 3600
    const bearer = `Authorization: Bearer ${forge(HEADER, { ...CLAIMS, exp, sid: name }, SECRET)}`
    await send(port, 'GET /_gateway/v1/session', [bearer])
    const { out } = await command('list', '--json')
    const id = (JSON.parse(out) as Array<{ id: string }>).find((one) =>
      one.id.startsWith(start),
    )?.id
    t.match(id, /^-.{21}$/)
    t.match(await command('end', id ?? ''), { code: 0, out: '1 session ended\n' })
    t.equal((await send(port, 'GET /_gateway/v1/session', [bearer])).status, 401)
    t.match(await command('end', id ?? '', '--all'), { code: 64 }, 'one of them')
  }
})

t.test('wrong usage, and a folder without a gateway, are reported', async (t) => {
  const empty = temporaryFolder(t)
  const env = { GATEWAY_STATE_DIR: empty }
  for (const args of [
    ...[[], ['lists'], ['end'], ['end', ''], ['end', 'a', 'b'], ['end', 'a', '--all']],
    ['end', '--sub', 'a', '--all'],
  ])
    t.match(
      await runCommand(sessions, args, env),
      { code: 64, out: '', err: /sessions.*\nTry "workspace-gateway help sessions"\.\n$/ },
      args.join(' '),
    )
  await t.rejects(runCommand(sessions, ['list', '--all'], env), { code: /^ERR_PARSE_ARGS/ })
  const missing = { GATEWAY_STATE_DIR: join(empty, 'missing') }
  t.match(await runCommand(sessions, ['list'], missing), {
    code: 69,
    err: /no gateway is running with this state folder/,
  })
  t.match(await runCommand(sessions, ['list'], { GATEWAY_STATE_DIR: '../relative' }), {
    code: 78,
    err: /^workspace-gateway: GATEWAY_STATE_DIR/,
  })
  t.match(await runCommand(sessions, ['list'], { ...env, GATEWAY_SESSION_MAX_SECONDS: 'x' }), {
    code: 78,
  })
})
