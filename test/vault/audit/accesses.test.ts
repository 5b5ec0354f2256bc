/** Does the table of accesses say who used what last, from the rows of the audit log alone, and does it stay small? */
import t from 'tap'
import { Accesses } from '../../../src/vault/audit/accesses.ts'
import type { AuditFacts } from '../../../src/vault/audit-row.ts'
import type { AuditRow } from '../../../src/vault/audit/audit-line.ts'

/** A log in memory, with a clock that goes on by a second with each row. */
function startLog(known: readonly AuditRow[] = [], first = 1) {
  let n = first - 1
  let now = 1_000_000
  let works = true
  const write = (): number => {
    if (!works) throw new Error('the disk is full')
    now += 1000
    return ++n
  }
  const log = { write, writeSoon: async () => write(), writeLater: async () => void write() }
  const accesses = new Accesses(log, known, () => now)
  const list = () => accesses.list().accesses
  return { ...{ accesses, list, audit: accesses.audit }, fill: () => void (works = false) }
}

const use: AuditFacts = {
  ...{ op: 'use', agent: 'coder', service: 'github', method: 'GET', path: '/user' },
}
const deny: AuditFacts = { ...use, op: 'deny', reason: 'path-not-allowed' }

const rowOf = (n: number, facts: AuditFacts): AuditRow => ({
  ...{ ...facts, n, saved: 0, prev: '', hash: '' },
  time: new Date(n * 1000).toISOString(),
})

t.test('a use is shown when it begins, and how it went when it ends', async (t) => {
  const { accesses, audit, list } = startLog()
  t.same(accesses.list(), { since: new Date(1_000_000).toISOString(), accesses: [] })
  const of = await audit.writeSoon(use)
  const last = { time: '1970-01-01T00:16:41.000Z', method: 'GET', path: '/user' }
  const pair = { agent: 'coder', service: 'github', uses: 1, refusals: 0, last_refusal: null }
  t.same(list(), [{ ...pair, last_use: { ...last, status: null, reason: null } }])
  const written = audit.writeLater({ ...use, of, status: 404, reason: 'done' })
  t.same(list(), [{ ...pair, last_use: { ...last, status: 404, reason: 'done' } }])
  await written
})

t.test('of two uses at once the one that began last is shown, and both count', async (t) => {
  const { audit, list } = startLog()
  const first = audit.write(use)
  const second = audit.write({ ...use, method: 'POST', path: '/repos' })
  audit.write({ ...use, of: second, status: 201, reason: 'done' })
  audit.write({ ...use, of: first, status: 500, reason: 'done' })
  t.match(list(), [{ uses: 2, last_use: { method: 'POST', path: '/repos', status: 201 } }])
})

t.test('refusals are counted beside the uses, and other operations not at all', async (t) => {
  const { audit, list } = startLog()
  audit.write(use)
  audit.write(deny)
  audit.write({ ...deny, reason: 'method-not-allowed' })
  audit.write({ ...deny, reason: 'lease-missing' }) // git's first request is one
  for (const op of ['lease', 'grant', 'reflected', 'suspend'] as const) audit.write({ ...use, op })
  audit.write({ op: 'deny', agent: 'coder', reason: 'bad-target 3 more in a minute' })
  audit.write({ op: 'deny', service: 'github', reason: 'lease-invalid' })
  t.match(list(), [{ uses: 1, refusals: 2, last_refusal: { reason: 'method-not-allowed' } }])
  t.equal(list().length, 1)
})

t.test('the pair with the latest row comes first', async (t) => {
  const { audit, list } = startLog()
  for (const service of ['a', 'b', 'c', 'a']) audit.write({ ...use, service })
  t.same(
    list().map(({ service, uses }) => `${service} ${uses}`),
    ['a 2', 'c 1', 'b 1'],
  )
})

t.test('what could not be written did not happen', async (t) => {
  const { audit, list, fill } = startLog()
  fill()
  await t.rejects(audit.writeSoon(use), /the disk is full/)
  t.throws(() => audit.write(deny), /the disk is full/)
  t.same(list(), [])
})

t.test('at the start the newest rows of the log fill the table', async (t) => {
  const known = [
    rowOf(9, { ...use, agent: 'ops' }), // the vault was stopped before its end
    rowOf(8, { ...use, of: 7, status: 200, reason: 'done' }),
    rowOf(7, { ...use, path: '/new' }),
    rowOf(6, { ...use, of: 4, status: 301, path: '/old', reason: 'done' }), // its beginning is too long ago
    rowOf(5, { op: 'start', reason: 'running' }),
  ]
  const { accesses, audit } = startLog(known, 10)
  t.equal(accesses.list().since, '1970-01-01T00:00:05.000Z')
  t.match(accesses.list().accesses, [
    { agent: 'ops', uses: 1, last_use: { status: null, reason: 'unknown' } },
    { agent: 'coder', uses: 2, last_use: { time: /:07\.000Z$/, path: '/new', status: 200 } },
  ])
  audit.write({ ...use, agent: 'ops' })
  t.match(accesses.list().accesses, [{ agent: 'ops', uses: 2, last_use: { reason: null } }, {}])
})

t.test('the table is bounded, and made-up services push no use out of it', async (t) => {
  const { audit, list } = startLog()
  audit.write({ ...use, path: `/${'x'.repeat(10_000)}` })
  for (let i = 0; i < 600; i++) audit.write({ ...deny, service: `made-up-${i}` })
  t.equal(list().length, 500)
  t.match(list().at(-1), { service: 'github', uses: 1 })
  t.equal(list().at(-1)?.last_use?.path.length, 200)
  t.ok(JSON.stringify(list()).length < 200_000)
  for (let i = 0; i < 500; i++) audit.write({ ...use, service: `real-${i}` })
  t.equal(list().length, 500)
  t.notOk(
    list().some(({ service }) => service === 'github'),
    'then the oldest goes',
  )
})
