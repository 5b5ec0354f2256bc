/** Does the owner's door change entries as it is told, name every mistake, and never give a credential away? */
import t from 'tap'
import { anEntry, ask, CREDENTIAL, leaseAt, startTestVault } from '../../helpers/vault-doors.ts'

const NEW = 'another-credential-of-the-test'
const post = (path: string, body?: unknown) => ({ method: 'POST', path, body })

t.test('entries are added, shown and removed', async (t) => {
  const { owner, entries, rows } = await startTestVault(t)
  const body = { service: 'openai', value: `${NEW}\n`, grants: ['ops'] }
  const added = await ask(owner, post('/v1/entries', body))
  t.match(added, { status: 201, json: { service: 'openai', slot: 'authorization: Bearer {}' } })
  t.equal(entries.find('openai')?.versions[0]?.value.toString(), NEW)
  const { json, text } = await ask(owner, { path: '/v1/entries' })
  t.match(json, { entries: [{ service: 'github' }, { service: 'openai', grants: ['ops'] }] })
  t.notMatch(text, NEW)
  t.notMatch(text, CREDENTIAL)
  t.match(await ask(owner, { path: '/v1/entries/github' }), { json: { id: 'id-github' } })
  t.equal((await ask(owner, post('/v1/entries', body))).code, 'conflict')
  t.equal((await ask(owner, post('/v1/entries/openai/remove'))).status, 200)
  t.equal((await ask(owner, { path: '/v1/entries/openai' })).code, 'not-found')
  t.match(entries.changes, [
    { op: 'add', service: 'openai', agent: 'owner' },
    { op: 'remove', service: 'openai', agent: 'owner' },
  ])
  t.same(rows, [])
})

t.test('a new entry is another one than the one that was removed', async (t) => {
  const { owner, entries } = await startTestVault(t)
  const ids = []
  for (let i = 0; i < 2; i++) {
    await ask(owner, post('/v1/entries', { service: 'openai', value: NEW }))
    ids.push(entries.find('openai')?.id)
    await ask(owner, post('/v1/entries/openai/remove'))
  }
  t.not(ids[0], ids[1])
})

t.test('versions: at once, with an overlap, and back', async (t) => {
  const vault = await startTestVault(t, { entries: [anEntry({ suspended: true })] })
  const rotate = (body: object) => ask(vault.owner, post('/v1/entries/github/rotate', body))
  const versions = () =>
    vault.entries
      .find('github')
      ?.versions.map(({ version, keptUntil, value }) => [version, keptUntil, value.toString()])
  t.equal((await rotate({ back: true })).code, 'conflict', 'none is kept')
  t.equal((await rotate({ value: CREDENTIAL })).code, 'conflict', 'it is the same')
  t.equal((await rotate({ value: NEW, overlap: 600 })).status, 200)
  t.equal(vault.entries.find('github')?.policy.suspended, false)
  const until = vault.now + 600_000
  t.same(versions(), [
    [1, until, CREDENTIAL],
    [2, undefined, NEW],
  ])
  vault.now += 1000
  t.equal((await rotate({ back: true })).status, 200)
  t.same(versions(), [
    [2, until, NEW],
    [3, undefined, CREDENTIAL],
  ])
  t.equal((await rotate({ value: `${NEW}-2` })).status, 200)
  t.same(versions(), [[4, undefined, `${NEW}-2`]], 'without an overlap the others are gone')
  await rotate({ value: NEW, overlap: 1 })
  vault.now += 1000
  t.equal((await rotate({ back: true })).code, 'conflict', 'its time is over')
  for (const body of [{}, { value: 'short' }, { value: NEW, overlap: -1 }, { value: NEW, x: 1 }])
    t.equal((await rotate(body)).code, 'bad-request', JSON.stringify(body))
})

t.test('grants are given and taken away', async (t) => {
  const vault = await startTestVault(t)
  const grants = () => vault.entries.find('github')?.policy.grants
  const change = (verb: string, body: unknown) =>
    ask(vault.owner, post(`/v1/entries/github/${verb}`, body))
  t.equal((await change('grant', { agents: ['ops'] })).status, 200)
  t.same(grants(), ['coder', 'ops'])
  await leaseAt(vault.ops)
  t.equal((await change('grant', { agents: ['ops'] })).code, 'conflict')
  t.match(await change('grant', { agents: ['mallory'] }), {
    code: 'bad-request',
    json: { detail: /"mallory" is no agent of VAULT_AGENTS/ },
  })
  t.equal((await change('revoke', { agents: ['ops'] })).status, 200)
  t.same(grants(), ['coder'])
  t.equal((await change('revoke', { agents: ['ops'] })).code, 'conflict')
  for (const body of [undefined, {}, { agents: [] }, { agents: 'ops' }, { agents: ['../x'] }])
    t.equal((await change('grant', body)).code, 'bad-request', JSON.stringify(body) ?? 'nothing')
  t.match(vault.entries.changes, [
    { op: 'grant', reason: 'ops' },
    { op: 'revoke', reason: 'ops' },
  ])
})

t.test('a suspension is ended', async (t) => {
  const vault = await startTestVault(t, { entries: [anEntry({ suspended: true })] })
  const lease = { method: 'POST', path: '/v1/leases', body: { service: 'github' } }
  t.match(await ask(vault.coder, lease), {
    code: 'suspended',
    json: { detail: /vault resume github/ },
  })
  t.equal((await ask(vault.owner, post('/v1/entries/github/resume'))).status, 200)
  t.equal((await ask(vault.coder, lease)).status, 201)
  t.equal((await ask(vault.owner, post('/v1/entries/github/resume'))).code, 'conflict')
})

t.test('the rest of what an owner may ask', async (t) => {
  const vault = await startTestVault(t)
  const token = await leaseAt(vault.coder)
  t.match(await ask(vault.owner, { path: '/v1/status' }), { json: { version: 'test' } })
  const leases = await ask(vault.owner, { path: '/v1/leases' })
  t.match(leases.json, { leases: [{ agent: 'coder', service: 'github' }] })
  t.notMatch(leases.text, token.slice(4))
  t.match(await ask(vault.owner, { path: '/v1/audit?limit=1' }), {
    json: { rows: [{ op: 'lease' }] },
  })
  for (const limit of ['0', 'x', '1001', '-1', ''])
    t.equal((await ask(vault.owner, { path: `/v1/audit?limit=${limit}` })).code, 'bad-request')
  t.equal((await ask(vault.owner, post('/v1/backup'))).text, '{"sealed":true}\n')
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64')
  t.equal((await ask(vault.owner, post('/v1/rekey', { new_key: key }))).status, 200)
  t.equal(vault.entries.rekeyed[0]?.toString('base64'), key)
  const bad = await ask(vault.owner, post('/v1/rekey', { new_key: 'too-short' }))
  t.equal(bad.code, 'bad-request')
  t.notMatch(bad.text, 'too-short')
})

t.test('what is no question of the owner', async (t) => {
  const { owner, entries } = await startTestVault(t)
  for (const [question, code] of [
    [{ path: '/' }, 'not-found'],
    [{ path: '/v1/entries/github/delete', method: 'POST' }, 'not-found'],
    [{ path: '/v1/entries', method: 'DELETE' }, 'not-found'],
    [{ path: '/v1/entries/..%2f' }, 'bad-request'],
    [{ path: '/v1/entries/gitlab/grant', method: 'POST', body: { agents: ['ops'] } }, 'not-found'],
    [{ path: '/v1/entries', method: 'POST', body: 'x' }, 'bad-request'],
    [{ path: '/v1/entries', method: 'POST', body: [] }, 'bad-request'],
    [{ path: '/v1/entries', method: 'POST', body: { note: 'x'.repeat(70_000) } }, 'body-too-large'],
  ] as const)
    t.equal((await ask(owner, question)).code, code, question.path)
  t.same(entries.changes, [])
  const wrong = { service: 'X', value: `${NEW} with a space`, methods: [] }
  const { json, text } = await ask(owner, post('/v1/entries', wrong))
  t.match(json, { detail: /service takes.*; origin is not set.*; methods is empty/ })
  t.notMatch(text, NEW)
})

t.test('what agents did last is listed, without credentials and leases', async (t) => {
  const vault = await startTestVault(t)
  t.same((await ask(vault.owner, { path: '/v1/accesses' })).json['accesses'], [])
  const lease = await leaseAt(vault.coder)
  await ask(vault.coder, {
    method: 'DELETE',
    path: `/s/github/repos/x?y=${CREDENTIAL}`,
    headers: { authorization: `Bearer ${lease}` },
  })
  const { json, text } = await ask(vault.owner, { path: '/v1/accesses' })
  t.match(json, {
    since: new Date(1_000_000).toISOString(),
    accesses: [
      {
        ...{ agent: 'coder', service: 'github', uses: 0, refusals: 1, last_use: null },
        last_refusal: { time: /^1970-/, reason: 'method-not-allowed' },
      },
    ],
  })
  t.notMatch(text, lease)
  t.notMatch(text, CREDENTIAL)
})

t.test('a change of grants says who made it, in a form that fits the log', async (t) => {
  const { owner, entries } = await startTestVault(t)
  const change = (verb: string, body: object) =>
    ask(owner, post(`/v1/entries/github/${verb}`, { agents: ['ops'], ...body }))
  for (const by of ['', 'x'.repeat(257), 'a\nb', 'a\u0000', '\ud800', 1, null, ['alice'], {}])
    for (const verb of ['grant', 'revoke'])
      t.equal((await change(verb, { by })).code, 'bad-request', `${verb} ${JSON.stringify(by)}`)
  t.same(entries.changes, [])
  t.equal((await change('grant', { by: 'alice@example.com' })).status, 200)
  t.equal((await change('revoke', { by: 'bob' })).status, 200)
  t.match(entries.changes, [
    { op: 'grant', agent: 'owner', by: 'alice@example.com', reason: 'ops' },
    { op: 'revoke', agent: 'owner', by: 'bob', reason: 'ops' },
  ])
})

t.test('a grant on trial changes nothing, and is refused as the grant would be', async (t) => {
  const { owner, entries } = await startTestVault(t)
  const grant = (service: string, body: object) =>
    ask(owner, post(`/v1/entries/${service}/grant`, { trial: true, ...body }))
  t.match(await grant('github', { agents: ['ops'] }), { json: { grants: ['coder', 'ops'] } })
  t.equal((await grant('github', { agents: ['coder'] })).code, 'conflict')
  t.equal((await grant('github', { agents: ['mallory'] })).code, 'bad-request')
  t.equal((await grant('github', { agents: ['ops'], trial: 1 })).code, 'bad-request')
  t.equal((await grant('none', { agents: ['ops'] })).code, 'not-found')
  t.same(entries.changes, [])
  t.same(entries.find('github')?.policy.grants, ['coder'])
})
