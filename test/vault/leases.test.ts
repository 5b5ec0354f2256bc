/** Are leases short, narrow, bound to their agent and entry, and gone when they are revoked? */
import t from 'tap'
import { Leases } from '../../src/vault/leases.ts'
import { LEASE_SECONDS, LONGEST_SECONDS } from '../../src/vault/protocol.ts'
import { VaultError } from '../../src/vault/vault-errors.ts'
import { anEntry } from '../helpers/vault-doors.ts'

function leasesAt(options: { maxPerAgent?: number; shape?: string } = {}) {
  const clock = { now: 1_000_000 }
  const { maxPerAgent = 1000, shape = 'hvl_{}' } = options
  const leases = new Leases({ now: () => clock.now, maxPerAgent, shapeOf: () => shape })
  return { clock, leases }
}

const codeOf = (work: () => unknown): string | undefined => {
  try {
    work()
    return undefined
  } catch (error) {
    return error instanceof VaultError ? error.code : String(error)
  }
}

const ASKED = { service: 'github' }
const entry = anEntry()

t.test(
  'a lease has what the entry allows, and a random token in the service’s shape',
  async (t) => {
    const { clock, leases } = leasesAt({ shape: 'sk-hvl_{}-x' })
    const { token, lease } = leases.issue('coder', entry, ASKED)
    t.match(token, /^sk-hvl_[A-Za-z0-9]{32}-x$/)
    t.match(lease, { agent: 'coder', entryId: entry.id, service: 'github' })
    t.same(lease.methods, ['GET', 'POST'])
    t.same(lease.paths, ['/repos/', '/user'])
    t.equal(lease.expiresAt, clock.now + LEASE_SECONDS * 1000)
    t.match(lease.shortHash, /^[0-9a-f]{8}$/)
    t.equal(leases.find(token), lease)
    t.equal(leases.find(`${token}x`), undefined)
    t.not(leases.issue('coder', entry, ASKED).token, token)
  },
)

t.test('a lease may be narrower than its entry, and never wider', async (t) => {
  const { leases } = leasesAt()
  const narrow = { ...ASKED, methods: ['GET', 'GET'], paths: ['/repos/acme'], ttl: 60 }
  const { lease } = leases.issue('coder', entry, narrow)
  t.same([lease.methods, lease.paths], [['GET'], ['/repos/acme']])
  for (const [asked, code] of [
    [{ methods: ['DELETE'] }, 'method-not-allowed'],
    [{ methods: ['GET', 'DELETE'] }, 'method-not-allowed'],
    [{ methods: ['get'] }, 'method-not-allowed'],
    [{ paths: ['/'] }, 'path-not-allowed'],
    [{ paths: ['/repos'] }, 'path-not-allowed'],
    [{ paths: ['/users'] }, 'path-not-allowed'],
    [{ paths: ['/repos/../user'] }, 'bad-request'],
    [{ paths: ['/repos/%2e%2e/x'] }, 'bad-request'],
    [{ paths: ['repos/'] }, 'bad-request'],
    [{ methods: [] }, 'bad-request'],
    [{ paths: [] }, 'bad-request'],
    [{ paths: Array.from({ length: 101 }, () => '/user') }, 'bad-request'],
    [{ ttl: 0 }, 'bad-request'],
    [{ ttl: 1.5 }, 'bad-request'],
    [{ ttl: LEASE_SECONDS + 1 }, 'bad-request'],
  ] as const)
    t.equal(
      codeOf(() => leases.issue('coder', entry, { ...ASKED, ...asked })),
      code,
      JSON.stringify(asked).slice(0, 80),
    )
})

t.test('a refused lease says which command of the owner would allow it', async (t) => {
  const { leases } = leasesAt()
  t.throws(() => leases.issue('coder', entry, { ...ASKED, methods: ['DELETE'] }), {
    message:
      /allows the methods GET, POST, and not "DELETE"; .*vault add github --methods GET,POST,DELETE/,
  })
})

t.test('a lease expires to the millisecond, and is remembered for an hour', async (t) => {
  const { clock, leases } = leasesAt()
  const { token, lease } = leases.issue('coder', entry, { ...ASKED, ttl: 10 })
  clock.now += 9999
  t.notOk(leases.hasExpired(lease))
  clock.now += 1
  t.ok(leases.hasExpired(lease))
  t.notOk(lease.revoked.aborted, 'what runs is not cut by it')
  leases.sweep()
  t.equal(leases.find(token), lease, 'so that the agent is told that it has expired')
  clock.now += 3_600_000
  leases.sweep()
  t.equal(leases.find(token), undefined)
})

t.test('a lease in use is found for a revocation long after it has expired', async (t) => {
  const { clock, leases } = leasesAt()
  const { token, lease } = leases.issue('coder', entry, ASKED)
  const end = leases.begin(token)
  clock.now += 10 * 3_600_000
  leases.sweep()
  t.equal(leases.list().length, 1)
  leases.follow(entry, anEntry({ grants: [] }))
  t.ok(lease.revoked.aborted)
  end()
  end()
  leases.sweep()
  t.equal(leases.find(token), undefined)
})

t.test('what a change of the entry no longer allows is revoked, and nothing else', async (t) => {
  const both = anEntry({ grants: ['coder', 'ops'] })
  for (const [name, after, revoked] of [
    ['a grant was taken away', anEntry({ grants: ['ops'] }), [true, false]],
    ['suspended', anEntry({ grants: ['coder', 'ops'], suspended: true }), [true, true]],
    ['removed', undefined, [true, true]],
    ['replaced', { ...both, id: 'another' }, [true, true]],
    ['rotated', { ...both, versions: [] }, [false, false]],
  ] as const) {
    const { leases } = leasesAt()
    const all = ['coder', 'ops'].map((agent) => leases.issue(agent, both, ASKED).lease)
    const other = leases.issue('coder', anEntry({ service: 'slack' }), { service: 'slack' }).lease
    leases.follow(both, after)
    t.same(
      all.map((lease) => lease.revoked.aborted),
      revoked,
      name,
    )
    t.notOk(other.revoked.aborted)
  }
})

t.test('an agent has so many leases and no more; what is over makes room', async (t) => {
  const { clock, leases } = leasesAt({ maxPerAgent: 3 })
  const first = leases.issue('coder', entry, ASKED)
  leases.issue('coder', entry, { ...ASKED, ttl: 1 })
  leases.issue('coder', entry, ASKED)
  t.equal(
    codeOf(() => leases.issue('coder', entry, ASKED)),
    'too-many-leases',
  )
  leases.issue('ops', entry, ASKED)
  clock.now += 1000
  leases.issue('coder', entry, ASKED)
  t.equal(
    codeOf(() => leases.issue('coder', entry, ASKED)),
    'too-many-leases',
  )
  leases.revoke(first.token)
  leases.issue('coder', entry, ASKED)
  t.equal(leases.list().filter(({ agent }) => agent === 'coder').length, 3)
})

t.test('a lease is renewed while it is valid, for 12 hours at most', async (t) => {
  const { clock, leases } = leasesAt()
  const { token, lease } = leases.issue('coder', entry, ASKED)
  const began = clock.now
  for (let i = 0; i < 200; i++) {
    clock.now += (LEASE_SECONDS * 1000) / 2
    if (codeOf(() => leases.renew(token)) !== undefined) break
  }
  t.equal(lease.expiresAt, began + LONGEST_SECONDS * 1000)
  clock.now = lease.expiresAt
  t.equal(
    codeOf(() => leases.renew(token)),
    'lease-expired',
  )
  t.equal(
    codeOf(() => leases.renew('hvl_unknown')),
    'lease-expired',
  )
})

t.test('the owner sees leases without their tokens', async (t) => {
  const { leases } = leasesAt()
  const { token, lease } = leases.issue('coder', entry, ASKED)
  const [view] = leases.list()
  t.match(view, { agent: 'coder', service: 'github', lease: lease.shortHash, requests: 0 })
  t.notMatch(JSON.stringify(view), token.slice(4))
  leases.revoke(token)
  t.same(leases.list(), [])
})
