/** Do fifty callers at once get one point too many? From one process, over the port and the socket, on SQLite. */
import { join } from 'node:path'
import t from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { loadLimitsConfig } from '../../src/config/limits-settings.ts'
import { startLimits } from '../../src/fleet/server.ts'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { openLog } from '../../src/observe/log.ts'
import { askLimits, BEARER, CALLER_TOKEN, jsonOf, policiesOf } from '../helpers/limits.ts'
import { temporaryFolder } from '../helpers/process.ts'

const CALLERS = 50

const TIGHT: LimitPolicy = {
  name: 'tight',
  windows: [
    { points: 7, seconds: 3600 },
    { points: 30, seconds: 86_400 },
  ],
  storeAway: 'refuse',
}

t.test('fifty callers at once get as many points as there are', async (t) => {
  const folder = temporaryFolder(t)
  const socket = join(folder, 'limits.sock')
  const limits = await startLimits(
    loadLimitsConfig({ LIMITS_PORT: '0', LIMITS_TOKEN: CALLER_TOKEN, LIMITS_SOCKET: socket }),
    {
      store: SqliteStore.open(join(folder, 'state')),
      policies: policiesOf([TIGHT]),
      logger: openLog('silent').logger,
    },
  )
  t.teardown(() => limits.close())
  const port = limits.address?.port ?? 0
  const ask = (i: number, user: string) =>
    askLimits(i % 2 === 0 ? port : socket, 'POST /v1/tight', { user, grant: `g${i}` }, [BEARER])
  const callers = Array.from({ length: CALLERS }, (_, i) => i)
  for (const user of ['ada', 'bob']) {
    const answers = await Promise.all(callers.map((i) => ask(i, user)))
    const granted = callers.filter((i) => answers[i]?.status === 200)
    t.equal(granted.length, 7, user)
    t.equal(answers.filter(({ status }) => status === 429).length, CALLERS - 7)
    const seen = jsonOf(await askLimits(socket, `GET /v1/tight?user=${user}`))
    const grants = seen['grants'] as ReadonlyArray<{ grant: string }>
    t.same(
      grants.map(({ grant }) => grant).toSorted(),
      granted.map((i) => `g${i}`).toSorted(),
      'those that were told so',
    )
    t.match(seen['windows'], [
      { used: 7, left: 0 },
      { used: 7, left: 23 },
    ])
    const again = await Promise.all(granted.map((i) => ask(i, user)))
    t.ok(again.every((answer) => jsonOf(answer)['repeated'] === true))
  }
})
