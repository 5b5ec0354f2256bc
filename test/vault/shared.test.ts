/** Does a workspace use the credential of another one without ever having it? Through two real vaults and the gateway between them. */
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { dirname } from 'node:path'
import t, { type Test } from 'tap'
import type { AuditRow } from '../../src/vault/audit/audit-line.ts'
import { ask, type DoorQuestion } from '../helpers/vault-doors.ts'
import { CREDENTIAL } from '../helpers/vault-entry.ts'
import { everythingIn } from '../helpers/running-vault.ts'
import { runBare } from '../helpers/process.ts'
import { hubFile, startShared } from '../helpers/shared-vault.ts'
import { startUpstream, type Upstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'

/** Starts everything, with B's entry `github` and a lease of its agent coder. */
async function start(t: Test, options: Parameters<typeof startShared>[2] = {}, service?: Upstream) {
  const upstream = service ?? (await startUpstream(t))
  const shared = await startShared(t, upstream.url, options)
  await shared.addToB()
  const lease = await shared.b.lease()
  const asCoder = (path: string, question: Partial<DoorQuestion> = {}) =>
    ask(shared.b.coder, {
      path,
      ...question,
      headers: { Authorization: `Bearer ${lease}`, ...(question.headers as object) },
    })
  return { ...shared, upstream, lease, asCoder }
}

/** Sends a request whose answer is read piece by piece. */
async function stream(socketPath: string, lease: string, path: string): Promise<IncomingMessage> {
  const asked = request({ socketPath, path, headers: { authorization: `Bearer ${lease}` } })
  asked.on('error', () => {})
  asked.end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return answer
}

t.test('an agent of B uses a service of A, and finds the credential nowhere', async (t) => {
  const { a, b, made, upstream, asCoder } = await start(t)
  const answer = await asCoder('/s/github/repos/x?page=2', {
    headers: { 'X-Workspace-Token-Name': 'other', Cookie: 'a=b', 'User-Agent': 'octokit' },
  })
  t.equal(answer.status, 200, answer.text)
  const [seen] = upstream.requests
  t.equal(`${seen?.method} ${seen?.url}`, 'GET /repos/x?page=2')
  t.match(seen?.headers, { authorization: `Bearer ${CREDENTIAL}`, 'user-agent': 'octokit' })
  t.notMatch(seen?.rawHeaders.join('\n'), /x-workspace|cookie|hub_|hvl_|x-forwarded/i)
  t.notMatch(JSON.stringify([answer.headers, answer.text]), /ghp_|hub_/, 'A has masked the echo')
  const use = { op: 'use', service: 'github', method: 'GET', path: '/repos/x' }
  await eventually(() => a.rows().some(({ status }) => status === 200), 'the last row of A')
  t.match(
    a.rows().filter(({ op }) => op === 'use'),
    [
      { ...use, agent: 'research/*' },
      { ...use, agent: 'research/*', status: 200 },
    ],
  )
  await eventually(() => b.rows().some(({ status }) => status === 200), 'the last row of B')
  t.match(
    b.rows().filter(({ op }) => op === 'use'),
    [
      { ...use, agent: 'coder' },
      { ...use, agent: 'coder', status: 200 },
    ],
  )
  const inB = everythingIn(dirname(b.env['VAULT_FILE'] ?? '')) + b.program.stdout()
  t.notOk(inB.includes(CREDENTIAL), 'B never has the credential')
  t.notOk(inB.includes(made.token), 'nor the token in clear')
  t.notOk(a.program.stdout().includes(made.token))
})

t.test('HEAD, 404 and large bodies pass both ways', async (t) => {
  const size = 3_000_000
  const upstream = await startUpstream(t, (asked, response) => {
    if (asked.url === '/none') response.writeHead(404).end('none')
    else if (asked.method === 'HEAD') response.writeHead(200, { 'X-Own': 'yes' }).end()
    else {
      let length = 0
      asked.on('data', (chunk: Buffer) => (length += chunk.length))
      asked.on('end', () => response.end(`${length} ${'b'.repeat(size)}`))
    }
  })
  const { asCoder } = await start(t, {}, upstream)
  t.match(await asCoder('/s/github/x', { method: 'HEAD' }), {
    status: 200,
    headers: { 'x-own': 'yes' },
    text: '',
  })
  t.match(await asCoder('/s/github/none'), { status: 404, text: 'none', code: undefined })
  const answer = await asCoder('/s/github/x', { method: 'POST', body: 'a'.repeat(size) })
  t.equal(answer.text.length, `${size} `.length + size)
  t.ok(answer.text.startsWith(`${size} `))
})

t.test('events come one by one, and end when A takes the grant away', async (t) => {
  let send = (_event: string): void => {}
  const upstream = await startUpstream(t, (_asked, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    send = (event) => response.write(`data: ${event}\n\n`)
    send('one')
  })
  const { a, b, lease } = await start(t, {}, upstream)
  const answer = await stream(b.coder, lease, '/s/github/events')
  let text = ''
  let isOver = false
  answer.on('data', (chunk: Buffer) => (text += chunk.toString()))
  answer.on('error', () => {})
  answer.on('close', () => (isOver = true))
  await eventually(() => text.includes('one'), 'the first event')
  send('two')
  await eventually(() => text.includes('two'), 'the second event, before any third')
  t.notOk(isOver)
  await a.command('/v1/entries/github/revoke', { agents: ['research/*'] })
  await eventually(() => isOver, 'the stream is cut')
  t.notOk(answer.complete, 'and does not look whole')
  const next = await ask(b.coder, {
    path: '/s/github/events',
    headers: { Authorization: `Bearer ${lease}` },
  })
  t.match(next, { status: 403, code: undefined, json: { code: 'not-granted' } })
  t.match(
    next.json['detail'],
    /workspace "research\/\*" has no grant .* grant github 'research\/\*'/,
  )
  t.equal(upstream.requests.length, 1)
})

t.test('the token is revoked: what runs is cut, and the next request is refused', async (t) => {
  const upstream = await startUpstream(t, (_asked, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: one\n\n')
  })
  const { b, gateway, made, lease, asCoder } = await start(t, {}, upstream)
  const answer = await stream(b.coder, lease, '/s/github/events')
  let isOver = false
  answer.on('data', () => {})
  answer.on('error', () => {})
  answer.on('close', () => (isOver = true))
  gateway.running.parts.apiTokens.revoke(made.apiToken)
  await eventually(() => isOver, 'the stream is cut')
  t.notOk(answer.complete)
  const next = await asCoder('/s/github/x')
  t.match(next, { status: 401, code: undefined, headers: { 'x-gateway-error': 'token-invalid' } })
  t.equal(upstream.requests.length, 1)
})

t.test('a service of another name is found by --remote, and so are its tools', async (t) => {
  const { a, b, addToB, upstream } = await start(t)
  await a.command('/v1/entries', {
    ...{ service: 'claude', value: CREDENTIAL, origin: upstream.url, allow_private: true },
    ...{ slot: 'X-Api-Key: {}', methods: ['GET'], paths: ['/v1'], grants: ['research/*'] },
  })
  await addToB({ service: 'model', remote: 'claude' })
  const lease = await b.lease({ service: 'model' })
  const answer = await ask(b.coder, { path: '/s/model/v1/x', headers: { 'X-Api-Key': lease } })
  t.equal(answer.status, 200, answer.text)
  t.match(upstream.requests.at(-1), { url: '/v1/x', headers: { 'x-api-key': CREDENTIAL } })
  const given = await ask(b.coder, {
    ...{ method: 'POST', path: '/v1/leases' },
    body: { service: 'model' },
  })
  t.match(given.json, { origin: /^http:/, remote: 'claude' })
  const { json } = await ask(b.owner, { path: '/v1/entries/model' })
  t.match(json, { kind: 'workspace', remote: 'claude' })
})

t.test('exec sets the variables of the service’s tools, under whatever name', async (t) => {
  const { a, b, addToB, upstream } = await start(t)
  await a.command('/v1/entries', {
    ...{ service: 'anthropic', value: CREDENTIAL, origin: upstream.url, allow_private: true },
    grants: ['research/*'],
  })
  await addToB({ service: 'model', remote: 'anthropic' })
  const asked = [
    'const { ANTHROPIC_BASE_URL: base, ANTHROPIC_API_KEY: key } = process.env',
    'const answer = await fetch(`${base}/v1/models`, { headers: { "x-api-key": key } })',
    'console.log(key.slice(0, 11), answer.status)',
  ].join('\n')
  const node = [process.execPath, '--input-type=module', '-e', asked]
  const args = ['vault', 'exec', 'model', '--socket', b.coder, '--', ...node]
  const program = runBare(t, args, { PATH: process.env['PATH'] })
  t.equal(await program.exited, 0, program.stderr())
  t.equal(program.stdout(), 'sk-ant-hvl_ 200\n')
  t.match(upstream.requests, [{ url: '/v1/models', headers: { 'x-api-key': CREDENTIAL } }])
})

t.test('two vaults that share with each other send no request round and round', async (t) => {
  const { a, asCoder, gateway, upstream, made } = await start(t)
  // A's own entry becomes one that leads to a workspace, here to A itself, which is the shortest circle.
  await a.command('/v1/entries/github/remove', {})
  const looped = { kind: 'workspace', value: made.token, methods: ['GET'], paths: ['/'] }
  const entry = { service: 'github', origin: gateway.origin, allow_private: true, ...looped }
  const refused = await ask(a.owner, {
    ...{ method: 'POST', path: '/v1/entries' },
    body: { ...entry, grants: ['research/*'] },
  })
  t.match(refused, { status: 400, json: { detail: /shared on/ } })
  await a.command('/v1/entries', entry)
  t.match(await asCoder('/s/github/x'), { status: 403, json: { code: 'not-granted' } })
  t.equal(upstream.requests.length, 0)
})

t.test('a vault that is not shared refuses, and says with which key it is shared', async (t) => {
  const { a, asCoder, upstream } = await start(t, { isShared: false })
  const answer = await asCoder('/s/github/x')
  t.match(answer, { status: 403, json: { code: 'not-shared' } })
  t.match(answer.json['detail'], /privacy\.vault_shared_across_workspaces: true/)
  const body = { agents: ['research/*'] }
  t.match(await ask(a.owner, { method: 'POST', path: '/v1/entries/github/grant', body }), {
    status: 400,
    json: { detail: /privacy\.vault_shared_across_workspaces/ },
  })
  t.equal(upstream.requests.length, 0)
  const isDenied = ({ op, agent, reason }: AuditRow) =>
    op === 'deny' && agent === 'research/*' && reason === 'not-shared'
  await eventually(() => a.rows().some(isDenied), 'the row of the refusal')
})

t.test('sharing ends with the key, although the grant is still in the file', async (t) => {
  const { a, asCoder, upstream } = await start(t)
  t.equal((await asCoder('/s/github/x')).status, 200)
  a.program.child.kill('SIGTERM')
  await once(a.program.child, 'exit')
  const hub = hubFile(t, { id: 'alice', isShared: false })
  await runBare(t, ['vault', '--config', hub], a.env).logged('keeping the vault')
  t.match(await ask(a.owner, { path: '/v1/entries/github' }), { json: { grants: ['research/*'] } })
  t.match(await asCoder('/s/github/x'), { status: 403, json: { code: 'not-shared' } })
  await a.command('/v1/entries/github/revoke', { agents: ['research/*'] })
  t.equal(upstream.requests.length, 1)
})
