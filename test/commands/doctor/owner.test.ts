/** Does the doctor notice API tokens that deserve a look, and keys that nobody uses any more? */
import t, { type Test } from 'tap'
import { startAdmin } from '../../../src/admin/door.ts'
import { examineOwner } from '../../../src/commands/doctor/owner.ts'
import type { ListedApiToken } from '../../../src/identity/api-token-list.ts'
import type { KeyUse } from '../../../src/identity/key-report.ts'
import { pageOf } from '../../helpers/api.ts'
import { NAVIGATION } from '../../helpers/door.ts'
import { examined } from '../../helpers/examined.ts'
import { startOperated, recordingLogger } from '../../helpers/operations.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { send } from '../../helpers/wire.ts'

const look = (stateDir: string) => examined(examineOwner, { GATEWAY_STATE_DIR: stateDir })

const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString()

/** An admin socket that lists these tokens and keys. */
async function listing(
  t: Test,
  apiTokens: Partial<ListedApiToken>[],
  keys: Partial<KeyUse>[] = [],
) {
  const stateDir = temporaryFolder(t)
  const admin = await startAdmin({
    stateDir,
    ...recordingLogger(),
    routes: [
      { method: 'GET', path: '/api-tokens', answer: () => ({ body: { apiTokens } }) },
      { method: 'GET', path: '/keys', answer: () => ({ body: { keys } }) },
    ],
  })
  t.teardown(() => admin?.close())
  return look(stateDir)
}

const GOOD = {
  ...{ name: 'good', revokedAt: null, exposedAt: null, replacedBy: null },
  ...{ expiresAt: ago(-30), lastUsedAt: ago(1) },
}

t.test('what a gateway lists is looked at', async (t) => {
  const { stateDir, parts } = await startOperated(t)
  t.match(await look(stateDir), {
    'api-tokens': { verdict: 'pass' },
    'signing-keys': { verdict: 'pass', detail: /^[\w-]{8} signs: 0 sessions, 0 requests/ },
  })
  const wanted = { name: 'ci', subject: 'alice', expiresAt: undefined }
  const { apiToken } = parts.apiTokens.create(wanted)
  t.match((await look(stateDir))['api-tokens'], {
    verdict: 'warn',
    detail: 'without expiry: ci; never used: ci',
  })
  parts.apiTokens.markExposed(apiToken)
  t.match((await look(stateDir))['api-tokens'], {
    ...{ verdict: 'fail', detail: /others may have read them in an address: ci$/ },
    remedy: /api-token rotate NAME --overlap 0/,
  })
})

t.test('tokens that nobody needs are named, and those that are over are not', async (t) => {
  t.match((await listing(t, [GOOD]))['api-tokens'], { verdict: 'pass' })
  const rows = await listing(t, [
    GOOD,
    { ...GOOD, name: 'old', lastUsedAt: ago(91) },
    { ...GOOD, name: 'gone', lastUsedAt: null, revokedAt: ago(1) },
    { ...GOOD, name: 'late', lastUsedAt: null, expiresAt: ago(1) },
    ...Array.from({ length: 7 }, (_, i) => ({ ...GOOD, name: `n${i}`, expiresAt: null })),
  ])
  t.match(rows['api-tokens'], {
    verdict: 'warn',
    detail: 'without expiry: n0, n1, n2, n3, n4 and 2 more; not used for 90 days: old',
  })
})

t.test('an old key that nobody has used for a day can be removed', async (t) => {
  const signs = { kid: 'aaaaaaaa', role: 'signs', openSessions: 2, lastDay: 0 } as const
  const old = { kid: 'bbbbbbbb', role: 'verifies', openSessions: 0, lastDay: 0 } as const
  const rows: Array<[key: Partial<KeyUse>, verdict: string]> = [
    [{ ...old, countedSince: ago(2) }, 'warn'],
    [{ ...old, countedSince: ago(0.5) }, 'pass'],
    [{ ...old, countedSince: ago(2), lastDay: 1 }, 'pass'],
    [{ ...old, countedSince: ago(2), openSessions: 1 }, 'pass'],
  ]
  for (const [key, verdict] of rows) {
    const finding = (await listing(t, [], [{ ...signs, countedSince: ago(9) }, key]))[
      'signing-keys'
    ]
    t.match(finding, { verdict, detail: /bbbbbbbb/ })
    if (verdict === 'warn') t.match(finding?.remedy, /GATEWAY_JWT_PREVIOUS_SECRETS.*SIGHUP/)
  }
})

t.test('a login service that does not say what is wanted is named', async (t) => {
  const settings = {
    GATEWAY_TERMINAL_AMR: 'otp,hwk',
    GATEWAY_STEP_UP_URL: 'https://hubify.com/verify-2fa',
  }
  const workspace = await startOperated(t, settings)
  const { stateDir, port } = workspace
  const stepUp = async () =>
    (await examined(examineOwner, { ...settings, GATEWAY_STATE_DIR: stateDir }))['step-up']
  const [session = '', ...page] = await pageOf(workspace)
  const visit = (cookies: string) =>
    send(port, 'GET /terminal/', [`Cookie: ${cookies}`, ...page, ...NAVIGATION])
  const cookies = session.slice('Cookie: '.length)
  const away = await visit(cookies)
  t.equal(away.status, 302)
  t.match(await stepUp(), { verdict: 'pass' })
  const [state = ''] = (away.headers['set-cookie'] ?? '').split(';')
  const back = await visit(`${cookies}; ${state}`)
  t.equal(back.status, 401)
  const id = back.headers['x-request-id'] ?? ''
  await workspace.logLine((line) => line['id'] === id)
  t.match(await stepUp(), {
    verdict: 'warn',
    detail: id,
    remedy: /one of otp, hwk into amr, and an auth_time of the last 12 hours/,
  })
  t.equal((await look(stateDir))['step-up'], undefined, 'where no login service is asked')
  const none = await examined(examineOwner, { ...settings, GATEWAY_STATE_DIR: temporaryFolder(t) })
  t.match(none['step-up'], { verdict: 'skip' })
})

t.test('without a gateway nothing is looked at', async (t) => {
  const { 'api-tokens': tokens, 'signing-keys': keys } = await look(temporaryFolder(t))
  t.match(
    [tokens, keys],
    [{ verdict: 'skip', detail: /no gateway is running/ }, { verdict: 'skip' }],
  )
})
