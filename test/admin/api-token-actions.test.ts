/** Can an owner make, see, replace and revoke API tokens, and is the token itself told once and never again? */
import t from 'tap'
import { call, jsonOf, pageOf } from '../helpers/api.ts'
import { assertRefused } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const bearer = (token: unknown) => [`Authorization: Bearer ${String(token)}`]

t.test('a token is made, used, listed and revoked', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const made = jsonOf(
    t,
    await call(workspace, 'POST /api-tokens', page, {
      ...{ name: 'ci', scopes: ['api:read', 'owner:read'], ttlSeconds: 3600 },
      ...{ from: ['127.0.0.0/8'], rate: 60 },
    }),
  )
  const { token, id } = made
  t.match(token, /^hub_[0-9A-Za-z]{32}$/)
  t.match(made, {
    ...{ name: 'ci', sub: 'alice', scopes: ['api:read', 'owner:read'] },
    ...{ from: ['127.0.0.0/8'], rate: 60, lastUsedAt: null, revokedAt: null },
  })
  const life = Date.parse(String(made['expiresAt'])) - Date.parse(String(made['createdAt']))
  t.ok(Math.abs(life - 3_600_000) < 1000)
  t.equal((await send(workspace.port, 'GET /api/x', bearer(token))).status, 200)
  const own = jsonOf(t, await call(workspace, 'GET /session', bearer(token)))
  t.match(own, { sub: 'alice', kind: 'api-token', id, expiresAt: made['expiresAt'] })

  const list = await call(workspace, 'GET /api-tokens', page)
  t.match(jsonOf(t, list), {
    apiTokens: [{ id, name: 'ci', lastUsedAt: /^20/, lastUsedFrom: '127.0.0.1' }],
  })
  t.notMatch(list.body, String(token))

  const revoked = jsonOf(t, await call(workspace, 'DELETE /api-tokens/ci', page))
  t.match(revoked, { revoked: [{ id, revokedAt: /^20/ }], saved: true })
  const dials = workspace.dials()
  await assertRefused(t, workspace, await send(workspace.port, 'GET /api/x', bearer(token)), {
    ...{ code: 'token-invalid', stage: 'authentication', dials },
  })
  for (const gone of ['ci', 'none'])
    await assertRefused(t, workspace, await call(workspace, `DELETE /api-tokens/${gone}`, page), {
      ...{ code: 'not-found', stage: 'owner', dials },
    })
  jsonOf(t, await call(workspace, `DELETE /api-tokens/${String(id)}`, page)) // again, by its id
  const lines = workspace.logLines().filter(({ msg }) => msg === 'owner acted')
  t.match(lines, [
    {
      action: 'create-api-token',
      by: 'alice',
      door: 'api',
      client: '203.0.113.9',
      changed: ['ci'],
    },
    { action: 'revoke-api-token', by: 'alice', changed: ['ci'] },
    { action: 'revoke-api-token', by: 'alice', changed: ['ci'] },
  ])
  t.notMatch(JSON.stringify(workspace.logLines()), String(token).slice(0, 16))
})

t.test(
  'a token lasts 90 days, is for the API, and for whoever made it, unless said otherwise',
  async (t) => {
    const workspace = await startWorkspace(t)
    const page = await pageOf(workspace)
    const plain = jsonOf(t, await call(workspace, 'POST /api-tokens', page, { name: 'plain' }))
    t.match(plain, { scopes: ['api'], sub: 'alice', from: [], rate: null })
    const life = Date.parse(String(plain['expiresAt'])) - Date.parse(String(plain['createdAt']))
    t.ok(Math.abs(life - 90 * 86_400_000) < 1000)
    const endless = { name: 'endless', ttlSeconds: null }
    t.match(jsonOf(t, await call(workspace, 'POST /api-tokens', page, endless)), {
      expiresAt: null,
    })
  },
)

t.test('a token is replaced, and the old one counts for a while', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const first = jsonOf(t, await call(workspace, 'POST /api-tokens', page, { name: 'ci' }))
  const second = jsonOf(t, await call(workspace, 'POST /api-tokens/ci/rotate', page))
  t.match(second, { name: 'ci', token: /^hub_/, replaces: { id: first['id'], name: 'ci-old' } })
  const { expiresAt } = second['replaces'] as { expiresAt: string }
  t.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 86_400_000) < 60_000)
  for (const { token } of [first, second])
    t.equal((await send(workspace.port, 'GET /api/x', bearer(token))).status, 200)
  const third = jsonOf(
    t,
    await call(workspace, 'POST /api-tokens/ci/rotate', page, { overlapSeconds: 0 }),
  )
  t.equal((await send(workspace.port, 'GET /api/x', bearer(second['token']))).status, 401)
  t.equal((await send(workspace.port, 'GET /api/x', bearer(third['token']))).status, 200)
  t.equal((await call(workspace, 'POST /api-tokens/none/rotate', page)).status, 404)
})

t.test('every token in a text that others have read is revoked', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const make = async (name: string) =>
    jsonOf(t, await call(workspace, 'POST /api-tokens', page, { name }))
  const [one, two, three] = [await make('one'), await make('two'), await make('three')]
  const text = `curl -H "Authorization: Bearer ${String(one['token'])}"\n{"t":"${String(two['token'])}"}`
  const revoked = jsonOf(t, await call(workspace, 'POST /leaked-api-tokens', page, { text }))
  t.match(revoked, {
    saved: true,
    revoked: [
      { name: 'one', exposedAt: /^20/, revokedAt: /^20/ },
      { name: 'two', exposedAt: /^20/, revokedAt: /^20/ },
    ],
  })
  const statuses = [one, two, three].map(
    async ({ token }) => (await send(workspace.port, 'GET /api/x', bearer(token))).status,
  )
  t.same(await Promise.all(statuses), [401, 401, 200])
  t.match(jsonOf(t, await call(workspace, 'POST /leaked-api-tokens', page, { text: '' })), {
    revoked: [],
  })
})

t.test('a token that cannot be made as asked is not made', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const rows: Array<[body: unknown, detail: RegExp]> = [
    [undefined, /JSON object.* name, scopes, ttlSeconds/],
    [{}, /name takes a text/],
    [{ name: 7 }, /name takes a text/],
    [{ name: 'No' }, /name of a token/],
    [{ name: 'a', scope: 'api' }, /no other members/],
    [{ name: 'a', scopes: 'api' }, /scopes takes a list/],
    [{ name: 'a', scopes: ['root'] }, /A scope is a route/],
    [{ name: 'a', scopes: [['api']] }, /scopes takes a list/],
    [{ name: 'a', from: ['somewhere'] }, /addresses and CIDRs/],
    [{ name: 'a', rate: 0 }, /A rate is/],
    [{ name: 'a', rate: '60' }, /rate takes a whole number/],
    [{ name: 'a', ttlSeconds: -1 }, /ttlSeconds takes a whole number/],
    [{ name: 'a', ttlSeconds: 0 }, /must end later/],
    [{ name: 'a', ttlSeconds: 1.5 }, /ttlSeconds takes a whole number/],
    [{ name: 'a', ttlSeconds: 1e300 }, /ttlSeconds takes a whole number/],
    [{ name: 'a', sub: 'bob' }, /sub is for the machine/],
  ]
  for (const [body, detail] of rows) {
    const answer = await call(workspace, 'POST /api-tokens', page, body)
    t.equal(answer.status, 400, JSON.stringify(body))
    t.match(JSON.parse(answer.body), { code: 'bad-request', detail })
  }
  jsonOf(t, await call(workspace, 'POST /api-tokens', page, { name: 'a' }))
  t.match(JSON.parse((await call(workspace, 'POST /api-tokens', page, { name: 'a' })).body), {
    detail: /of this name is in force/,
  })
  for (const body of [{ overlap: 1 }, { overlapSeconds: -1 }, { overlapSeconds: '1h' }, []])
    t.equal((await call(workspace, 'POST /api-tokens/a/rotate', page, body)).status, 400)
  const tokens = jsonOf(t, await call(workspace, 'GET /api-tokens', page))['apiTokens']
  t.equal((tokens as object[]).length, 1)
})

t.test('making and replacing a token wants a fresh sign-in, ending one does not', async (t) => {
  const workspace = await startWorkspace(t)
  const fresh = await pageOf(workspace)
  const { token: owner } = jsonOf(
    t,
    await call(workspace, 'POST /api-tokens', fresh, { name: 'page', scopes: ['owner'] }),
  )
  const old = await pageOf(workspace, 'alice', { minutesAgo: 11 })
  for (const headers of [old, bearer(owner)]) {
    for (const [requestLine, body] of [
      ['POST /api-tokens', { name: 'more' }],
      ['POST /api-tokens/page/rotate', undefined],
    ] as const) {
      const answer = await call(workspace, requestLine, headers, body)
      await assertRefused(t, workspace, answer, { code: 'step-up-required', stage: 'owner' })
      t.equal(
        answer.headers['www-authenticate'],
        'Bearer realm="workspace", error="insufficient_user_authentication", max_age=600',
      )
    }
    t.match(jsonOf(t, await call(workspace, 'GET /api-tokens', headers)), {
      apiTokens: [{ name: 'page', revokedAt: null }],
    })
  }
  jsonOf(t, await call(workspace, 'DELETE /api-tokens/page', bearer(owner)))
  t.equal(
    (await call(workspace, 'GET /api-tokens', bearer(owner))).status,
    401,
    'it revoked itself',
  )
})

t.test('keys are told without their secrets', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const { keys } = jsonOf(t, await call(workspace, 'GET /keys', page)) as { keys: object[] }
  t.match(keys, [{ kid: /^[\w-]{8}$/, role: 'signs', lastHour: Number, openSessions: 1 }])
  t.equal(keys.length, 1)
})
