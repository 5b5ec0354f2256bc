/** Does the owner's page show the vault and steer it, for owners alone, and is it whole when the vault is not well? */
import t, { type Test } from 'tap'
import { pageOf } from '../helpers/api.ts'
import { cookie, HTTPS, NAVIGATION } from '../helpers/door.ts'
import { enrolApp, fieldOf, postForm } from '../helpers/forms.ts'
import { startWorkspace, token, type TestGateway } from '../helpers/gateway.ts'
import {
  answerOf,
  startDoorBefore,
  startOwnerDoor,
  startScriptedDoor,
} from '../helpers/owner-door.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { anEntry, ask, CREDENTIAL, leaseAt, startTestVault } from '../helpers/vault-doors.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'
import type { Entry } from '../../src/vault/policy.ts'

const PAGE = '/_gateway/'

const open = ({ port }: Pick<TestGateway, 'port'>, page: readonly string[], query = '') =>
  send(port, `GET ${PAGE}${query}`, [...page, ...NAVIGATION])

const act = (
  workspace: Pick<TestGateway, 'port'>,
  page: readonly string[],
  fields: Parameters<typeof postForm>[3],
) => postForm(workspace, PAGE, page, fields)

/** The section of the vault; an empty text when there is none. */
const vaultOn = ({ body }: RawAnswer) =>
  /<section[^>]* id="vault".*?<\/section>/s.exec(body)?.[0] ?? ''

/** A text of a page without its tags, as a person reads it. */
const textOf = (html: string) =>
  html
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    .replaceAll(/\s+/g, ' ')

const saidOn = ({ body }: RawAnswer, role: 'alert' | 'status') =>
  textOf(new RegExp(`role="${role}">([^<]*)<`).exec(body)?.[1] ?? '')

const grantForm = { act: 'grant-vault', service: 'github', agent: 'ops' }
const revokeForm = { act: 'revoke-vault-grant', service: 'github', agent: 'coder' }

/** A workspace before a vault with the agents coder and ops. */
async function startWithVault(
  t: Test,
  settings: Record<string, string> = {},
  entries: readonly Entry[] = [anEntry()],
) {
  const vault = await startTestVault(t, { entries })
  const door = await startDoorBefore(t, vault.owner)
  const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: door.sockets, ...settings })
  const grants = () => vault.entries.find('github')?.policy.grants
  return { ...workspace, vault, door, grants }
}

t.test('entries, grants and last uses are on the page, and no credential', async (t) => {
  const paths = ['/a', '/b', '/c', '/d', '/e', '/f']
  const workspace = await startWithVault(t, {}, [
    anEntry({ note: '<b>bot</b>', grants: ['coder', 'ops'] }),
    anEntry({ service: 'slack', grants: [], suspended: true, paths }),
  ])
  const { vault } = workspace
  const lease = await leaseAt(vault.coder)
  const headers = { authorization: `Bearer ${lease}` }
  await ask(vault.coder, { method: 'DELETE', path: '/s/github/repos/x', headers })
  const shown = await open(workspace, await pageOf(workspace))
  const section = vaultOn(shown)
  const text = textOf(section)
  t.match(
    text,
    /^ Vault github api\.github\.com GET, POST; \/repos\/, \/user; <b>bot<\/b> Revoke coder Revoke ops /,
  )
  t.match(
    text,
    /slack api\.github\.com suspended GET, POST; \/a, \/b, \/c, \/d, and 2 more No agent may use it\./,
  )
  t.match(
    text,
    /Last used coder github 1 refusal Never used\. Refused .* UTC ?: method-not-allowed Counted since/,
  )
  t.match(section, /aria-label="Revoke coder: github"/)
  t.notMatch(section, '<b>bot')
  t.notMatch(shown.raw, CREDENTIAL)
  t.notMatch(shown.raw, lease)
  const options = [...section.matchAll(/<option value="([^"]*)"/g)].map(([, value]) => value)
  t.same(options, ['github', 'slack', 'coder', 'ops'])
})

t.test('a grant is revoked with one button, and given with a form', async (t) => {
  const workspace = await startWithVault(t)
  const page = await pageOf(workspace)
  const revoked = await act(workspace, page, revokeForm)
  t.match(revoked, { status: 303, headers: { location: `${PAGE}?done=revoke-vault-grant` } })
  t.same(workspace.grants(), [])
  t.equal(
    saidOn(await open(workspace, page, '?done=revoke-vault-grant'), 'status'),
    'The grant is revoked.',
  )
  const again = await act(workspace, page, revokeForm)
  t.equal(again.status, 400)
  t.equal(saidOn(again, 'alert'), 'The vault refuses this: there is no grant for coder.')
  const granted = await act(workspace, page, grantForm)
  t.match(granted, { status: 303, headers: { location: `${PAGE}?done=grant-vault` } })
  t.same(workspace.grants(), ['ops'])
  t.match(vaultOn(await open(workspace, page)), 'Revoke ops')
  t.match(workspace.vault.entries.changes, [
    { op: 'revoke', by: 'alice' },
    { op: 'grant', by: 'alice' },
  ])
  const twice = await act(workspace, page, grantForm)
  t.equal(saidOn(twice, 'alert'), 'The vault refuses this: the grant is there already.')
  t.match(
    vaultOn(twice),
    /<details open>.*<option value="ops" selected>/s,
    'what was chosen is kept',
  )
})

t.test('a grant wants a factor in its own form, and says for what', async (t) => {
  const workspace = await startWithVault(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const page = await pageOf(workspace)
  const { backupCodes } = enrolApp(workspace)
  const asked = await act(workspace, page, grantForm)
  t.match(textOf(asked.body), 'Let the agent ops use github.')
  t.same(
    ['act', 'service', 'agent'].map((name) => fieldOf(asked, name)),
    Object.values(grantForm),
  )
  t.same(workspace.vault.entries.changes, [])
  const code = backupCodes[0] ?? ''
  t.equal((await act(workspace, page, { ...grantForm, agent: 'nobody', code })).status, 400)
  t.equal((await act(workspace, page, { ...grantForm, code })).status, 303)
  t.same(workspace.grants(), ['coder', 'ops'])
  t.equal((await act(workspace, page, revokeForm)).status, 303, 'a revocation wants none')
  t.same(workspace.grants(), ['ops'])
  const other = await startWithVault(t)
  const stale = await pageOf(other, 'alice', { minutesAgo: 11 })
  t.equal((await act(other, stale, grantForm)).status, 401)
  t.equal((await act(other, stale, revokeForm)).status, 303)
  t.same(other.grants(), [])
})

t.test('a form that no page has does nothing, and nothing of it comes back', async (t) => {
  const workspace = await startWithVault(t)
  const page = await pageOf(workspace)
  const evil = '"><i>evil</i>'
  const rows: Array<Parameters<typeof postForm>[3]> = [
    { ...grantForm, agent: evil },
    { ...grantForm, service: evil },
    { ...grantForm, service: '../status' },
    { ...revokeForm, agent: 'x'.repeat(101) },
    { ...revokeForm, service: 'X' },
    [...Object.entries(revokeForm), ['agent', 'ops']],
    [...Object.entries(grantForm), ['service', 'slack']],
  ]
  for (const fields of rows) {
    const answer = await act(workspace, page, fields)
    t.equal(answer.status, 400, JSON.stringify(fields))
    t.match(saidOn(answer, 'alert'), 'The form was not complete.')
    t.notMatch(answer.body, /evil|xxxxx/)
  }
  for (const fields of [{ act: 'grant-vault' }, { act: 'revoke-vault-grant', agent: 'coder' }])
    t.match((await act(workspace, page, fields)).status, /^40[04]$/)
  t.same(workspace.vault.entries.changes, [])
})

t.test('a stranger, another site and who is no owner never reach the vault', async (t) => {
  const workspace = await startWithVault(t, {
    ...{ GATEWAY_OWNERS: 'olga', GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com' },
  })
  const [olga, bob] = [await pageOf(workspace, 'olga'), await pageOf(workspace, 'bob')]
  const [session = ''] = olga
  const shown = await open(workspace, bob)
  t.equal(shown.status, 200)
  t.equal(vaultOn(shown), '')
  t.equal((await open(workspace, [HTTPS])).status, 401)
  const program = [cookie(await token({ subject: 'bob' })), ...olga.slice(1)]
  for (const fields of [grantForm, revokeForm]) {
    t.equal((await act(workspace, bob, fields)).status, 403)
    t.equal((await act(workspace, program, fields)).status, 403)
    t.equal((await act(workspace, olga.slice(1), fields)).status, 401)
    for (const origin of [
      'https://evil.example',
      'https://research.hubify.com',
      'null',
      'https://app.example.com',
    ])
      t.equal(
        (await act(workspace, [session, HTTPS, `Origin: ${origin}`], fields)).status,
        403,
        origin,
      )
    t.equal((await act(workspace, [session, HTTPS], fields)).status, 403)
  }
  t.equal(workspace.door.dials(), 0)
  t.equal(workspace.dials(), 0)
  t.match(vaultOn(await open(workspace, olga)), 'github')
  t.equal(workspace.door.dials(), 3)
})

t.test('without the setting the page says nothing of a vault', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  t.equal(vaultOn(await open(workspace, page)), '')
  t.notMatch((await open(workspace, page)).body, /vault/i)
  const answer = await act(workspace, page, revokeForm)
  t.equal(answer.status, 404)
  t.match(saidOn(answer, 'alert'), 'GATEWAY_VAULT_SOCKETS')
})

t.test(
  'a vault that is away, hangs or talks nonsense is said to be, and the page is whole',
  async (t) => {
    const silent = await startOwnerDoor(t, () => {})
    const garbage = await startScriptedDoor(t, () => 'garbage\r\n\r\n')
    const other = await startScriptedDoor(t, () => answerOf({ entries: '<i>evil</i>' }))
    const endless = await startOwnerDoor(t, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n')
      const more = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536, 0x20)));
        if (!socket.destroyed) socket.once('drain', more)
      }
      more()
    })
    for (const [what, sockets] of [
      ['away', temporaryFolder(t)],
      ['garbage', garbage.sockets],
      ['another program', other.sockets],
      ['endless', endless.sockets],
      ['silent', silent.sockets],
    ] as const) {
      const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: sockets })
      const page = await pageOf(workspace)
      const shown = await open(workspace, page)
      t.equal(shown.status, 200, what)
      t.match(textOf(vaultOn(shown)), 'The vault does not answer.', what)
      t.notMatch(vaultOn(shown), /<form|evil/, what)
      for (const id of ['sessions', 'terminals', 'tokens', 'refusals'])
        t.match(shown.body, `id="${id}"`)
      const revoked = await act(workspace, page, revokeForm)
      t.match(revoked, { status: 503, headers: { 'x-gateway-error': 'vault-unavailable' } }, what)
      t.match(saidOn(revoked, 'alert'), 'The vault does not answer.', what)
      t.equal(
        workspace.dials() > 0,
        true,
        'the services were looked at, as on every page of an owner',
      )
    }
  },
)

t.test(
  'however many entries there are, the page is small, and says where the rest is',
  async (t) => {
    const many = Array.from({ length: 60 }, (_, i) =>
      anEntry({ service: `service-${String(i).padStart(2, '0')}` }),
    )
    const workspace = await startWithVault(t, {}, many)
    const page = await pageOf(workspace)
    const section = vaultOn(await open(workspace, page))
    t.equal([...section.matchAll(/name="act" value="revoke-vault-grant"/g)].length, 50)
    const href = /href="([^"]*)">All of them, as JSON/.exec(section)?.[1] ?? ''
    const all = await send(workspace.port, `GET ${href}`, [...page, ...NAVIGATION])
    t.equal((JSON.parse(all.body) as { entries: unknown[] }).entries.length, 60)
    const empty = await startWithVault(t, {}, [])
    const none = textOf(vaultOn(await open(empty, await pageOf(empty))))
    t.match(none, /There is no entry\. .* vault add/)
    t.notMatch(none, 'Grant an agent')
  },
)

t.test('a grant of another workspace is revoked too, whatever its name', async (t) => {
  const grants = [`${'9'.repeat(64)}/*`, '2026-lab/*', 'research/*']
  const workspace = await startWithVault(t, {}, [anEntry({ grants })])
  const page = await pageOf(workspace)
  const shown = vaultOn(await open(workspace, page))
  const agents = [...shown.matchAll(/name="agent" value="([^"]*)"/g)].map(([, value = '']) => value)
  t.same(agents, grants, 'each has a button')
  for (const agent of agents)
    t.equal((await act(workspace, page, { ...revokeForm, agent })).status, 303, agent)
  t.same(workspace.grants(), [])
})

t.test('refusals under made-up names hide no use', async (t) => {
  const time = '2026-01-01T00:00:00.000Z'
  const refused = Array.from({ length: 30 }, (_, i) => ({
    ...{ agent: 'coder', service: `made-up-${i}`, uses: 0, refusals: 1 },
    ...{ last_use: null, last_refusal: { time, reason: 'not-granted' } },
  }))
  const last_use = { time, method: 'GET', path: '/repos/x', status: 200, reason: 'done' }
  const used = { agent: 'coder', service: 'github', uses: 1, refusals: 0, last_refusal: null }
  const { sockets } = await startScriptedDoor(t, (path) =>
    answerOf(
      path === '/v1/accesses'
        ? { since: time, accesses: [...refused, { ...used, last_use }] }
        : { entries: [], agents: ['coder'] },
    ),
  )
  const workspace = await startWorkspace(t, { GATEWAY_VAULT_SOCKETS: sockets })
  const section = vaultOn(await open(workspace, await pageOf(workspace)))
  const text = textOf(section)
  t.match(text, /Last used coder github .*: GET \/repos\/x, 200; 1 use coder made-up-0 1 refusal/)
  t.equal([...text.matchAll(/made-up-/g)].length, 20)
  t.match(section, 'All of them, as JSON')
})
