/** Attack: an agent uses the lease or the door of another agent, or a lease that is over, revoked, for something else, or made wider. */
import type { Test } from 'tap'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { ask, leaseAt } from '../../helpers/vault-doors.ts'
import { refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'
import { until } from '../../helpers/waiting.ts'
import { send } from '../../helpers/wire.ts'

const start = async (t: Test, { aim }: VaultPlace, entry: object = {}) => {
  const service = await startByteService(t, () => answerText('ok'))
  return { behind: service, ...(await aim(service.origin, entry)) }
}

const LEASES = '/v1/leases'

/** Renews a lease at a door. */
const renewed = (door: string, token: string) =>
  ask(door, {
    ...{ method: 'POST', path: LEASES, body: { renew: true } },
    headers: { authorization: `Bearer ${token}` },
  })

await runAgainstVault(import.meta.url, {
  'the lease of coder at the door of ops': async (t, place) => {
    const { behind, service, lease } = await start(t, place, { grants: ['coder', 'ops'] })
    const answer = await send(place.vault.ops, `GET /s/${service}/x`, [lease])
    t.equal(refusalOf(answer), '401 lease-invalid')
    return behind.dials() > 0
  },
  'another agent, as the request says': async (t, place) => {
    const { behind, service } = await start(t, place, { grants: ['coder', 'ops'] })
    await place.vault.command(`/v1/entries/${service}/revoke`, { agents: ['coder'] })
    const fields = ['X-Agent: ops', 'X-Vault-Agent: ops', 'User-Agent: ops', 'From: ops']
    const { status } = await ask(place.vault.coder, {
      ...{ method: 'POST', path: LEASES, body: { service } },
      headers: Object.fromEntries(fields.map((line) => line.split(': ') as [string, string])),
    })
    t.equal(status, 403)
    const named = await ask(place.vault.coder, {
      ...{ method: 'POST', path: LEASES, body: { service, agent: 'ops' } },
    })
    t.equal(named.status, 400)
    return behind.dials() > 0
  },
  'the lease of one entry for another': async (t, place) => {
    const mine = await start(t, place)
    const other = await start(t, place)
    const target = `GET /s/${other.service}/x`
    for (const door of [place.port, place.vault.coder])
      t.equal(
        refusalOf(await send(door, target, ['Host: 127.0.0.1', mine.lease])),
        '401 lease-invalid',
      )
    return other.behind.dials() > 0
  },
  'two leases in one request': async (t, place) => {
    const { behind, service, lease, send: sendOne } = await start(t, place)
    const second = await leaseAt(place.vault.coder, { service })
    for (const field of [`Authorization: Bearer ${second}`, `X-Api-Key: ${second}`])
      t.equal(refusalOf(await sendOne('GET /x', [field])), '400 bad-request')
    t.not(second, lease)
    return behind.dials() > 0
  },
  'a lease in a cookie, in the query, in the path or in another header': async (t, place) => {
    const { behind, service, token } = await start(t, place)
    for (const [target, field, refusal] of [
      [`/s/${service}/x`, `Cookie: lease=${token}`, '401 lease-missing'],
      [`/s/${service}/x`, `X-Lease: ${token}`, '401 lease-missing'],
      [`/s/${service}/x`, `Proxy-Authorization: Bearer ${token}`, '401 lease-missing'],
      [`/s/${service}/x?key=${token}`, 'Accept: a', '400 bad-request'],
      [`/s/${service}/${token}`, 'Accept: a', '400 bad-request'],
    ] as const)
      for (const door of [place.port, place.vault.coder])
        t.equal(refusalOf(await send(door, `GET ${target}`, ['Host: 127.0.0.1', field])), refusal)
    return behind.dials() > 0
  },
  'an expired lease': async (t, place) => {
    const { behind, service } = await start(t, place)
    const { port, vault } = place
    const token = await leaseAt(vault.coder, { service, ttl: 1 })
    const use = () =>
      send(port, `GET /s/${service}/x`, ['Host: 127.0.0.1', `Authorization: Bearer ${token}`])
    await until('the lease is over', async () => (await use()).status === 401)
    const before = behind.dials()
    t.equal(refusalOf(await use()), '401 lease-expired')
    t.equal((await renewed(vault.coder, token)).code, 'lease-expired')
    t.equal(refusalOf(await use()), '401 lease-expired')
    return behind.dials() > before
  },
  'a revoked lease, and a lease of an entry that was replaced': async (t, place) => {
    const { behind, service, token, send: sendOne, sendToBoth } = await start(t, place)
    await sendOne('GET /x')
    await place.vault.command(`/v1/entries/${service}/revoke`, { agents: ['coder'] })
    await place.vault.command(`/v1/entries/${service}/grant`, { agents: ['coder'] })
    for (const answer of await sendToBoth('GET /x'))
      t.equal(refusalOf(answer), '401 lease-revoked', 'also when it is granted again')
    t.equal((await renewed(place.vault.coder, token)).code, 'lease-revoked')
    await place.vault.command(`/v1/entries/${service}/remove`, {})
    await place.vault.add(behind.origin, { service, slot: 'Authorization: Bearer {}' })
    for (const answer of await sendToBoth('GET /x')) t.equal(refusalOf(answer), '401 lease-revoked')
    return behind.dials() > 1
  },
  'a lease that was given back is renewed': async (t, place) => {
    const { behind, token, sendToBoth } = await start(t, place)
    const headers = { authorization: `Bearer ${token}` }
    const { coder, ops } = place.vault
    t.equal((await renewed(ops, token)).code, 'lease-invalid', 'by another agent')
    t.equal((await ask(ops, { method: 'DELETE', path: LEASES, headers })).code, 'lease-invalid')
    t.equal((await ask(coder, { method: 'DELETE', path: LEASES, headers })).status, 204)
    const { code } = await renewed(coder, token)
    t.equal(code, 'lease-revoked')
    for (const answer of await sendToBoth('GET /x')) t.equal(refusalOf(answer), '401 lease-revoked')
    return behind.dials() > 0
  },
  'a wider lease than the entry, and a use beyond the lease': async (t, place) => {
    const entry = { methods: ['GET', 'POST'], paths: ['/repos'] }
    const { behind, service } = await start(t, place, entry)
    for (const wider of [
      { methods: ['GET', 'DELETE'] },
      { paths: ['/'] },
      { paths: ['/repos', '/repos-private'] },
      { paths: ['/repos/..'] },
      { ttl: 90_000 },
      { expires_at: '2999-01-01T00:00:00Z' },
      { methods: [] },
    ]) {
      const body = { service, ...wider }
      const { status } = await ask(place.vault.coder, { method: 'POST', path: LEASES, body })
      t.ok(status === 400 || status === 403, `${status} for ${JSON.stringify(wider)}`)
    }
    const narrow = await leaseAt(place.vault.coder, {
      service,
      methods: ['GET'],
      paths: ['/repos/a'],
    })
    for (const [line, refusal] of [
      ['POST /repos/a', '403 method-not-allowed'],
      ['GET /repos/b', '403 path-not-allowed'],
      ['GET /repos', '403 path-not-allowed'],
      ['GET /admin', '403 path-not-allowed'],
    ] as const) {
      const target = line.replace(' ', ` /s/${service}`)
      const fields = ['Host: 127.0.0.1', `Authorization: Bearer ${narrow}`]
      t.equal(refusalOf(await send(place.port, target, fields)), refusal, line)
    }
    return behind.dials() > 0
  },
  'very many leases': async (t, place) => {
    const { service } = await start(t, place, { grants: ['coder', 'ops'] })
    let given = 0
    let code: string | undefined
    while (given < 5000) {
      const body = { service }
      const answers = await Promise.all(
        Array.from({ length: 50 }, () =>
          ask(place.vault.ops, { method: 'POST', path: LEASES, body }),
        ),
      )
      given += answers.filter(({ status }) => status === 201).length
      code = answers.find(({ status }) => status !== 201)?.code
      if (code !== undefined) break
    }
    t.equal(code, 'too-many-leases')
    t.equal((await leaseAt(place.vault.coder, { service })).length, 36, 'others get theirs')
    return given > 1000
  },
  'entries and grants, changed at the door of an agent': async (t, place) => {
    const { service } = await start(t, place)
    for (const path of [
      `/v1/entries/${service}/grant`,
      '/v1/entries',
      '/v1/backup',
      '/v1/rekey',
      '/v1/audit',
    ])
      for (const method of ['GET', 'POST'])
        t.equal(
          (
            await ask(place.vault.ops, {
              ...{ method, path },
              ...(method === 'POST' ? { body: { agents: ['ops'] } } : {}),
            })
          ).code,
          'owner-only',
        )
    const { status } = await ask(place.vault.ops, {
      method: 'POST',
      path: LEASES,
      body: { service },
    })
    return status === 201
  },
  'which entries there are': async (t, place) => {
    const { service } = await start(t, place)
    const words = async (name: string) =>
      (
        await ask(place.vault.ops, { method: 'POST', path: LEASES, body: { service: name } })
      ).text.replaceAll(name, 'NAME')
    return (await words(service)) !== (await words('never-added'))
  },
  'the socket of another agent with the same uid': async (t, place) => {
    const { behind, service } = await start(t, place, { grants: ['coder', 'ops'] })
    // This test is the user of coder, and of ops too.
    const token = await leaseAt(place.vault.ops, { service })
    await send(place.vault.ops, `GET /s/${service}/x`, [`Authorization: Bearer ${token}`])
    return sentField(behind.received(), 'authorization') === `Bearer ${CREDENTIAL}`
  },
})
