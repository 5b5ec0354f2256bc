/** Can other workspaces that open whatever they can keep the owner out? No: file descriptors are kept for the owner's door. */
import { spawn } from 'node:child_process'
import { request } from 'node:http'
import t from 'tap'
import { startTestGateway } from '../helpers/gateway.ts'
import { MAIN, watch } from '../helpers/process.ts'
import { startRunningVault } from '../helpers/running-vault.ts'
import { hubFile } from '../helpers/shared-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { ask } from '../helpers/vault-doors.ts'
import { eventually } from '../helpers/waiting.ts'

const WORKSPACES = 8
const REQUESTS = 20

t.test('with 200 open files, eight workspaces leave the owner room', async (t) => {
  const service = await startUpstream(t, () => {}) // never answers
  const hub = hubFile(t, { id: 'alice', isShared: true })
  const vault = await startRunningVault(t, {}, (env) => {
    const command = ['env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, 'vault', '--config', hub]
    const limited = ['-c', 'ulimit -n 200 && exec "$@"', 'sh', ...command]
    return watch(t, spawn('sh', limited, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
  })
  t.match(vault.program.stdout(), /may have 200 files open, so each agent has room for 5/)
  const names = Array.from({ length: WORKSPACES }, (_, i) => `workspace-${i}`)
  await vault.add(service.url, { grants: names.map((name) => `${name}/*`) })
  const gateway = await startTestGateway(t, { GATEWAY_VAULT_SOCKETS: vault.env['VAULT_SOCKETS'] })
  const { apiTokens } = gateway.running.parts
  let refused = 0
  for (const name of names) {
    const wanted = { name, subject: 'alice', scopes: ['vault'], rate: 1000, expiresAt: undefined }
    const headers = { authorization: `Bearer ${apiTokens.create(wanted).token}` }
    for (let i = 0; i < REQUESTS; i++) {
      const url = `${gateway.origin}/_gateway/vault/s/github/x`
      const asked = request(url, { agent: false, headers }, (answer) => {
        refused++
        answer.resume()
      })
      asked.on('error', () => refused++)
      asked.end()
      t.teardown(() => asked.destroy())
    }
  }
  const all = WORKSPACES * REQUESTS
  await eventually(() => refused + service.requests.length === all, 'each is refused or runs')
  t.ok(service.requests.length > 0 && service.requests.length <= 20, 'as many run as have room')
  t.equal((await ask(vault.owner, { path: '/v1/status' })).status, 200)
  t.equal((await ask(vault.coder, { path: '/v2' })).code, 'not-found', 'an agent has room too')
  const agents = names.map((name) => `${name}/*`)
  await vault.command('/v1/entries/github/revoke', { agents })
  await eventually(() => refused === all, 'the revocation cuts what runs')
})
