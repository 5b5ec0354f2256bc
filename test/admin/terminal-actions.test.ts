/** Does everybody see and end their own shells, and an owner all, by every door? */
import t, { type Test } from 'tap'
import { call, jsonOf, pageOf } from '../helpers/api.ts'
import { client } from '../helpers/door.ts'
import { startFakeKeeper } from '../helpers/fake-keeper.ts'
import { areParked, TAB } from '../helpers/kept-terminals.ts'
import { openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { startTestGateway, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'
import type { TerminalsAnswer } from '../../src/admin/terminal-actions.ts'

type Workspace = Awaited<ReturnType<typeof startKeptWorkspace>>

const listOf = async (t: Test, workspace: Pick<Workspace, 'port'>, fields: readonly string[]) =>
  jsonOf(t, await call(workspace, 'GET /terminals', fields)) as unknown as TerminalsAnswer

t.test('a person sees and ends their own shells, in all of their sessions', async (t) => {
  const workspace = await startKeptWorkspace(t, { GATEWAY_OWNERS: 'olga' })
  const { ttyd, keeper, port } = workspace
  const [laptop, phone] = [await pageOf(workspace), await pageOf(workspace)]
  const bob = await pageOf(workspace, 'bob')
  t.same(await listOf(t, workspace, laptop), { keeper: 'running', terminals: [] })
  const page = await openPage(t, port, laptop)
  const shell = await ttyd.shell(0)
  shell.socket.send(Buffer.from('1evil \u001b[31m\u202etitle'))
  await eventually(() => page.messages.some((text) => text.startsWith('1evil')), 'the title')
  const onPhone = await openPage(t, port, phone)
  await ttyd.shell(1)
  onPhone.socket.terminate()
  await areParked(keeper)

  const { terminals } = await listOf(t, workspace, laptop)
  t.equal(terminals.length, 2)
  const own = terminals.find(({ current }) => current)
  const other = terminals.find(({ current }) => !current)
  const time = /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
  t.match(own, {
    ...{ state: 'attached', sub: 'alice', title: 'evil \\u{1b}[31m\\u{202e}title' },
    ...{ columns: 80, rows: 24, startedAt: time, since: time, waitsUntil: null },
    address: `/terminal/?tab=${TAB}`,
  })
  t.match(other, { state: 'parked', sub: 'alice', waitsUntil: time, address: null })
  t.not(own?.session, other?.session)
  t.same((await listOf(t, workspace, bob)).terminals, [], 'nobody else sees them')

  for (const id of [own?.id, 'none', 'a b'])
    t.match(await call(workspace, `DELETE /terminals/${encodeURIComponent(id ?? '')}`, bob), {
      status: 404,
      headers: { 'x-gateway-error': 'not-found' },
    })
  t.equal(keeper.terminals.size, 2)
  const foreign = [
    ...laptop.filter((line) => !line.startsWith('Origin')),
    'Origin: https://evil.test',
  ]
  t.equal((await call(workspace, `DELETE /terminals/${own?.id}`, foreign)).status, 403)
  t.same(jsonOf(t, await call(workspace, `DELETE /terminals/${own?.id}`, phone)), { ended: 1 })
  await eventually(() => shell.hasEnded(), 'its shell has ended')
  await eventually(() => page.closedWith() !== undefined, 'its page is closed')
  t.equal(page.closedWith(), 1000, 'so that it does not open a new shell at once')
  const line = await workspace.gateway.logLine(({ msg }) => msg === 'owner acted')
  t.match(line, { action: 'end-terminal', by: 'alice', door: 'api', changed: [own?.id] })
})

t.test('an owner sees and ends all, also with an API token that has the scope', async (t) => {
  const workspace = await startKeptWorkspace(t, { GATEWAY_OWNERS: 'olga' })
  const { ttyd, keeper, gateway, port } = workspace
  const { apiTokens } = gateway.running.parts
  const secret = (name: string, subject: string, scope: string) => {
    const wanted = { name, subject, scopes: [scope], expiresAt: undefined }
    return [`Authorization: Bearer ${apiTokens.create(wanted).token}`]
  }
  const alice = await pageOf(workspace)
  await openPage(t, port, alice)
  await ttyd.shell(0)
  const seesAll = [await pageOf(workspace, 'olga'), secret('owner', 'olga', 'owner')]
  for (const fields of seesAll)
    t.same(
      (await listOf(t, workspace, fields)).terminals.map(({ sub, address }) => [sub, address]),
      [['alice', null]],
    )
  const program = [`Authorization: Bearer ${await token({ subject: 'olga' })}`]
  for (const fields of [secret('hers', 'bob', 'owner'), program])
    t.same((await listOf(t, workspace, fields)).terminals, [], 'their own alone')
  for (const fields of [secret('api', 'olga', 'api'), secret('read', 'olga', 'owner:read')]) {
    const [terminal] = keeper.terminals.list()
    t.equal((await call(workspace, `DELETE /terminals/${terminal?.id}`, fields)).status, 403)
  }
  t.equal((await call(workspace, 'GET /terminals', [client('203.0.113.7')])).status, 401)
  const [terminal] = keeper.terminals.list()
  const ended = await call(workspace, `DELETE /terminals/${terminal?.id}`, seesAll[1] ?? [])
  t.same(jsonOf(t, ended), { ended: 1 })
  t.equal(keeper.terminals.size, 0)
})

t.test('without owners in the settings everybody who signs in is one', async (t) => {
  const workspace = await startKeptWorkspace(t)
  await openPage(t, workspace.port, await pageOf(workspace))
  await workspace.ttyd.shell(0)
  t.match((await listOf(t, workspace, await pageOf(workspace, 'bob'))).terminals, [
    { sub: 'alice' },
  ])
})

t.test('the answers tell no keeper from another version, and from one that is away', async (t) => {
  const ttyd = await startUpstream(t, (_request, response) => response.writeHead(401).end())
  const newer = await startFakeKeeper(t, { 'GET /_ready': { protocol: 99, version: '9.0.0' } })
  const rows: Array<[what: string, url: string, keeper: string, status: object]> = [
    ['plain ttyd', ttyd.url, 'none', { keeper: 'none' }],
    [
      'a newer keeper',
      newer.url,
      'other-version',
      { keeper: 'other-version', protocol: 99, version: '9.0.0' },
    ],
  ]
  for (const [what, url, keeper, status] of rows) {
    const gateway = await startTestGateway(t, { GATEWAY_TERMINAL_URL: url })
    const alice = await pageOf(gateway)
    t.same(await listOf(t, gateway, alice), { keeper, terminals: [] }, what)
    t.equal((await call(gateway, 'DELETE /terminals/aa', alice)).status, 404)
    t.same(jsonOf(t, await call(gateway, 'GET /status', alice))['terminals'], status)
  }
  const gateway = await startTestGateway(t, {
    GATEWAY_TERMINAL_URL: `unix:${temporaryFolder(t)}/none.sock`,
  })
  const alice = await pageOf(gateway)
  for (const line of ['GET /terminals', 'DELETE /terminals/aa']) {
    const { status, headers, body } = await call(gateway, line, alice)
    t.equal(status, 502)
    t.equal(headers['x-gateway-error'], 'upstream-unreachable')
    t.match(body, /The keeper of terminals does not answer/)
  }
  t.same(jsonOf(t, await call(gateway, 'GET /status', alice))['terminals'], { keeper: 'away' })
})
