/** What does another workspace get at its door of the vault? What was granted to it as a whole, and nothing else. */
import { connect } from 'node:net'
import { statSync } from 'node:fs'
import { once } from 'node:events'
import { dirname } from 'node:path'
import t, { type Test } from 'tap'
import { anEntry, ask, startTestVault, type TestVault } from '../../helpers/vault-doors.ts'
import { eventually } from '../../helpers/waiting.ts'

const NAME = 'X-Workspace-Token-Name'
const path = '/s/github/user'
const headers = { [NAME]: 'research' }

const start = (t: Test, change: Parameters<typeof anEntry>[0] = {}, isShared = true) =>
  startTestVault(t, { entries: [anEntry({ grants: ['research/*'], ...change })], isShared })

/** Asserts that a request is refused, and that nothing was forwarded. */
async function refused(
  t: Test,
  vault: TestVault,
  question: Parameters<typeof ask>[1],
  code: string,
): Promise<void> {
  const before = vault.uses.length
  const answer = await ask(vault.workspaces, question)
  t.equal(answer.code, code, answer.text)
  t.equal(vault.uses.length, before)
  t.match(vault.rows.at(-1), { op: 'deny', reason: code })
}

t.test('the door is made as the owner’s is', async (t) => {
  const vault = await start(t)
  t.equal(dirname(vault.workspaces), dirname(vault.owner))
  t.equal(statSync(vault.workspaces).mode, statSync(vault.owner).mode)
})

t.test('a workspace uses what it was granted, under one lease that it never sees', async (t) => {
  const vault = await start(t)
  for (const method of ['GET', 'POST'])
    t.match(await ask(vault.workspaces, { method, path, headers }), { status: 200, text: ' {}' })
  const [first, second] = vault.uses
  t.match(first, { agent: 'research/*', path: '/user', entry: { policy: { service: 'github' } } })
  t.equal(first?.lease, second?.lease)
  vault.now += 901_000
  t.equal((await ask(vault.workspaces, { path, headers })).status, 200)
  t.not(vault.uses.at(-1)?.lease, first?.lease, 'which is made anew when its time is over')
  t.match((await ask(vault.owner, { path: '/v1/leases' })).json['leases'], [
    { agent: 'research/*', service: 'github' },
  ])
})

t.test('everything else is refused', async (t) => {
  const twice = (...names: string[]) => ({ path, headers: { [NAME]: names } })
  const vault = await start(t, { grants: ['coder', 'research/*'] })
  for (const [question, code] of [
    [{ path, headers: { [NAME]: 'other' } }, 'not-granted'],
    [{ path, headers: { [NAME]: 'coder' } }, 'not-granted'],
    [{ path: '/s/slack/x', headers }, 'not-granted'],
    [{ path: '/s/github/orgs', headers }, 'path-not-allowed'],
    [{ path, method: 'DELETE', headers }, 'method-not-allowed'],
    [{ path: '/s/github/user/..%2fx', headers }, 'bad-target'],
    [{ path: '/s/github//user', headers }, 'bad-target'],
    [{ path: '/s/..;/user', headers }, 'not-found'],
    [{ path: 'http://127.0.0.1/s/github/user', headers }, 'not-found'],
    [{ path: '/v1/leases', method: 'POST', headers, body: { service: 'github' } }, 'not-found'],
    [{ path: '/v1/entries', headers }, 'not-found'],
    [{ path: '/', headers }, 'not-found'],
    [{ path }, 'bad-request'],
    [{ path, headers: { [NAME]: '' } }, 'bad-request'],
    [{ path, headers: { [NAME]: 'research/*' } }, 'bad-request'],
    [{ path, headers: { [NAME]: 'RESEARCH' } }, 'bad-request'],
    [twice('research', 'research'), 'bad-request'],
    [twice('research', 'other'), 'bad-request'],
  ] as const) {
    t.comment(JSON.stringify(question))
    vault.now += 60_000 // so that each refusal has a row of its own
    await refused(t, vault, question, code)
  }
})

t.test(
  'the words are the same whether the entry exists or not, and name the command',
  async (t) => {
    const vault = await start(t, { grants: [] })
    const detailOf = async (service: string) => {
      const { json } = await ask(vault.workspaces, { path: `/s/${service}/user`, headers })
      return String(json['detail']).replaceAll(service, 'SERVICE')
    }
    const detail = await detailOf('github')
    t.equal(detail, await detailOf('slack'))
    t.match(detail, /workspace "research\/\*".*vault grant SERVICE 'research\/\*'$/)
  },
)

t.test('while the vault is not shared, everything is refused with the key', async (t) => {
  const vault = await start(t, {}, false)
  for (const asked of [path, '/s/slack/x', '/v1/leases', '/'])
    await refused(t, vault, { path: asked, headers }, 'not-shared')
  const { status, json } = await ask(vault.workspaces, { path, headers })
  t.equal(status, 403)
  t.match(json['detail'], /privacy\.vault_shared_across_workspaces: true/)
})

t.test('a grant for a workspace is given and taken only as the key says', async (t) => {
  const body = { agents: ['research/*'] }
  const change = (vault: TestVault, verb: string, more: object = body) =>
    ask(vault.owner, { method: 'POST', path: `/v1/entries/github/${verb}`, body: more })
  const alone = await start(t, {}, false)
  const key = /privacy\.vault_shared_across_workspaces/
  const lab = { agents: ['lab/*'] }
  t.match(await change(alone, 'grant', lab), { status: 400, json: { detail: key } })
  t.match(await change(alone, 'revoke'), { status: 200, json: { grants: [] } })
  const shared = await start(t)
  t.match(await change(shared, 'grant', lab), {
    status: 200,
    json: { grants: ['lab/*', 'research/*'] },
  })
  for (const name of ['*', '/*', 'a/b', 'a/b/*', 'A/*', 'a/**', '-a/*', `${'a'.repeat(65)}/*`])
    t.equal((await change(shared, 'grant', { agents: [name] })).status, 400, name)
})

t.test('an entry that is itself another workspace’s is not shared on', async (t) => {
  const vault = await start(t, { kind: 'workspace' })
  await refused(t, vault, { path, headers }, 'not-granted')
  t.match(await ask(vault.workspaces, { path, headers }), { json: { detail: /not shared on/ } })
  const body = { agents: ['lab/*'] }
  const granted = await ask(vault.owner, { method: 'POST', path: '/v1/entries/github/grant', body })
  t.match(granted, { status: 400, json: { detail: /not shared on/ } })
})

for (const verb of ['revoke', 'remove'] as const)
  t.test(`${verb} cuts what runs`, async (t) => {
    const vault = await start(t)
    vault.holdUses()
    const running = ask(vault.workspaces, { path, headers })
    await eventually(() => vault.uses.length === 1, 'the request runs')
    const body = verb === 'revoke' ? { agents: ['research/*'] } : {}
    await ask(vault.owner, { method: 'POST', path: `/v1/entries/github/${verb}`, body })
    t.ok((await running).isCut)
    await refused(t, vault, { path, headers }, 'not-granted')
  })

t.test('a suspension cuts what runs, and says so', async (t) => {
  const vault = await start(t)
  vault.holdUses()
  const running = ask(vault.workspaces, { path, headers })
  await eventually(() => vault.uses.length === 1, 'the request runs')
  vault.entries.change({ op: 'suspend', service: 'github' }, (entry) =>
    entry === undefined ? entry : { ...entry, policy: { ...entry.policy, suspended: true } },
  )
  t.ok((await running).isCut)
  await refused(t, vault, { path, headers }, 'suspended')
})

t.test('a grant that was taken away and given again is used under a new lease', async (t) => {
  const vault = await start(t)
  t.equal((await ask(vault.workspaces, { path, headers })).status, 200)
  const body = { agents: ['research/*'] }
  for (const verb of ['revoke', 'grant'])
    await ask(vault.owner, { method: 'POST', path: `/v1/entries/github/${verb}`, body })
  t.equal((await ask(vault.workspaces, { path, headers })).status, 200)
  t.not(vault.uses[0]?.lease, vault.uses[1]?.lease)
})

t.test('two lengths of a body are refused, and an upgrade is no upgrade', async (t) => {
  const vault = await start(t)
  const say = async (...lines: string[]): Promise<string> => {
    const socket = connect(vault.workspaces)
    let text = ''
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    await once(socket, 'close')
    return text
  }
  const post = [`POST ${path} HTTP/1.1`, 'Host: vault', `${NAME}: research`]
  t.match(await say(...post, 'Content-Length: 3', 'Transfer-Encoding: chunked'), /^HTTP\/1\.1 400/)
  t.match(await say(...post, 'Content-Length: 3', 'Content-Length: 3'), /^HTTP\/1\.1 400/)
  t.equal(vault.uses.length, 0)
  const upgrade = ['Connection: Upgrade, close', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const shaken = await say(
    ...[`GET ${path} HTTP/1.1`, 'Host: vault', `${NAME}: research`, ...upgrade],
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  )
  t.notMatch(shaken, /^HTTP\/1\.1 101/)
})
