/** Does an agent get what it was granted, at its own door, and is everything else refused before anything is dialled? */
import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import { openOwnerDoor } from '../../../src/vault/doors/open-doors.ts'
import { prepareDoorFolder } from '../../../src/vault/doors/folders.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { openSocket } from '../../helpers/running-vault.ts'
import { anEntry, ask, CREDENTIAL, leaseAt, startTestVault } from '../../helpers/vault-doors.ts'
import { eventually } from '../../helpers/waiting.ts'
import { gather, requestBytes } from '../../helpers/wire.ts'

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

t.test('a lease is given to an agent with a grant, with its row', async (t) => {
  const vault = await startTestVault(t)
  const body = { service: 'github', methods: ['GET'], ttl: 60 }
  const { status, json, headers, text } = await ask(vault.coder, {
    ...{ method: 'POST', path: '/v1/leases', body },
  })
  t.equal(status, 201)
  t.match(json, { base_url: null, env: {}, origin: 'https://api.github.com' })
  t.equal(json['expires_at'], new Date(vault.now + 60_000).toISOString())
  t.equal(headers['cache-control'], 'no-store')
  t.match(vault.rows, [{ op: 'lease', agent: 'coder', service: 'github', entry: 'id-github' }])
  t.notMatch(text, CREDENTIAL)
})

t.test('a request with a lease is forwarded, as its path was sent', async (t) => {
  const vault = await startTestVault(t)
  const token = await leaseAt(vault.coder)
  const path = '/s/github/repos/a%20b/x?page=2&q=%2F..%2F'
  const { status } = await ask(vault.coder, { path, headers: bearer(token) })
  t.equal(status, 200)
  t.match(vault.uses, [{ agent: 'coder', path: '/repos/a%20b/x', query: '?page=2&q=%2F..%2F' }])
  t.equal(vault.uses[0]?.entry.id, 'id-github')
})

t.test('without a grant the words are the same, whether the entry exists or not', async (t) => {
  const vault = await startTestVault(t)
  const refusals = []
  for (const service of ['github', 'gitlab']) {
    const { status, code, json } = await ask(vault.ops, {
      ...{ method: 'POST', path: '/v1/leases', body: { service } },
    })
    t.match({ status, code }, { status: 403, code: 'not-granted' })
    t.equal(
      json['detail'],
      `agent "ops" has no grant for "${service}"; the owner allows it with: workspace-gateway vault grant ${service} ops`,
    )
    refusals.push(String(json['detail']).replaceAll(service, 'X'))
  }
  t.equal(refusals[0], refusals[1])
  t.match(vault.rows, [{ op: 'deny', agent: 'ops', reason: 'not-granted' }, { op: 'deny' }])
})

t.test('every refusal comes before the service is asked, and has a row', async (t) => {
  const slot = { header: 'x-own', template: '{}' }
  const vault = await startTestVault(t, { entries: [anEntry({ slot })] })
  const token = await leaseAt(vault.coder)
  const narrow = await leaseAt(vault.coder, { methods: ['GET'], paths: ['/repos/acme'] })
  const expired = await leaseAt(vault.coder, { ttl: 1 })
  vault.now += 1000
  const other = `hvl_${'x'.repeat(32)}`
  const path = '/s/github/user'
  const rows: ReadonlyArray<
    readonly [name: string, door: string, question: Parameters<typeof ask>[1], code: string]
  > = [
    ['no lease', vault.coder, { path }, 'lease-missing'],
    ['a lease in the query', vault.coder, { path: `${path}?key=${token}` }, 'bad-request'],
    ['another key', vault.coder, { path, headers: bearer('ghp_other') }, 'lease-missing'],
    ['unknown lease', vault.coder, { path, headers: bearer(other) }, 'lease-invalid'],
    ['A’s lease at B’s door', vault.ops, { path, headers: bearer(token) }, 'lease-invalid'],
    [
      'other entry',
      vault.coder,
      { path: '/s/slack/user', headers: bearer(token) },
      'lease-invalid',
    ],
    ['expired', vault.coder, { path, headers: bearer(expired) }, 'lease-expired'],
    [
      'two leases',
      vault.coder,
      { path, headers: { ...bearer(token), 'X-Api-Key': narrow } },
      'bad-request',
    ],
    [
      'two in one field',
      vault.coder,
      { path, headers: ['Authorization', `Bearer ${token}`, 'Authorization', `Bearer ${narrow}`] },
      'bad-request',
    ],
    [
      'method',
      vault.coder,
      { path, method: 'DELETE', headers: bearer(token) },
      'method-not-allowed',
    ],
    [
      'narrowed method',
      vault.coder,
      { path: '/s/github/repos/acme', method: 'POST', headers: bearer(narrow) },
      'method-not-allowed',
    ],
    ['path', vault.coder, { path: '/s/github/orgs', headers: bearer(token) }, 'path-not-allowed'],
    ['path', vault.coder, { path: '/s/github', headers: bearer(token) }, 'path-not-allowed'],
    ['narrowed path', vault.coder, { path, headers: bearer(narrow) }, 'path-not-allowed'],
    ...[
      '/..',
      '/user/../orgs',
      '//evil',
      '/%2e%2e/x',
      '/user%5c',
      '/%2fevil',
      '/user//x',
      '/..;/x',
    ].map(
      (below) =>
        [
          below,
          vault.coder,
          { path: `/s/github${below}`, headers: bearer(token) },
          'bad-target',
        ] as const,
    ),
    [
      'encoded prefix',
      vault.coder,
      { path: '/s/github/%75ser', headers: bearer(token) },
      'path-not-allowed',
    ],
    [
      'absolute form',
      vault.coder,
      { path: 'http://evil/s/github/user', headers: bearer(token) },
      'not-found',
    ],
    ['no service', vault.coder, { path: '/s/..', headers: bearer(token) }, 'not-found'],
    ['owner’s path', vault.coder, { path: '/v1/entries' }, 'owner-only'],
    [
      'owner’s path',
      vault.coder,
      { path: '/v1/entries/github/grant', method: 'POST' },
      'owner-only',
    ],
    ['unknown path', vault.coder, { path: '/v2' }, 'not-found'],
  ]
  for (const [name, door, question, code] of rows) {
    const answer = await ask(door, question)
    t.equal(answer.code, code, `${name} ${question.path}`)
    t.match(answer.json, { code, detail: /./ })
    t.equal(answer.headers['content-type'], 'application/problem+json')
    t.equal(answer.headers['cache-control'], 'no-store')
    t.notMatch(answer.text, CREDENTIAL)
  }
  t.same(vault.uses, [], 'nothing was forwarded')
  const denied = vault.rows.filter(({ op }) => op === 'deny')
  t.equal(denied.length, 11, 'ten of an agent in a minute, and one of the other')
  t.match(denied[0], { agent: 'coder', service: 'github', path: '/user', reason: 'lease-missing' })
  vault.now += 60_000
  vault.doors.tick()
  t.match(vault.rows.at(-1), { op: 'deny', agent: 'coder', reason: /bad-target 8 more/ })
})

t.test('what a request says about its agent is not believed', async (t) => {
  const vault = await startTestVault(t)
  const headers = { 'X-Agent': 'coder', From: 'coder', 'X-Forwarded-User': 'coder' }
  const body = { service: 'github' }
  const { code } = await ask(vault.ops, { method: 'POST', path: '/v1/leases', headers, body })
  t.equal(code, 'not-granted')
  const named = await ask(vault.ops, {
    ...{ method: 'POST', path: '/v1/leases', body: { ...body, agent: 'coder' } },
  })
  t.equal(named.code, 'bad-request')
})

t.test('what asks for a lease is checked', async (t) => {
  const vault = await startTestVault(t)
  for (const [body, code] of [
    [undefined, 'bad-request'],
    ['{', 'bad-request'],
    [[], 'bad-request'],
    [{}, 'bad-request'],
    [{ service: '../x' }, 'bad-request'],
    [{ service: 'github', methods: 'GET' }, 'bad-request'],
    [{ service: 'github', paths: [1] }, 'bad-request'],
    [{ service: 'github', ttl: '60' }, 'bad-request'],
    [{ service: 'github', method: ['GET'] }, 'bad-request'],
    [{ service: 'github', methods: ['DELETE'] }, 'method-not-allowed'],
    [{ service: 'github', paths: ['/'] }, 'path-not-allowed'],
    [{ service: 'github', note: 'x'.repeat(70_000) }, 'body-too-large'],
  ] as const) {
    const answer = await ask(vault.coder, { method: 'POST', path: '/v1/leases', body })
    t.equal(answer.code, code, JSON.stringify(body)?.slice(0, 60) ?? 'nothing')
  }
  const got = await ask(vault.coder, { path: '/v1/leases' })
  t.equal(got.code, 'bad-request')
})

t.test('a lease is not given while its row cannot be written', async (t) => {
  const vault = await startTestVault(t)
  vault.setAudit(false)
  const body = { service: 'github' }
  const answer = await ask(vault.coder, { method: 'POST', path: '/v1/leases', body })
  t.ok(answer.status >= 500)
  t.same(vault.doors.leases.list(), [])
})

t.test('revoking, suspending and removing cut what is open', async (t) => {
  const changes = {
    revoke: { agents: ['coder'] },
    remove: undefined,
  } as const
  for (const [verb, body] of Object.entries(changes)) {
    const vault = await startTestVault(t)
    vault.holdUses()
    const token = await leaseAt(vault.coder)
    const open = ask(vault.coder, { path: '/s/github/user', headers: bearer(token) })
    await eventually(() => vault.uses.length === 1, 'it is open')
    const path = `/v1/entries/github/${verb}`
    t.equal((await ask(vault.owner, { method: 'POST', path, body })).status, 200)
    t.ok((await open).isCut, verb)
    const again = await ask(vault.coder, { path: '/s/github/user', headers: bearer(token) })
    t.equal(again.code, 'lease-revoked')
    t.equal(vault.uses.length, 1)
  }
})

t.test('a stream that runs is not cut by the end of its lease', async (t) => {
  const vault = await startTestVault(t)
  vault.holdUses()
  const token = await leaseAt(vault.coder)
  const open = ask(vault.coder, { path: '/s/github/user', headers: bearer(token) })
  await eventually(() => vault.uses.length === 1, 'it is open')
  vault.now += 7_200_000
  vault.doors.tick()
  t.notOk(vault.uses[0]?.lease.revoked.aborted)
  vault.entries.change({ op: 'suspend', service: 'github' }, () => anEntry({ suspended: true }))
  t.ok((await open).isCut, 'and a revocation reaches it even then')
})

t.test('a lease is given back by its agent alone', async (t) => {
  const vault = await startTestVault(t)
  const token = await leaseAt(vault.coder)
  const giveBack = { method: 'DELETE', path: '/v1/leases', headers: bearer(token) }
  t.equal((await ask(vault.ops, giveBack)).code, 'lease-invalid')
  t.equal((await ask(vault.coder, { ...giveBack, headers: {} })).code, 'lease-missing')
  t.equal((await ask(vault.coder, giveBack)).status, 204)
  t.match(vault.rows.at(-1), { op: 'revoke', agent: 'coder', reason: 'given back' })
  const { code } = await ask(vault.coder, { path: '/s/github/user', headers: bearer(token) })
  t.equal(code, 'lease-revoked')
})

t.test('a lease is renewed by its agent alone, and only under its grant', async (t) => {
  const vault = await startTestVault(t)
  const token = await leaseAt(vault.coder, { ttl: 60 })
  const renew = {
    ...{ method: 'POST', path: '/v1/leases', headers: bearer(token), body: { renew: true } },
  }
  vault.now += 30_000
  t.equal((await ask(vault.ops, renew)).code, 'lease-invalid')
  const { status, json } = await ask(vault.coder, renew)
  t.match({ status, token: json['token'] }, { status: 200, token })
  t.equal(json['expires_at'], new Date(vault.now + 900_000).toISOString())
  t.match(vault.rows.at(-1), { op: 'lease', reason: 'renewed' })
  vault.entries.change({ op: 'revoke', service: 'github' }, () => anEntry({ grants: [] }))
  t.equal((await ask(vault.coder, renew)).code, 'lease-revoked')
})

t.test('the entry’s own header carries a lease, and says nothing to other agents', async (t) => {
  const slot = { header: 'x-own', template: '{}' }
  const vault = await startTestVault(t, {
    entries: [anEntry({ slot }), anEntry({ service: 'slack', grants: ['ops'] })],
  })
  const path = '/s/github/user'
  const token = await leaseAt(vault.coder)
  t.equal((await ask(vault.coder, { path, headers: { 'X-Own': token } })).status, 200)
  const ops = await leaseAt(vault.ops, { service: 'slack' })
  t.equal((await ask(vault.ops, { path, headers: { 'X-Own': ops } })).code, 'lease-missing')
})

t.test('a handshake is taken where the entry says so', async (t) => {
  for (const [upgrade, code] of [
    [false, 'upgrade-not-allowed'],
    [true, undefined],
  ] as const) {
    const vault = await startTestVault(t, { entries: [anEntry({ upgrade })] })
    const token = await leaseAt(vault.coder)
    const headers = { ...bearer(token), Connection: 'Upgrade', Upgrade: 'websocket' }
    const answer = await ask(vault.coder, { path: '/s/github/user', headers }).catch(
      () => undefined,
    )
    t.equal(answer?.code, code)
    t.equal(vault.uses.length, upgrade ? 1 : 0)
  }
})

t.test('a handshake with too many fields is refused as a request is', async (t) => {
  const vault = await startTestVault(t, { entries: [anEntry({ upgrade: true })] })
  const token = await leaseAt(vault.coder)
  const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`X-${i}`, '1']))
  const headers = { ...bearer(token), Connection: 'Upgrade', Upgrade: 'websocket', ...many }
  const { code } = await ask(vault.coder, { path: '/s/github/user', headers })
  t.equal(code, 'bad-request')
  t.equal(vault.uses.length, 0)
  t.match(vault.rows.at(-1), { op: 'deny', agent: 'coder', reason: 'bad-request' })
})

t.test('a body that does not arrive is the agent’s fault', async (t) => {
  const vault = await startTestVault(t)
  const head = 'POST /v1/leases HTTP/1.1\r\nHost: vault\r\nContent-Length: 100\r\n\r\n{'
  const socket = connect(vault.coder)
  socket.end(head)
  socket.resume()
  await eventually(
    () => vault.rows.some(({ op, reason }) => op === 'deny' && reason === 'bad-request'),
    'its row',
  )
})

t.test('a flood of refusals writes eleven rows a minute', async (t) => {
  const vault = await startTestVault(t)
  for (let i = 0; i < 50; i++) await ask(vault.coder, { path: `/s/github/user/${i}` })
  t.equal(vault.rows.length, 10)
  vault.now += 60_000
  vault.doors.tick()
  t.match(vault.rows.slice(10), [
    { op: 'deny', agent: 'coder', reason: 'lease-missing 40 more in a minute' },
  ])
})

t.test('sockets have the modes that their folders ask for', async (t) => {
  const vault = await startTestVault(t)
  for (const path of [vault.coder, vault.owner]) {
    t.equal(statSync(path).mode & 0o777, 0o600)
    t.equal(statSync(dirname(path)).mode & 0o7777, 0o700)
  }
  const sockets = join(temporaryFolder(t), 'vault')
  const folder = join(sockets, 'owner')
  mkdirSync(folder, { recursive: true })
  chmodSync(sockets, 0o711)
  for (const [mode, problem] of [
    [0o2750, undefined],
    [0o700, undefined],
    [0o750, /gives that group to nothing/],
    [0o755, /is open to others/],
    [0o2770, /is open to others/],
  ] as const) {
    chmodSync(folder, mode)
    if (problem === undefined)
      t.equal(prepareDoorFolder(folder), mode === 0o700 ? 0o600 : 0o660, mode.toString(8))
    else t.throws(() => prepareDoorFolder(folder), problem)
  }
  chmodSync(folder, 0o2750)
  const logger = pino({ level: 'silent' })
  const door = await openOwnerDoor(sockets, logger)
  t.equal(statSync(join(folder, 'owner.sock')).mode & 0o777, 0o660)
  await t.rejects(openOwnerDoor(sockets, logger), { code: 'EADDRINUSE' }, 'one vault alone')
  await door.close()
  chmodSync(sockets, 0o777)
  t.throws(() => prepareDoorFolder(folder), /may be written to by others/)
})

t.test('a socket that a dead process has left is replaced', async (t) => {
  const sockets = join(temporaryFolder(t), 'vault')
  const path = join(sockets, 'owner', 'owner.sock')
  prepareDoorFolder(dirname(path))
  const server = createServer().listen(path)
  await new Promise((resolve) => {
    server.once('listening', resolve)
  })
  const logger = pino({ level: 'silent' })
  await t.rejects(openOwnerDoor(sockets, logger), { code: 'EADDRINUSE' })
  await new Promise((resolve) => {
    server.close(resolve)
  })
  const door = await openOwnerDoor(sockets, logger)
  await door.close()
})

t.test('a connection with many requests that wait for their answers is closed', async (t) => {
  const vault = await startTestVault(t)
  vault.holdUses()
  const lease = await leaseAt(vault.coder)
  const socket = openSocket(vault.coder)
  const received = gather(socket)
  socket.write(requestBytes('GET /s/github/user', [`Authorization: Bearer ${lease}`]).repeat(100))
  await received.over
  t.equal(vault.uses.length, 32)
  await vault.doors.close()
})
