/** Does a clock that is set back make leases last longer, or hold back the rows of refusals? In this process, with a clock of its own. */
import pino from 'pino'
import type { AuditFacts } from '../../../src/vault/audit-row.ts'
import { Denials } from '../../../src/vault/denials.ts'
import { Leases } from '../../../src/vault/leases.ts'
import { entryOf } from '../../helpers/vault.ts'
import { runAttacks } from './attack.ts'

const START = 1_800_000_000_000
const DAY_MS = 86_400_000

runAttacks(import.meta.url, {
  'a lease, when the clock was set back by more than its time': async (t) => {
    let now = START
    const leases = new Leases({ now: () => now })
    const { token, lease } = leases.issue('coder', entryOf('github'), { service: 'github' })
    now = START - 1000
    t.notOk(leases.hasExpired(lease), 'small corrections are usual')
    now = START - DAY_MS
    t.throws(() => leases.renew(token), { code: 'lease-expired' })
    return !leases.hasExpired(lease) // it would last for a day
  },
  'refusals without rows, when the clock was set back': async (t) => {
    let now = START
    const rows: AuditFacts[] = []
    const write = (row: AuditFacts) => rows.push(row)
    const audit = { write, writeSoon: async (row: AuditFacts) => write(row) }
    const denials = new Denials({ audit, logger: pino({ level: 'silent' }), now: () => now })
    const deny = () => denials.note({ agent: 'coder', reason: 'not-granted' })
    for (let i = 0; i < 12; i++) deny()
    t.equal(rows.length, 10)
    now = START - DAY_MS
    denials.settle()
    t.match(rows[10], { op: 'deny', reason: 'not-granted 2 more in a minute' })
    deny()
    t.equal(rows.length, 12)
    for (let i = 0; i < 11; i++) deny()
    now -= DAY_MS
    deny()
    return rows.length !== 23 // ten, the number of the others, and the first of a new minute
  },
})
