/** Does a lease alone count at the loopback port, and does no page of a browser get in? */
import t from 'tap'
import { anEntry, ask, leaseAt, startTestVault } from '../../helpers/vault-doors.ts'

const path = '/s/github/user'
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

async function start(t: Parameters<typeof startTestVault>[0]) {
  const vault = await startTestVault(t, {
    entries: [anEntry(), anEntry({ service: 'anthropic', origin: 'https://api.anthropic.com' })],
    port: 0,
  })
  return { vault, port: vault.doors.port ?? 0 }
}

t.test('a lease says who asks, wherever it comes from', async (t) => {
  const { vault, port } = await start(t)
  const token = await leaseAt(vault.coder)
  for (const host of ['127.0.0.1', 'localhost:1', '[::1]:80', 'x.localhost']) {
    const { status } = await ask(port, { path, headers: { ...bearer(token), Host: host } })
    t.equal(status, 200, host)
  }
  t.match(vault.uses, [{ agent: 'coder' }])
})

t.test('a lease says its address and its variables', async (t) => {
  const { vault, port } = await start(t)
  const body = { service: 'anthropic' }
  const { json } = await ask(vault.coder, { method: 'POST', path: '/v1/leases', body })
  const base = `http://127.0.0.1:${port}/s/anthropic`
  t.match(json, { base_url: base, token: /^sk-ant-hvl_/, env: { ANTHROPIC_BASE_URL: base } })
})

t.test('everything else is refused, and nothing is dialled', async (t) => {
  const { vault, port } = await start(t)
  const token = await leaseAt(vault.coder)
  const headers = bearer(token)
  for (const [name, question, code] of [
    ['no lease', { path }, 'lease-missing'],
    ['another lease', { path, headers: bearer(`hvl_${'x'.repeat(32)}`) }, 'lease-invalid'],
    ['Host', { path, headers: { ...headers, Host: 'evil.example' } }, 'bad-request'],
    ['Host', { path, headers: { ...headers, Host: '127.0.0.1.evil.example' } }, 'bad-request'],
    ['Host', { path, headers: { ...headers, Host: '10.0.0.1' } }, 'bad-request'],
    ['Host', { path, headers: { ...headers, Host: 'user@127.0.0.1' } }, 'bad-request'],
    ['Origin', { path, headers: { ...headers, Origin: 'http://localhost' } }, 'bad-request'],
    ['Origin', { path, headers: { ...headers, Origin: 'null' } }, 'bad-request'],
    ['a page', { path, headers: { ...headers, 'Sec-Fetch-Site': 'same-origin' } }, 'bad-request'],
    ['leases', { path: '/v1/leases', method: 'POST', headers, body: {} }, 'not-found'],
    ['owner', { path: '/v1/entries', headers }, 'not-found'],
    ['root', { path: '/', headers }, 'not-found'],
  ] as const) {
    const answer = await ask(port, question)
    t.equal(answer.code, code, name)
    t.equal(answer.headers['access-control-allow-origin'], undefined)
    // git asks its credential helper only when a 401 has a challenge.
    const challenge = answer.status === 401 ? 'Basic realm="vault"' : undefined
    t.equal(answer.headers['www-authenticate'], challenge, name)
  }
  t.same(vault.uses, [])
  vault.now += 60_000
  vault.doors.tick()
  t.ok(vault.rows.filter(({ op }) => op === 'deny').length > 5)
})

t.test('too many header fields are refused', async (t) => {
  const { vault, port } = await start(t)
  const token = await leaseAt(vault.coder)
  const many = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`X-${i}`, '1']))
  const answer = await ask(port, { path, headers: { ...bearer(token), ...many } })
  t.equal(answer.code, 'bad-request')
  t.same(vault.uses, [])
})
