/** Does a program of an agent reach the vault, and does it understand what the vault says? */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import pino from 'pino'
import t, { type Test } from 'tap'
import {
  askForLease,
  findAgentSocket,
  renewLease,
  revokeLease,
  VaultNotReachedError,
  VaultRefusedError,
} from '../../src/vault/agent-client.ts'
import { removeAgentList, writeAgentList } from '../../src/vault/agent-list.ts'
import { agentListOf, agentSocket } from '../../src/vault/protocol.ts'
import { DETAIL, startFakeVault } from '../helpers/fake-vault.ts'
import { temporaryFolder } from '../helpers/process.ts'

t.test('a lease is asked for, renewed and given back', async (t) => {
  const vault = await startFakeVault(t)
  const lease = await askForLease(vault.socket, { service: 'github', methods: ['GET'] })
  t.match(lease, { token: 'hvl_0', base_url: null, origin: 'https://example.test' })
  t.match(await renewLease(vault.socket, lease.token), { token: 'hvl_0' })
  t.ok(vault.held.has('hvl_0'))
  await revokeLease(vault.socket, lease.token)
  t.equal(vault.held.size, 0)
  t.same(vault.asked, [
    { method: 'POST', authorization: undefined, body: { service: 'github', methods: ['GET'] } },
    { method: 'POST', authorization: 'Bearer hvl_0', body: { renew: true } },
    { method: 'DELETE', authorization: 'Bearer hvl_0', body: {} },
  ])
})

t.test('a refusal has the words of the vault', async (t) => {
  const vault = await startFakeVault(t)
  vault.refuse = () => 'not-granted'
  const error = await askForLease(vault.socket, { service: 'github' }).catch((one: unknown) => one)
  t.ok(error instanceof VaultRefusedError)
  t.match(error, { code: 'not-granted', status: 403, message: DETAIL })
})

t.test('without a vault the error names a remedy', async (t) => {
  const vault = await startFakeVault(t)
  await vault.stop()
  for (const socket of [vault.socket, join(temporaryFolder(t), 'x'.repeat(200))])
    await t.rejects(askForLease(socket, { service: 'github' }), VaultNotReachedError)
  await t.rejects(
    askForLease(vault.socket, { service: 'github' }),
    /start "workspace-gateway vault"/,
  )
})

/** A server on a Unix socket that is not the vault. */
async function startOther(t: Test, answer: string): Promise<string> {
  const socket = join(temporaryFolder(t), 'agent.sock')
  const server = createServer((_, response) => void response.writeHead(201).end(answer))
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return socket
}

t.test(
  'an answer that is not a lease is refused, because it would go into an environment',
  async (t) => {
    const good = { token: 'hvl_a', base_url: null, origin: '', expires_at: '2030-01-01T00:00:00Z' }
    t.match(await askForLease(await startOther(t, JSON.stringify(good)), { service: 'a' }), {
      ...good,
      env: {},
    })
    const shared = { ...good, remote: 'claude' }
    const answer = await startOther(t, JSON.stringify(shared))
    t.match(await askForLease(answer, { service: 'a' }), { remote: 'claude' })
    for (const wrong of [
      { token: 'a\nb' },
      { token: undefined },
      { base_url: 'http://evil.test:1/s/a' },
      { base_url: undefined },
      { origin: 5 },
      { remote: 5 },
      { expires_at: 'soon' },
    ]) {
      const socket = await startOther(t, JSON.stringify({ ...good, ...wrong }))
      await t.rejects(
        askForLease(socket, { service: 'a' }),
        VaultNotReachedError,
        JSON.stringify(wrong),
      )
    }
    for (const text of ['', '5', '[', ' '.repeat(70_000)])
      await t.rejects(
        askForLease(await startOther(t, text), { service: 'a' }),
        VaultNotReachedError,
      )
    const other = await startOther(t, JSON.stringify(good))
    await t.rejects(renewLease(other, 'hvl_b'), VaultNotReachedError, 'another token')
  },
)

t.test('an agent finds its own door', async (t) => {
  const sockets = temporaryFolder(t)
  for (const name of ['coder', 'ops']) {
    mkdirSync(join(sockets, name))
    writeFileSync(agentSocket(sockets, name), '')
  }
  mkdirSync(join(sockets, 'owner'))
  const asker = { uid: 1001, username: 'ops' }
  const both = [
    { name: 'coder', uid: 1001 },
    { name: 'ops', uid: 1002 },
  ]
  t.same(findAgentSocket(sockets, both, asker), { path: agentSocket(sockets, 'coder') })
  t.same(findAgentSocket(sockets, [], asker), { several: ['coder', 'ops'] })
  // The vault's list decides by the uid, where the settings are not known.
  writeAgentList(sockets, both, pino({ level: 'silent' }))
  t.equal(statSync(agentListOf(sockets)).mode & 0o777, 0o644)
  t.equal(readFileSync(agentListOf(sockets), 'utf8').split('\n').length, 3)
  t.same(findAgentSocket(sockets, [], asker), { path: agentSocket(sockets, 'coder') })
  t.same(findAgentSocket(sockets, [], { ...asker, uid: 9 }), { several: ['coder', 'ops'] })
  writeFileSync(agentListOf(sockets), 'no list\n')
  t.same(findAgentSocket(sockets, [], asker), { several: ['coder', 'ops'] })
  removeAgentList(sockets)
  t.notOk(existsSync(agentListOf(sockets)))
  t.same(findAgentSocket(join(sockets, 'none'), [], asker), {
    path: agentSocket(join(sockets, 'none'), 'ops'),
  })
})
