/** Does an owner see the vault, and give and take grants, by every way, and does nobody else get as far as the vault? */
import { request, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { adminSocketPath } from '../../src/admin/door.ts'
import type { VaultView } from '../../src/admin/vault-actions.ts'
import { call, jsonOf, OWN_PAGE, pageOf } from '../helpers/api.ts'
import { client, HTTPS } from '../helpers/door.ts'
import { enrolApp } from '../helpers/forms.ts'
import { startWorkspace, token, type TestGateway } from '../helpers/gateway.ts'
import { startOperated } from '../helpers/operations.ts'
import { startDoorBefore } from '../helpers/owner-door.ts'
import { startRunningVault } from '../helpers/running-vault.ts'
import { anEntry, ask, CREDENTIAL, leaseAt, startTestVault } from '../helpers/vault-doors.ts'
import { until } from '../helpers/waiting.ts'
import type { RawAnswer } from '../helpers/wire.ts'

const GRANTS = '/vault/github/grants'

/** A workspace before a vault with the agents coder and ops, and the entry github. */
async function startWithVault(t: Test, settings: Record<string, string> = {}) {
  const vault = await startTestVault(t, {
    entries: [anEntry(), anEntry({ service: 'slack', grants: [], suspended: true, note: 'bot' })],
  })
  const door = await startDoorBefore(t, vault.owner)
  const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: door.sockets, ...settings })
  const grants = () => vault.entries.find('github')?.policy.grants
  return { ...workspace, vault, door, grants }
}

const codeOf = ({ headers }: RawAnswer) => headers['x-gateway-error']
const detailOf = ({ body }: RawAnswer) => String((JSON.parse(body) as { detail?: unknown }).detail)

const apiToken = ({ running }: TestGateway, subject: string, scope: string) => {
  const wanted = { name: `${subject}-${scope.replace(':', '-')}`, subject, expiresAt: undefined }
  return [
    `Authorization: Bearer ${running.parts.apiTokens.create({ ...wanted, scopes: [scope] }).token}`,
  ]
}

t.test('an owner sees entries, grants, agents and last accesses, and no credential', async (t) => {
  const { vault, ...workspace } = await startWithVault(t)
  const lease = await leaseAt(vault.coder)
  const headers = { authorization: `Bearer ${lease}` }
  await ask(vault.coder, { method: 'DELETE', path: '/s/github/repos/x?q=1', headers })
  const answer = await call(workspace, 'GET /vault', await pageOf(workspace))
  const view = jsonOf(t, answer) as unknown as VaultView
  t.same(view.agents, ['coder', 'ops'])
  t.same(view.entries, [
    {
      ...{ service: 'github', origin: 'https://api.github.com', host: 'api.github.com' },
      ...{ methods: ['GET', 'POST'], paths: ['/repos/', '/user'], grants: ['coder'] },
      ...{ suspended: false, note: '' },
    },
    {
      ...{ service: 'slack', origin: 'https://api.github.com', host: 'api.github.com' },
      ...{ methods: ['GET', 'POST'], paths: ['/repos/', '/user'], grants: [] },
      ...{ suspended: true, note: 'bot' },
    },
  ])
  t.match(view.since, /^1970-/)
  t.match(view.accesses, [
    {
      ...{ agent: 'coder', service: 'github', uses: 0, refusals: 1, lastUse: null },
      lastRefusal: { time: /^1970-/, reason: 'method-not-allowed' },
    },
  ])
  t.notMatch(answer.raw, CREDENTIAL)
  t.notMatch(answer.raw, lease)
})

t.test('the real vault: uses are shown, grants change, and its log names the person', async (t) => {
  const vault = await startRunningVault(t)
  await vault.add('http://127.0.0.1:1')
  const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: vault.env['VAULT_SOCKETS'] })
  const page = await pageOf(workspace, 'alice@example.com')
  const lease = await vault.lease()
  const use = { path: '/s/github/repos/x?secret=1', headers: { authorization: `Bearer ${lease}` } }
  t.equal((await ask(vault.coder, use)).code, 'service-unreachable')
  // The last row of a use is written after its answer.
  const view = await until('the end of the use', async () => {
    const now = jsonOf(t, await call(workspace, 'GET /vault', page)) as unknown as VaultView
    return now.accesses[0]?.lastUse?.reason === null ? undefined : now
  })
  t.match(view, {
    entries: [{ service: 'github', host: '127.0.0.1:1', grants: ['coder'] }],
    agents: ['coder', 'ops'],
    accesses: [
      {
        ...{ agent: 'coder', service: 'github', uses: 1, refusals: 0 },
        lastUse: { time: /^20/, method: 'GET', path: '/repos/x', reason: 'service-unreachable' },
      },
    ],
  })
  t.same(jsonOf(t, await call(workspace, `POST ${GRANTS}`, page, { agent: 'ops' })), { granted: 1 })
  await leaseAt(vault.ops)
  t.same(jsonOf(t, await call(workspace, `DELETE ${GRANTS}/coder`, page)), { revoked: 1 })
  t.equal((await ask(vault.coder, use)).code, 'lease-revoked', 'what the agent had has ended')
  const changes = vault.rows().filter(({ op }) => op === 'grant' || op === 'revoke')
  const row = { agent: 'owner', by: 'alice@example.com', service: 'github' }
  t.match(changes, [
    { ...row, op: 'grant', reason: 'ops' },
    { ...row, op: 'grant', reason: 'done' },
    { ...row, op: 'revoke', reason: 'coder' },
    { ...row, op: 'revoke', reason: 'done' },
  ])
  t.equal(changes.length, 4)
  const refused = await until('the refusal, whose row is written after its answer', async () => {
    const now = jsonOf(t, await call(workspace, 'GET /vault', page)) as unknown as VaultView
    return now.accesses[0]?.refusals === 0 ? undefined : now
  })
  t.match(refused, {
    entries: [{ grants: ['ops'] }],
    accesses: [{ agent: 'coder', uses: 1, refusals: 1, lastRefusal: { reason: 'lease-revoked' } }],
  })

  process.kill(vault.program.pid)
  await vault.program.exited
  t.equal(codeOf(await call(workspace, 'GET /vault', page)), 'vault-unavailable')
  await startRunningVault(t, vault.env)
  const again = jsonOf(t, await call(workspace, 'GET /vault', page)) as unknown as VaultView
  t.match(again.accesses, [
    {
      ...{ agent: 'coder', service: 'github', uses: 1, refusals: 1 },
      lastUse: { path: '/repos/x', reason: 'service-unreachable' },
      lastRefusal: { reason: 'lease-revoked' },
    },
  ])
})

t.test('each change is one line of the gateway’s log', async (t) => {
  const { vault, ...workspace } = await startWithVault(t)
  const page = await pageOf(workspace)
  jsonOf(t, await call(workspace, `POST ${GRANTS}`, page, { agent: 'ops' }))
  jsonOf(t, await call(workspace, `DELETE ${GRANTS}/ops`, page))
  const lines = workspace.logLines().filter(({ msg }) => msg === 'owner acted')
  t.match(lines, [
    { action: 'grant-vault', by: 'alice', door: 'api', changed: ['github ops'] },
    { action: 'revoke-vault-grant', by: 'alice', door: 'api', changed: ['github ops'] },
  ])
  t.match(vault.entries.changes, [
    { op: 'grant', agent: 'owner', by: 'alice', reason: 'ops' },
    { op: 'revoke', agent: 'owner', by: 'alice', reason: 'ops' },
  ])
})

t.test('who is no owner, has no scope, or is another site never reaches the vault', async (t) => {
  const workspace = await startWithVault(t, { GATEWAY_OWNERS: 'olga' })
  const olga = await pageOf(workspace, 'olga')
  const [session = ''] = olga
  const program = [`Authorization: Bearer ${await token({ subject: 'olga' })}`]
  const from = (origin: string) => [session, HTTPS, `Origin: ${origin}`]
  const nobody: Array<[who: string, fields: string[], code: string]> = [
    ['a stranger', [client('203.0.113.7')], 'sign-in-required'],
    ['a stranger’s page', OWN_PAGE, 'sign-in-required'],
    ['no owner', await pageOf(workspace, 'bob'), 'scope-missing'],
    ['no owner’s token', apiToken(workspace, 'bob', 'owner'), 'scope-missing'],
    ['a program with a workspace token', program, 'scope-missing'],
    ...['api', 'dashboard', 'terminal', 'vault'].map((scope): (typeof nobody)[number] => [
      scope,
      apiToken(workspace, 'olga', scope),
      'scope-missing',
    ]),
  ]
  for (const [who, fields, code] of nobody) {
    t.equal(codeOf(await call(workspace, 'GET /vault', fields)), code, who)
    t.equal(codeOf(await call(workspace, `POST ${GRANTS}`, fields, { agent: 'ops' })), code, who)
    t.equal(codeOf(await call(workspace, `DELETE ${GRANTS}/coder`, fields)), code, who)
  }
  const writers: Array<[who: string, fields: string[], code: string]> = [
    ['a token that reads', apiToken(workspace, 'olga', 'owner:read'), 'scope-missing'],
    ['another site', from('https://evil.example'), 'origin-not-allowed'],
    ['a sibling', from('https://research.hubify.com'), 'origin-not-allowed'],
    ['a page without an origin', [session, HTTPS], 'origin-not-allowed'],
  ]
  for (const [who, fields, code] of writers) {
    t.equal(codeOf(await call(workspace, `POST ${GRANTS}`, fields, { agent: 'ops' })), code, who)
    t.equal(codeOf(await call(workspace, `DELETE ${GRANTS}/coder`, fields)), code, who)
  }
  const stale = await pageOf(workspace, 'olga', { minutesAgo: 11 })
  const acts = [stale, apiToken(workspace, 'olga', 'owner')]
  for (const fields of acts)
    t.equal(
      codeOf(await call(workspace, `POST ${GRANTS}`, fields, { agent: 'ops' })),
      'step-up-required',
    )
  t.equal(workspace.door.dials(), 0)
  t.equal(workspace.dials(), 0)
  t.same(workspace.vault.entries.changes, [])
  jsonOf(t, await call(workspace, 'GET /vault', olga))
  t.ok(workspace.door.dials() > 0, 'and an owner does')
})

t.test('a grant wants a factor, a revocation none, also of a token', async (t) => {
  const workspace = await startWithVault(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const { vault, grants } = workspace
  const page = await pageOf(workspace)
  const { backupCodes } = enrolApp(workspace)
  const [first = '', second = ''] = backupCodes
  const grant = (agent: string, factor?: object) =>
    call(workspace, `POST ${GRANTS}`, page, {
      agent,
      ...(factor === undefined ? {} : { factor }),
    })
  t.equal(codeOf(await grant('ops')), 'step-up-required')
  t.equal(codeOf(await grant('ops', { code: '000000' })), 'step-up-required')
  t.same(vault.entries.changes, [])
  // A wrong name is refused before the factor is taken, so the code still counts.
  t.equal((await grant('nobody', { code: first })).status, 400)
  t.equal((await grant('coder', { code: first })).status, 400)
  t.equal(
    (
      await call(workspace, 'POST /vault/none/grants', page, {
        agent: 'ops',
        factor: { code: first },
      })
    ).status,
    404,
  )
  t.same(vault.entries.changes, [])
  jsonOf(t, await grant('ops', { code: first }))
  t.same(grants(), ['coder', 'ops'])
  jsonOf(t, await call(workspace, `DELETE ${GRANTS}/ops`, page))
  t.equal(codeOf(await grant('ops', { code: first })), 'step-up-required', 'it was used up')
  jsonOf(t, await grant('ops', { code: second }))
  const program = apiToken(workspace, 'alice', 'owner')
  jsonOf(t, await call(workspace, `DELETE ${GRANTS}/ops`, program))
  const old = await pageOf(workspace, 'alice', { minutesAgo: 59 })
  jsonOf(t, await call(workspace, `DELETE ${GRANTS}/coder`, old))
  t.same(grants(), [])
})

t.test('what the vault refuses is said in its own words', async (t) => {
  const workspace = await startWithVault(t)
  const page = await pageOf(workspace)
  const grant = (path: string, agent: unknown) => call(workspace, `POST ${path}`, page, { agent })
  const rows: Array<[what: string, answer: RawAnswer, status: number, detail: RegExp]> = [
    [
      'an agent',
      await grant(GRANTS, 'mallory'),
      400,
      /refuses this: "mallory" is no agent of VAULT_AGENTS \(coder, ops\)\.$/,
    ],
    [
      'a form',
      await grant(GRANTS, 'No Name'),
      400,
      /agents takes a list of names of agents, and of other workspaces such as research\/\*\.$/,
    ],
    ['an entry', await grant('/vault/none/grants', 'ops'), 404, /there is no entry "none"/],
    [
      'a name',
      await grant('/vault/a%20b/grants', 'ops'),
      404,
      /^The vault has no entry of this name\.$/,
    ],
    ['a grant', await grant(GRANTS, 'coder'), 400, /the grant is there already\.$/],
    [
      'no text',
      await grant(GRANTS, ['ops']),
      400,
      /^The member agent takes the name of an agent\.$/,
    ],
    [
      'another member',
      await call(workspace, `POST ${GRANTS}`, page, { agents: ['ops'] }),
      400,
      /no other members than these: agent\.$/,
    ],
    ['no body', await call(workspace, `POST ${GRANTS}`, page), 400, /JSON object/],
    [
      'no grant',
      await call(workspace, `DELETE ${GRANTS}/ops`, page),
      400,
      /there is no grant for ops\.$/,
    ],
    ['nobody', await call(workspace, `DELETE ${GRANTS}/a%20b`, page), 400, /agents takes/],
    [
      'no entry',
      await call(workspace, 'DELETE /vault/none/grants/ops', page),
      404,
      /no entry "none"/,
    ],
    [
      'a workspace',
      await call(workspace, `DELETE ${GRANTS}/research%2F*`, page),
      400,
      /agents takes|no grant/,
    ],
    ['no place', await call(workspace, 'DELETE /vault/github/grants', page), 405, /methods/],
  ]
  for (const [what, answer, status, detail] of rows) {
    t.equal(answer.status, status, `${what}: ${answer.body}`)
    t.match(detailOf(answer), detail, what)
  }
  t.same(workspace.vault.entries.changes, [])
})

t.test('a vault that cannot save says so, and the grant is not given', async (t) => {
  const workspace = await startWithVault(t)
  const page = await pageOf(workspace)
  Object.assign(workspace.vault.entries, {
    change() {
      throw new Error('the disk is full')
    },
  })
  const answer = await call(workspace, `DELETE ${GRANTS}/coder`, page)
  t.match(answer, { status: 503, headers: { 'retry-after': '10' } })
  t.equal(codeOf(answer), 'vault-unavailable')
  t.match(detailOf(answer), /the log of the vault says more/)
  t.same(workspace.grants(), ['coder'])
})

t.test('without the setting there is no vault, and with it the machine asks too', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  for (const [line, body] of [
    ['GET /vault', undefined],
    [`POST ${GRANTS}`, { agent: 'ops' }],
    [`DELETE ${GRANTS}/coder`, undefined],
  ] as const) {
    const answer = await call(workspace, line, page, body)
    t.equal(answer.status, 404)
    t.match(detailOf(answer), 'GATEWAY_VAULT_SOCKETS')
  }
  const vault = await startTestVault(t)
  const { stateDir } = await startOperated(t, { GATEWAY_VAULT_SOCKETS: vault.sockets })
  const askMachine = async (method: string, path: string, body?: object) => {
    const outgoing = request({ socketPath: adminSocketPath(stateDir), method, path, agent: false })
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
    const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
    return JSON.parse(await text(answer)) as object
  }
  t.match(await askMachine('GET', '/vault'), { entries: [{ service: 'github' }] })
  t.same(await askMachine('POST', GRANTS, { agent: 'ops' }), { granted: 1 })
  t.same(await askMachine('DELETE', `${GRANTS}/coder`), { revoked: 1 })
  t.same(vault.entries.find('github')?.policy.grants, ['ops'])
  t.notOk(
    vault.entries.changes.some(({ by }) => by !== undefined),
    'the machine has no name',
  )
})

t.test(
  'a grant of another workspace is revoked by its path too, with the slash escaped',
  async (t) => {
    const grants = ['2026-lab/*', 'research/*']
    const vault = await startTestVault(t, { entries: [anEntry({ grants })] })
    const door = await startDoorBefore(t, vault.owner)
    const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: door.sockets })
    const page = await pageOf(workspace)
    for (const grant of ['research%2F*', '2026-lab%2f%2A']) {
      const answer = await call(workspace, `DELETE ${GRANTS}/${grant}`, page)
      t.same(jsonOf(t, answer), { revoked: 1 }, grant)
    }
    t.same(vault.entries.find('github')?.policy.grants, [])
  },
)
