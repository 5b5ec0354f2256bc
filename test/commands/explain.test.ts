/** Does `explain` print why a request got its response, or a clear error? */
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { adminSocketPath, startAdmin } from '../../src/admin/door.ts'
import { explain } from '../../src/commands/explain.ts'
import { client } from '../helpers/door.ts'
import { recordingLogger, startOperated } from '../helpers/operations.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { send } from '../helpers/wire.ts'

const ID = '4440ac47-14b8-493d-9940-6719d6547684'

/** Runs the command. */
async function run(stateDir: string, ...args: string[]) {
  let out = ''
  let err = ''
  const io = { out: (text: string) => (out += text), err: (text: string) => (err += text) }
  const code = await explain(args, { GATEWAY_STATE_DIR: stateDir }, io)
  return { code, out, err }
}

t.test('the chain of decisions of a request is printed', async (t) => {
  const { port, stateDir, logLine } = await startOperated(t)
  const answer = await send(port, 'GET /api/files?path=/data/.env', [client('203.0.113.9')])
  const id = answer.headers['x-request-id'] ?? ''
  await logLine((line) => line['id'] === id)
  const { code, out, err } = await run(stateDir, ` ${id.toUpperCase()} `)
  t.equal(code, 0)
  t.equal(err, '')
  const lines = out.split('\n')
  t.equal(lines[0], `request  ${id}`)
  t.equal(lines[1], 'asked    GET http://houston.hubify.com/api/files')
  t.equal(lines[2], 'answer   403 sensitive-file')
  t.match(lines[3], /^time {5}\d{4}-\d\d-\d\dT\S+Z, [0-9.]+ ms$/)
  t.same(lines.slice(4), [
    '',
    '  listener         passed       GET',
    '  target           passed       /api/files belongs to api',
    '  client-address   passed       203.0.113.9, told by the trusted proxy 127.0.0.1',
    '  host             passed       houston.hubify.com',
    '  sensitive-files  refused      403 sensitive-file',
    '  credential       not reached',
    '  rate-limit       not reached',
    '  authentication   not reached',
    '  upstream         not reached',
    '',
  ])
})

t.test('--json prints the gateway’s JSON', async (t) => {
  const { port, stateDir, logLine } = await startOperated(t)
  const trace = '0af7651916cd43dd8448eb211c80319c'
  const answer = await send(port, 'GET /health', [`traceparent: 00-${trace}-b7ad6b7169203331-01`])
  const id = answer.headers['x-request-id'] ?? ''
  await logLine((line) => line['id'] === id)
  const { code, out } = await run(stateDir, '--json', id)
  t.equal(code, 0)
  t.match(JSON.parse(out), { id, status: 200, route: 'health', trace, chain: { length: 9 } })
  const { out: text } = await run(stateDir, id)
  t.match(text, /^time .* ms, of which the service took [0-9.]+ ms$/m)
  t.match(text, new RegExp(`^trace {4}${trace}$`, 'm'))
})

t.test('an unknown request id is reported', async (t) => {
  const { stateDir } = await startOperated(t)
  const { code, out, err } = await run(stateDir, ID)
  t.equal(code, 1)
  t.equal(out, '')
  t.match(err, /^workspace-gateway: no such request among the last few thousand .*\n$/)
})

t.test('a gateway that does not run is reported', async (t) => {
  const empty = temporaryFolder(t)
  for (const stateDir of [empty, join(empty, 'missing')]) {
    const { code, err } = await run(stateDir, ID)
    t.equal(code, 69)
    t.match(err, /admin\.sock: no gateway is running with this state folder; GATEWAY_STATE_DIR/)
    t.equal(err.split('\n').length, 2, 'one line')
  }
})

t.test('wrong usage is reported', async (t) => {
  for (const args of [[], [''], ['x'], [ID, ID], ['../status'], [`${ID}/x`]]) {
    const { code, err } = await run('/nonexistent', ...args)
    t.equal(code, 64, args.join(' '))
    t.match(err, /takes one request id/)
  }
  await t.rejects(run('/nonexistent', '--help'), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
  const { code, err } = await run('../relative', ID)
  t.equal(code, 78)
  t.match(err, /^workspace-gateway: GATEWAY_STATE_DIR "\.\.\/relative"/)
})

t.test('no text in the gateway’s response can control the terminal', async (t) => {
  const stateDir = temporaryFolder(t)
  const nasty = {
    id: ID,
    time: 'now',
    ms: 1,
    status: 0,
    method: 'GET',
    path: '/\u001b[2J\u202e\u2028x',
    chain: [{ stage: 'listener', result: 'failed', detail: 'no answer\u0007' }],
  }
  const admin = await startAdmin({
    stateDir,
    ...recordingLogger(),
    routes: [{ method: 'GET', path: '/explain/:id', answer: () => ({ body: nasty }) }],
  })
  t.teardown(() => admin?.close())
  const { out } = await run(stateDir, ID)
  t.match(out, String.raw`asked    GET ?/\u{1b}[2J\u{202e}\u{2028}x`)
  t.match(out, 'answer   none: the client left')
  t.match(out, String.raw`no answer\u{7}`)
})

t.test('an invalid response is reported', async (t) => {
  const stateDir = temporaryFolder(t)
  const statuses = [500, 0]
  const server = createServer((_request, response) => {
    const status = statuses.shift() ?? 0
    if (status === 0) response.destroy()
    else response.writeHead(status).end('not a problem document')
  }).listen(adminSocketPath(stateDir))
  await once(server, 'listening')
  t.teardown(() => server.close())
  t.match(await run(stateDir, ID), {
    code: 1,
    err: 'workspace-gateway: the gateway answered 500\n',
  })
  t.match(await run(stateDir, ID), { code: 69, err: /admin\.sock: it did not answer\n$/ })
})

t.test(
  'a socket that belongs to another user is reported',
  { skip: process.getuid?.() === 0 && 'root may open every socket' },
  async (t) => {
    const { stateDir } = await startOperated(t)
    chmodSync(adminSocketPath(stateDir), 0)
    t.match(await run(stateDir, ID), { code: 69, err: /run this command as the user that runs/ })
  },
)
