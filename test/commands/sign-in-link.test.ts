/** Does `sign-in-link` print a link that signs in once, with a running gateway and without one? */
import t from 'tap'
import { keys } from '../../src/commands/keys.ts'
import { signInLink } from '../../src/commands/sign-in-link.ts'
import { runCommand } from '../helpers/command.ts'
import { HTTPS, TYPED } from '../helpers/door.ts'
import { SECRET } from '../helpers/gateway.ts'
import { serve, temporaryFolder } from '../helpers/process.ts'
import { send } from '../helpers/wire.ts'

t.test('a link signs in once', async (t) => {
  const { port, stateDir, logged, stdout } = await serve(t, { GATEWAY_JWT_ISSUER: 'hubify' })
  const own = { GATEWAY_STATE_DIR: stateDir }
  const alone = {
    ...{ GATEWAY_STATE_DIR: temporaryFolder(t), GATEWAY_WORKSPACE: 'houston' },
    ...{ GATEWAY_JWT_SECRET: SECRET, GATEWAY_JWT_ISSUER: 'hubify' },
  }
  for (const env of [own, alone]) {
    const { code, out, err } = await runCommand(signInLink, ['--sub', 'alice'], env)
    t.equal(code, 0, err)
    t.match(err, /works once, within 10 minutes/)
    t.match(out, /^https:\/\/houston\.hubify\.com\/_gateway\/sign-in\?token=[\w.-]+\n$/)
    const target = out.trim().replace(/^https:\/\/[^/]+/, '')
    const open = () => send(port, `GET ${target}`, [HTTPS, ...TYPED])
    const first = await open()
    t.match(first, { status: 303, headers: { 'set-cookie': /^__Host-workspace_session=/ } })
    const [cookie] = (first.headers['set-cookie'] ?? '').split(';')
    const session = await send(port, 'GET /_gateway/v1/session', [HTTPS, `Cookie: ${cookie}`])
    const { sub, expiresAt } = JSON.parse(session.body) as { sub: string; expiresAt: string }
    t.equal(sub, 'alice')
    const days = (Date.parse(expiresAt) - Date.now()) / 86_400_000
    t.ok(days > 29 && days <= 30, 'the session outlives the link: GATEWAY_SESSION_MAX_SECONDS')
    t.match(await open(), { status: 401, headers: { 'x-gateway-error': 'ticket-used' } })
    t.notOk(stdout().includes(target.slice(-20)), 'the log does not have it')
  }
  t.match(await logged('owner acted'), {
    ...{ action: 'make-sign-in-link', by: 'machine', door: 'admin-socket', changed: ['alice'] },
  })
  const local = ['--sub', 'alice', '--origin', 'http://localhost:3000']
  t.match((await runCommand(signInLink, local, own)).out, /^http:\/\/localhost:3000\/_gateway\//)

  const { out: table } = await runCommand(keys, [], own)
  t.match(table, /^KEY +ROLE +LAST HOUR +LAST DAY +LAST USED +SESSIONS +COUNTED SINCE\n/)
  t.match(table, /^[\w-]{8} +signs +[1-9] +[1-9] +20\S+ \S+Z +2 +20\S+ \S+Z$/m)
  const { out: json } = await runCommand(keys, ['--json'], own)
  t.match(JSON.parse(json), [{ role: 'signs', openSessions: 2 }])
  t.match(await runCommand(keys, [], alone), { code: 69, err: /no gateway is running/ })
})

t.test('wrong usage and missing settings are reported', async (t) => {
  const env = { GATEWAY_STATE_DIR: temporaryFolder(t) }
  for (const args of [
    ...[[], ['--sub', ''], ['--sub', 'a\nb'], ['--sub', 'a', '--origin', 'localhost']],
    ...[
      ['--sub', 'a', '--origin', 'https://a/b'],
      ['--sub', 'a', '--origin', 'https://a@b'],
    ],
  ])
    t.match(await runCommand(signInLink, args, env), { code: 64, out: '' }, args.join(' '))
  t.match(await runCommand(signInLink, ['--sub', 'a'], env), {
    ...{ code: 78, out: '', err: /^workspace-gateway: GATEWAY_WORKSPACE is not set/ },
  })
  await t.rejects(runCommand(signInLink, ['a'], env), { code: /^ERR_PARSE_ARGS/ })
})
