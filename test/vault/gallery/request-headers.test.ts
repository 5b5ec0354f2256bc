/** Attack: a request's headers take the slot, add a second credential, or change what is asked for. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

const start = async (t: Parameters<typeof startVault>[0], policy = {}) => {
  const service = await startByteService(t, () => answerText('ok'))
  const vault = await startVault(t, service.origin, { policy })
  return { service, ...vault }
}

t.test('Connection cannot remove the slot', async (t) => {
  const { service, port } = await start(t)
  await send(port, 'GET /s/github/x', [LEASE, 'Connection: close, Authorization, Host'])
  t.equal(sentField(service.received(), 'authorization'), `Bearer ${CREDENTIAL}`)
  t.match(service.received(), /\r\nhost: 127\.0\.0\.1:/)
})

t.test('Connection removes the headers that it names', async (t) => {
  const { service, port } = await start(t)
  await send(port, 'GET /s/github/x', [
    LEASE,
    'User-Agent: a',
    'Accept: b',
    'Connection: close, User-Agent',
  ])
  t.equal(sentField(service.received(), 'user-agent'), '')
  t.equal(sentField(service.received(), 'accept'), 'b')
})

t.test('several Authorization headers become one', async (t) => {
  const { service, port } = await start(t)
  await send(port, 'GET /s/github/x', [
    LEASE,
    'Authorization: Basic YTpi',
    'AUTHORIZATION: Bearer other',
  ])
  t.equal(sentField(service.received(), 'authorization'), `Bearer ${CREDENTIAL}`)
})

t.test('a slot of another name is filled once, and no Authorization is sent', async (t) => {
  const { service, port } = await start(t, {
    slot: { header: 'x-api-key', template: '{}' },
    headers: ['authorization', 'x-api-key', 'x_api_key'],
  })
  await send(port, 'GET /s/github/x', [LEASE, 'X-Api-Key: hvl_x', 'X-API-KEY: hvl_y'])
  t.equal(sentField(service.received(), 'x-api-key'), CREDENTIAL)
  t.equal(sentField(service.received(), 'authorization'), '')
})

t.test('Basic is filled in base64, and a workspace gets Bearer', async (t) => {
  const basic = await start(t, {
    kind: 'basic',
    slot: { header: 'authorization', template: 'x-access-token:{}' },
  })
  await send(basic.port, 'GET /s/github/x', [LEASE])
  const rendered = Buffer.from(`x-access-token:${CREDENTIAL}`).toString('base64')
  t.equal(sentField(basic.service.received(), 'authorization'), `Basic ${rendered}`)
  const workspace = await start(t, { kind: 'workspace' })
  await send(workspace.port, 'GET /s/github/x', [LEASE])
  t.equal(sentField(workspace.service.received(), 'authorization'), `Bearer ${CREDENTIAL}`)
})

const NEVER = [
  ...[
    'Cookie: a=b',
    'Range: bytes=0-3',
    'If-Range: "x"',
    'TE: trailers',
    'Trailer: X-A',
    'Forwarded: for=1.2.3.4',
  ],
  ...[
    'X-Forwarded-Host: evil.test',
    'X-Real-IP: 1.2.3.4',
    'Proxy-Authorization: Basic YTpi',
    'Via: 1.1 x',
  ],
  ...['X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Method-Override: DELETE'],
  ...[
    'X_HTTP_Method_Override: DELETE',
    'X-Original-URL: /admin',
    'X-Rewrite-URL: /admin',
    'X-Unknown: 1',
  ],
  ...['Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive', 'Accept-Charset: utf-16'],
]
for (const line of NEVER) {
  const name = line.slice(0, line.indexOf(':'))
  t.test(`${name} does not reach the service, also when the entry names it`, async (t) => {
    const isAllowedByName = name === 'X-Unknown' || name === 'Accept-Charset'
    const { service, port } = await start(t, {
      headers: isAllowedByName ? [] : [name.toLowerCase()],
    })
    await send(port, 'GET /s/github/x', [LEASE, line])
    t.equal(service.dials(), 1)
    t.equal(sentField(service.received(), name), '')
  })
}

t.test('what the tools of services send passes, and what the entry names', async (t) => {
  const { service, port } = await start(t, { headers: ['x-own'] })
  const lines = [
    'Accept: a',
    'Anthropic-Version: 1',
    'OpenAI-Beta: b',
    'X-Stainless-Lang: js',
    'Git-Protocol: version=2',
    'Idempotency-Key: k',
    'X-Own: o',
  ]
  await send(port, 'GET /s/github/x', [LEASE, ...lines])
  for (const line of lines)
    t.match(service.received().toLowerCase(), `\r\n${line.toLowerCase()}\r\n`)
})

t.test('the path and the query reach the service as they are', async (t) => {
  const { service, port } = await start(t)
  await send(port, 'GET /s/github/a%2Fb/c?x=1&y=%20', [LEASE])
  t.match(service.received(), /^GET \/a%2Fb\/c\?x=1&y=%20 HTTP\/1\.1\r\n/)
})

t.test('an encoded body of a request passes, as git sends it', async (t) => {
  const { service, port } = await start(t)
  await send(
    port,
    'POST /s/github/x',
    [LEASE, 'Content-Encoding: gzip', 'Content-Length: 4'],
    'abcd',
  )
  t.equal(sentField(service.received(), 'content-encoding'), 'gzip')
  t.match(service.received(), /\r\n\r\nabcd$/)
})
