/** What does the gateway do while its disk is full? The kernel limits the size of its files, which is a full disk to it. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { HTTPS, ORIGIN, signIn } from '../helpers/door.ts'
import { testSettings, token } from '../helpers/gateway.ts'
import { MAIN, serve, temporaryFolder, watch } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { until } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

t.test(
  'with a full disk the gateway serves on, refuses one-time sign-ins, and signs out',
  async (t) => {
    const service = await startUpstream(t)
    const stateDir = temporaryFolder(t)
    const settings = { GATEWAY_STATE_DIR: stateDir, GATEWAY_DASHBOARD_URL: service.url }
    // In blocks of 512 bytes. The signal that comes with the limit would end the process; without it, a write fails.
    // Without tap's loaders, which listen to that signal.
    const program = watch(
      t,
      spawn(
        'sh',
        [
          '-c',
          'unset NODE_OPTIONS; trap "" XFSZ; ulimit -f 400; exec "$0" "$@"',
          process.execPath,
          MAIN,
        ],
        {
          env: testSettings(settings),
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      ),
    )
    const port = Number((await program.logged('listening'))['port'])
    const cookies: string[] = []
    let ticket = await token()
    const refused = await until('the disk is full', async () => {
      ticket = await token()
      const body = `token=${ticket}`
      const headers = [HTTPS, FORM, `Content-Length: ${body.length}`]
      const answer = await send(port, 'POST /_gateway/sign-in', headers, body)
      if (answer.status !== 303) return answer
      cookies.push(`Cookie: ${(answer.headers['set-cookie'] ?? '').split(';')[0]}`)
      return undefined
    })
    t.equal(refused.status, 503)
    t.equal(refused.headers['x-gateway-error'], 'state-unavailable')
    t.ok(Number(refused.headers['retry-after']) > 0)

    const [mine = '', others = ''] = cookies
    t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 200, 'sessions live on')
    const bearer = `Authorization: Bearer ${ticket}`
    t.equal((await send(port, 'GET /', [bearer])).status, 200, 'the ticket is not used up')
    const out = [HTTPS, mine, `Origin: ${ORIGIN}`, 'Content-Length: 0']
    const signedOut = await send(port, 'POST /_gateway/sign-out', out)
    t.equal(signedOut.status, 303)
    t.match(signedOut.headers['location'], /saved=no/)
    t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 401, 'it holds')
    t.equal((await send(port, 'GET /', [HTTPS, others])).status, 200)
    t.equal((await send(port, 'GET /', [HTTPS])).status, 401)

    const errors = await until('it is logged', () => {
      const lines = program.logLines().filter(({ level }) => level === 'error')
      return lines.length > 0 && lines
    })
    t.match(errors, [{ msg: /^state not written/ }])
    t.match(JSON.parse((await askAdmin(stateDir, '/status')).body), {
      state: { health: 'unsaved' },
    })
    const ready = await send(port, 'GET /_gateway/ready', [bearer])
    t.match(JSON.parse(ready.body), { status: 'ready', state: { health: 'unsaved' } })
    const anybody = await send(port, 'GET /_gateway/ready')
    t.same(JSON.parse(anybody.body), { status: 'ready' })
    program.child.kill('SIGTERM')
    t.equal(await program.exited, 0)
    t.match(
      program.logLines().map(({ msg }) => msg),
      /state not written before the end/,
    )

    const again = await serve(t, settings)
    t.equal(
      (await send(again.port, 'GET /', [HTTPS, others])).status,
      200,
      'what was answered is kept',
    )
    await signIn(again.port, ticket)
  },
)

t.test('no token is in any file of the state folder, nor in a backup', async (t) => {
  const { port, stateDir, ...program } = await serve(t)
  const ticket = await token()
  const cookie = await signIn(port, ticket)
  const session = cookie.split('=')[1] ?? ''
  await send(port, `GET /?a=${ticket}`, [HTTPS, cookie])
  await send(port, 'GET /', [`Authorization: Bearer ${await token({ subject: 'program' })}`])
  const backup = join(temporaryFolder(t), 'backup')
  const { state } = await import('../../src/commands/state.ts')
  const io = { out: () => {}, err: () => {} }
  t.equal(await state(['backup', backup], { GATEWAY_STATE_DIR: stateDir }, io), 0)
  for (const file of ['state.db', 'state.db-wal', 'state.db-shm', 'state.lock']
    .map((name) => join(stateDir, name))
    .concat(backup)) {
    const bytes = readFileSync(file)
    for (const secret of [ticket, session, ticket.split('.')[2] ?? '', session.split('.')[2] ?? ''])
      t.notOk(bytes.includes(secret), file)
  }
  t.notOk(program.stdout().includes(ticket))
})
