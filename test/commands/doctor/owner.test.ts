/** Does the doctor notice API tokens that deserve a look, and keys that nobody uses any more? */
import t, { type Test } from 'tap'
import { startAdmin } from '../../../src/admin/door.ts'
import { examineOwner } from '../../../src/commands/doctor/owner.ts'
import type { ListedApiToken } from '../../../src/identity/api-token-list.ts'
import type { KeyUse } from '../../../src/identity/key-report.ts'
import { examined } from '../../helpers/examined.ts'
import { startOperated, recordingLogger } from '../../helpers/operations.ts'
import { temporaryFolder } from '../../helpers/process.ts'

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

t.test('without a gateway nothing is looked at', async (t) => {
  const { 'api-tokens': tokens, 'signing-keys': keys } = await look(temporaryFolder(t))
  t.match(
    [tokens, keys],
    [{ verdict: 'skip', detail: /no gateway is running/ }, { verdict: 'skip' }],
  )
})
