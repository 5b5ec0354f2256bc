/** Who reaches the vault through the gateway, and what is the vault told? Another workspace with its token, and that workspace's name. */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { NewApiToken } from '../../src/identity/api-tokens.ts'
import { assertRefused, client, cookie, HTTPS, ORIGIN, signIn } from '../helpers/door.ts'
import { startWorkspace, token as jwtOf } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'
import { exchange, gather, open, parseAnswer, requestBytes, send } from '../helpers/wire.ts'

/** A stand-in for the workspaces' door, which counts connections and records requests. */
async function startDoor(t: Test, listener?: RequestListener) {
  const sockets = temporaryFolder(t)
  mkdirSync(join(sockets, 'owner'))
  const requests: IncomingMessage[] = []
  let dials = 0
  const server = createServer((asked, response) => {
    requests.push(asked)
    if (listener === undefined) response.end('from the vault')
    else listener(asked, response)
  })
  server.on('connection', () => dials++)
  server.listen(join(sockets, 'owner', 'workspaces.sock'))
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { sockets, requests, dials: () => dials }
}

/** Starts a workspace with a vault, and makes the token of the workspace research. */
async function start(t: Test, listener?: RequestListener, settings: Record<string, string> = {}) {
  const door = await startDoor(t, listener)
  const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: door.sockets, ...settings })
  const { apiTokens } = workspace.running.parts
  const make = (wanted: Partial<NewApiToken> = {}) =>
    apiTokens.create({
      ...{ name: 'research', subject: 'alice', scopes: ['vault'], expiresAt: undefined },
      ...wanted,
    })
  const made = make()
  const services = workspace.dials
  return {
    ...{ ...workspace, door, apiTokens, make, made, bearer: bearer(made.token) },
    dials: () => services() + door.dials(),
  }
}

const bearer = (token: string) => `Authorization: Bearer ${token}`

t.test(
  'the vault gets the path below its own, the name, and nothing of the credential',
  async (t) => {
    const { port, door, made } = await start(t)
    const other = 'Authorization: Basic b3RoZXI6c2VjcmV0'
    for (const credential of [[bearer(made.token)], [`X-Workspace-Token: ${made.token}`, other]]) {
      const answer = await send(port, 'PATCH /_gateway/vault/s/github/repos/x?page=2', [
        ...credential,
        ...[
          'X-Workspace-Token-Name: other',
          'x-workspace-token-name: more',
          'X_Workspace_Token_Name: x',
        ],
        ...[
          'Connection: close, X-Workspace-Token-Name',
          'X-Forwarded-User: root',
          'User-Agent: octokit',
        ],
      ])
      t.match(answer, { status: 200, body: 'from the vault' })
      const seen = door.requests.at(-1)
      t.equal(`${seen?.method} ${seen?.url}`, 'PATCH /s/github/repos/x?page=2')
      t.equal(seen?.headers['x-workspace-token-name'], 'research')
      t.equal(seen?.headers['user-agent'], 'octokit')
      t.notMatch(seen?.rawHeaders.join('\n'), /hub_|authorization|x-forwarded|other|more|root/i)
    }
  },
)

t.test('nobody else gets there, and the vault is not dialled', async (t) => {
  const workspace = await start(t)
  const { port, make, made, apiTokens } = workspace
  const jwt = await jwtOf()
  const session = await signIn(port, await jwtOf(), [client('203.0.113.9')])
  const revoked = make({ name: 'revoked' })
  apiTokens.revoke(revoked.apiToken)
  const scoped = (name: string, ...scopes: string[]) => bearer(make({ name, scopes }).token)
  const page = [HTTPS, `Origin: ${ORIGIN}`, 'Sec-Fetch-Site: same-origin']
  const path = '/_gateway/vault/s/github/x'
  const stage = 'authentication'
  for (const [name, line, headers, code] of [
    ['nobody', `GET ${path}`, [], 'sign-in-required'],
    ['a person with a JWT', `GET ${path}`, [bearer(jwt)], 'scope-missing'],
    ['the JWT in its own field', `GET ${path}`, [`X-Workspace-Token: ${jwt}`], 'scope-missing'],
    ['a session', `GET ${path}`, [session, ...page], 'scope-missing'],
    ['the token in a cookie', `GET ${path}`, [cookie(made.token), HTTPS], 'token-invalid'],
    ['a revoked token', `GET ${path}`, [bearer(revoked.token)], 'token-invalid'],
    ['an unknown token', `GET ${path}`, [bearer(`hub_${'0'.repeat(32)}`)], 'token-invalid'],
    ['other scopes', `GET ${path}`, [scoped('o', 'api', 'owner', 'dashboard')], 'scope-missing'],
    ['another service', `GET ${path}`, [scoped('p', 'vault:/s/slack')], 'scope-missing'],
    ['a longer name', `GET ${path}`, [scoped('q', 'vault:/s/git')], 'scope-missing'],
    ['reading alone', `POST ${path}`, [scoped('r', 'vault:read')], 'scope-missing'],
  ] as const) {
    t.comment(name)
    await assertRefused(t, workspace, await send(port, line, headers), { code, stage })
  }
  const narrow = scoped('s', 'vault:read:/s/github')
  t.equal((await send(port, `GET ${path}`, [narrow])).status, 200, 'a narrow one fits')
})

t.test('no other spelling of the path leads there or out of it', async (t) => {
  const workspace = await start(t)
  const { port, bearer: signed, dials } = workspace
  for (const path of [
    ...['/_gateway/vault/..;/x', '/_gateway/vault/../v1', '/_gateway/vault/s/../../v1/sessions'],
    ...['/_gateway/vault/%2e%2e/x', '/_gateway/vault/%252e%252e/x', '/_gateway/vault//s/github/x'],
    ...[
      '/_gateway/%76ault/s/github/x',
      '/_gateway%2fvault/s/github/x',
      '//_gateway/vault/s/github',
    ],
    ...[
      '/_gateway/vault/s/github/..%2fslack/x',
      '/_gateway/vault/%5cs/github',
      '/api/../_gateway/vault',
    ],
    ...['http://127.0.0.1/_gateway/vault/s/github/x', '/_gateway/vault/s/github/x#y', '*'],
  ]) {
    const { status } = await send(port, `GET ${path}`, [signed])
    t.equal(status, 400, path)
  }
  for (const path of ['/_gateway/vaults/s/x', '/_gateway/VAULT/s/x', '/_gateway/v1/../vault'])
    t.not((await send(port, `GET ${path}`, [signed])).status, 200, path)
  t.equal(dials(), 0)
})

t.test('a message with two lengths, a WebSocket and a sensitive name are refused', async (t) => {
  const workspace = await start(t)
  const { port, bearer: signed, dials } = workspace
  const both = requestBytes(
    'POST /_gateway/vault/s/github/x',
    [signed, 'Content-Length: 3', 'Transfer-Encoding: chunked'],
    '0\r\n\r\n',
  )
  t.equal(parseAnswer(await exchange(port, both)).status, 400)
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  const shaken = await send(port, 'GET /_gateway/vault/s/github/x', [signed, ...upgrade, key])
  t.equal(shaken.status, 400)
  const hidden = await send(port, 'GET /_gateway/vault/s/github/repos/x/contents/.env', [signed])
  t.match(hidden, { status: 403, headers: { 'x-gateway-error': 'sensitive-file' } })
  t.equal(dials(), 0)
})

t.test('without GATEWAY_VAULT_SOCKETS there is nothing, for any token', async (t) => {
  const workspace = await startWorkspace(t)
  const { token } = workspace.running.parts.apiTokens.create({
    ...{ name: 'research', subject: 'alice', scopes: ['vault'], expiresAt: undefined },
  })
  const path = 'GET /_gateway/vault/s/github/x'
  const unknown = await send(workspace.port, 'GET /_gateway/nothing', [bearer(token)])
  const answer = await send(workspace.port, path, [bearer(token)])
  t.match(answer, {
    status: unknown.status,
    headers: { 'x-gateway-error': unknown.headers['x-gateway-error'] },
  })
  t.equal((await send(workspace.port, path, [bearer(await jwtOf())])).status, 404)
  t.equal(workspace.dials(), 0)
})

t.test('an answer is stored nowhere, and is no page of the workspace', async (t) => {
  const { port, bearer: signed } = await start(t, (_asked, response) => {
    response.writeHead(302, {
      ...{ 'Cache-Control': 'public, max-age=60', 'CDN-Cache-Control': 'max-age=60' },
      ...{ 'Surrogate-Control': 'max-age=60', Expires: 'Thu, 01 Jan 2099 00:00:00 GMT', Age: '1' },
      ...{
        'Content-Type': 'text/html',
        'Clear-Site-Data': '"*"',
        ETag: '"x"',
        Location: '/other',
      },
    })
    response.end('<script>alert(1)</script>')
  })
  const { headers, raw } = await send(port, 'GET /_gateway/vault/s/github/x', [signed])
  t.equal(headers['cache-control'], 'private, no-store')
  t.equal(headers['location'], '/other', 'as the service has sent it')
  t.notMatch(raw, /max-age|^expires|^age|clear-site-data/im)
  t.match(headers, {
    etag: '"x"',
    'x-content-type-options': 'nosniff',
  })
  t.match(raw, /^content-security-policy: .*sandbox/im)
})

t.test(
  'a token that is rotated stands for the same workspace, and so does the old one',
  async (t) => {
    const { port, door, made, apiTokens } = await start(t)
    const second = apiTokens.rotate(made.apiToken)
    const third = apiTokens.rotate(second.apiToken)
    for (const { token } of [made, second, third]) {
      t.equal((await send(port, 'GET /_gateway/vault/s/x/y', [bearer(token)])).status, 200)
      t.equal(door.requests.at(-1)?.headers['x-workspace-token-name'], 'research')
    }
  },
)

t.test('a rate of the token’s own is what the workspace spends', async (t) => {
  const { port, make, dials } = await start(t)
  const signed = [bearer(make({ name: 'slow', rate: 2 }).token)]
  const path = 'GET /_gateway/vault/s/x/y'
  const answers = [await send(port, path, signed), await send(port, path, signed)]
  t.match(answers, [{ status: 200 }, { status: 200 }])
  const before = dials()
  t.match(await send(port, path, signed), {
    status: 429,
    headers: { 'x-gateway-error': 'rate-limited', 'retry-after': /^\d+$/ },
  })
  t.equal(dials(), before)
})

t.test('a token that is revoked ends what runs', async (t) => {
  const workspace = await start(t, (_asked, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: one\n\n')
  })
  const socket = await open(workspace.port)
  const received = gather(socket)
  socket.write(requestBytes('GET /_gateway/vault/s/x/events', [workspace.bearer]))
  await received.until((text) => text.includes('data: one'))
  workspace.apiTokens.revoke(workspace.made.apiToken)
  await eventually(() => socket.destroyed, 'the stream is cut')
  t.notMatch(received.text(), /\r\n0\r\n/, 'without its end')
})
