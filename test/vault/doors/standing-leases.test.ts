/** Does each workspace have one lease for an entry, and another one as soon as that is no longer valid? */
import t from 'tap'
import { StandingLeases } from '../../../src/vault/doors/standing-leases.ts'
import { Leases } from '../../../src/vault/leases.ts'
import { anEntry } from '../../helpers/vault-doors.ts'

t.test('a lease stands for one workspace and one entry, as wide as the entry', async (t) => {
  const standing = new StandingLeases(new Leases({ now: () => 0 }))
  const [github, slack] = [anEntry(), anEntry({ service: 'slack' })]
  const first = standing.of('research/*', github)
  t.equal(standing.of('research/*', github), first)
  const { methods, paths } = github.policy
  t.match(first.lease, { agent: 'research/*', service: 'github', methods, paths })
  t.not(standing.of('lab/*', github).token, first.token)
  t.not(standing.of('research/*', slack).token, first.token)
  t.equal(standing.of('research/*', github), first)
})

t.test('one that was revoked, or whose time is over, is followed by another', async (t) => {
  let now = 0
  const leases = new Leases({ now: () => now })
  const standing = new StandingLeases(leases)
  const entry = anEntry()
  const first = standing.of('research/*', entry)
  leases.revoke(first.token)
  const second = standing.of('research/*', entry)
  t.not(second.token, first.token)
  now += 899_999
  t.equal(standing.of('research/*', entry), second)
  now += 1
  t.not(standing.of('research/*', entry).token, second.token)
})

t.test('leases of years take no room, because those that are over are forgotten', async (t) => {
  let now = 0
  const standing = new StandingLeases(new Leases({ now: () => now, maxPerAgent: 2 }))
  const entry = anEntry()
  for (let i = 0; i < 10; i++, now += 1_000_000) t.ok(standing.of('research/*', entry).token)
})
