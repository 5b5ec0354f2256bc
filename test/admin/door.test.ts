/** Can the machine's owner, and no other user, reach a running gateway over the admin socket? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { adminSocketPath, startAdmin, type AdminRoute } from '../../src/admin/door.ts'
import { askAdmin } from '../../src/admin/ask.ts'
import { GatewayError } from '../../src/answers/errors.ts'
import { recordingLogger } from '../helpers/operations.ts'
import { temporaryFolder } from '../helpers/process.ts'

const ROUTES: AdminRoute[] = [
  { method: 'GET', path: '/hello', answer: () => ({ body: { hello: 'operator' } }) },
  {
    method: 'GET',
    path: '/things/:name',
    answer: ({ names: { name }, body }) => ({ body: { name, body } }),
  },
  {
    method: 'DELETE',
    path: '/things/:name',
    answer: ({ names: { name }, body }) => ({ body: { gone: name, body } }),
  },
  {
    method: 'POST',
    path: '/things/:name/turn',
    answer: ({ names: { name } }) => ({ body: { turned: name } }),
  },
  {
    method: 'GET',
    path: '/things/:name/parts/:part',
    answer: ({ names }) => ({ body: names }),
  },
  { method: 'POST', path: '/things', answer: ({ body }) => ({ body: { got: body } }) },
  {
    method: 'GET',
    path: '/refuses',
    answer() {
      throw new GatewayError('not-found', { reason: 'there is no such thing' })
    },
  },
  {
    method: 'GET',
    path: '/breaks',
    answer() {
      throw new Error('secret of the inside')
    },
  },
]

/** Sends a request with any method and body. */
async function ask(stateDir: string, method: string, path: string, body = '') {
  const outgoing = request({ socketPath: adminSocketPath(stateDir), method, path, agent: false })
  outgoing.on('error', () => {}) // a refusal may come before the body has gone
  outgoing.end(body)
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  return {
    status: answer.statusCode,
    type: answer.headers['content-type'],
    body: JSON.parse(await text(answer)) as Record<string, unknown>,
  }
}

t.test('the admin socket is for its owner only, and its file is removed on close', async (t) => {
  const stateDir = temporaryFolder(t)
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const admin = await startAdmin({ stateDir, ...recordingLogger(), routes: ROUTES })
  t.equal(process.umask(), 0, 'the umask is as it was')
  const { mode } = lstatSync(adminSocketPath(stateDir))
  t.ok(lstatSync(adminSocketPath(stateDir)).isSocket())
  t.equal(mode & 0o777, 0o600)
  t.same(await ask(stateDir, 'GET', '/hello'), {
    status: 200,
    type: 'application/json',
    body: { hello: 'operator' },
  })
  const idle = connect(adminSocketPath(stateDir))
  await once(idle, 'connect')
  const ended = once(idle, 'close')
  await admin?.close()
  await ended
  t.notOk(existsSync(adminSocketPath(stateDir)))
})

t.test('request and response bodies are JSON, and refusals are problem documents', async (t) => {
  const stateDir = temporaryFolder(t)
  const { logger, lines } = recordingLogger()
  const admin = await startAdmin({ stateDir, logger, routes: ROUTES })
  t.teardown(() => admin?.close())
  const rows: Array<[method: string, path: string, body: string, status: number, answer: object]> =
    [
      ['GET', '/hello?x=1', '', 200, { hello: 'operator' }],
      ['GET', '/things/a%20b', '', 200, { name: 'a b' }],
      ['DELETE', '/things/a', '', 200, { gone: 'a' }],
      ['POST', '/things', '{"a":[1]}', 200, { got: { a: [1] } }],
      ['POST', '/things', '', 200, {}],
      ['POST', '/things/a%2Fb/turn', '', 200, { turned: 'a/b' }],
      ['POST', '/things//turn', '', 404, { code: 'not-found' }],
      ['POST', '/things/a/turn/', '', 404, { code: 'not-found' }],
      ['POST', '/things', '{"a"', 400, { code: 'bad-request', detail: 'the body is not JSON' }],
      ['POST', '/things', `"${'x'.repeat(65_535)}"`, 413, { code: 'body-too-large' }],
      ['POST', '/things/a', '', 405, { detail: 'this route takes GET, DELETE' }],
      ['PUT', '/hello', '', 405, { code: 'method-not-allowed' }],
      ['GET', '/hello/', '', 404, { code: 'not-found' }],
      ['GET', '/things/', '', 404, { code: 'not-found' }],
      ['GET', '/things/a/b', '', 404, { code: 'not-found' }],
      ['GET', '/things/%ff', '', 404, { code: 'not-found' }],
      ['GET', '/', '', 404, { type: 'urn:workspace-gateway:not-found', status: 404 }],
      ['GET', '/refuses', '', 404, { detail: 'there is no such thing' }],
    ]
  for (const [method, path, body, status, expected] of rows) {
    const answer = await ask(stateDir, method, path, body)
    t.equal(answer.status, status, `${method} ${path}`)
    t.equal(answer.type, status === 200 ? 'application/json' : 'application/problem+json')
    if (status === 200) t.same(answer.body, expected)
    else t.match(answer.body, expected)
  }
  const broken = await ask(stateDir, 'GET', '/breaks')
  t.match(broken, { status: 500, body: { code: 'internal-error' } })
  t.notMatch(JSON.stringify(broken.body), 'secret')
  t.match(lines().at(-1), { msg: 'admin door failed', err: { message: 'secret of the inside' } })
})

t.test('a socket that a dead process left is replaced', async (t) => {
  const stateDir = temporaryFolder(t)
  const path = adminSocketPath(stateDir)
  const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('listening'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
  t.ok(lstatSync(path).isSocket(), 'it was left behind')
  const admin = await startAdmin({ stateDir, ...recordingLogger(), routes: ROUTES })
  t.teardown(() => admin?.close())
  t.equal((await askAdmin(stateDir, '/hello')).status, 200)
})

t.test(
  'an admin socket that cannot be opened is logged, and files of others are not touched',
  async (t) => {
    const taken = temporaryFolder(t)
    const first = await startAdmin({ stateDir: taken, ...recordingLogger(), routes: ROUTES })
    t.teardown(() => first?.close())
    const withFile = temporaryFolder(t)
    writeFileSync(adminSocketPath(withFile), 'somebody’s')
    const deep = join(temporaryFolder(t), 'x'.repeat(120))
    mkdirSync(deep)
    const rows: Array<[stateDir: string, message: RegExp]> = [
      [taken, /another process listens on the socket/],
      [withFile, /no socket has its name/],
      [join(withFile, 'missing'), /ENOENT|EACCES/],
      [deep, /longer than 103 bytes/],
    ]
    for (const [stateDir, message] of rows) {
      const { logger, lines } = recordingLogger()
      t.equal(await startAdmin({ stateDir, logger, routes: ROUTES }), undefined)
      t.match(lines(), [{ level: 'warn', msg: 'admin door not opened', err: { message } }])
    }
    t.equal((await askAdmin(taken, '/hello')).status, 200, 'the first one still answers')
    t.equal(readFileSync(adminSocketPath(withFile), 'utf8'), 'somebody’s')
  },
)
