/** Does a lease live as long as the program that has it, and no longer? */
import t, { type Test } from 'tap'
import { askForLease } from '../../src/vault/agent-client.ts'
import { KeptLeases, type KeepOptions } from '../../src/vault/kept-leases.ts'
import { DETAIL, startFakeVault } from '../helpers/fake-vault.ts'
import { eventually } from '../helpers/waiting.ts'

/** Keeps a lease that is valid for a short time. */
async function startKeeping(t: Test, options: KeepOptions = {}, leaseMs = 300) {
  const vault = await startFakeVault(t)
  vault.leaseMs = leaseMs
  const ended: string[] = []
  const onEnd = (service: string, why: string) => ended.push(`${service}: ${why}`)
  const kept = new KeptLeases(vault.socket, onEnd, options)
  kept.keep('github', await askForLease(vault.socket, { service: 'github' }))
  t.teardown(() => kept.close())
  const renewals = () => vault.asked.filter(({ body }) => body['renew'] === true)
  return { vault, kept, ended, renewals }
}

t.test('a lease is renewed again and again under the same token, and given back', async (t) => {
  const { vault, kept, ended, renewals } = await startKeeping(t)
  await eventually(() => renewals().length >= 3, 'three renewals')
  await kept.close()
  t.same(new Set(renewals().map(({ authorization }) => authorization)), new Set(['Bearer hvl_0']))
  t.equal(vault.held.size, 0)
  t.same(ended, [])
})

t.test('it is renewed for the longest time only, and not given up before its end', async (t) => {
  let now = Date.now()
  const options = { now: () => now, longestMs: 1_000_000 }
  const { vault, ended, renewals } = await startKeeping(t, options)
  await eventually(() => renewals().length >= 1, 'a renewal')
  now += 1_000_001
  await eventually(() => ended.length > 0, 'the end is said')
  t.match(ended[0], /^github: .*start the program again/)
  t.equal(vault.held.size, 1, 'it ends by itself')
})

t.test('a refusal ends the renewals with the words of the vault', async (t) => {
  const { vault, ended, renewals } = await startKeeping(t)
  vault.refuse = () => 'not-granted'
  await eventually(() => ended.length > 0, 'the end is said')
  t.same(ended, [`github: ${DETAIL}`])
  t.equal(renewals().length, 1)
})

t.test('a vault that has no room is asked again', async (t) => {
  const { vault, ended, renewals } = await startKeeping(t, {}, 3000)
  let refusals = 0
  vault.refuse = () => (refusals++ === 0 ? 'audit-unavailable' : undefined)
  await eventually(() => renewals().length >= 2, 'a second renewal')
  t.same(ended, [])
})

t.test('a vault that does not answer is asked again until the lease has ended', async (t) => {
  const { vault, ended } = await startKeeping(t)
  await vault.stop()
  await eventually(() => ended.length > 0, 'the end is said')
  t.match(ended[0], /no vault runs|has ended/)
})
