/** Attack: a request's headers take the slot, add a second credential, or change what is asked for. */
import type { Test } from 'tap'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { bodyOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { send as sendTo } from '../../helpers/wire.ts'
import { answerText, sentField, startByteService } from '../../helpers/vault-service.ts'

const OWN = `Bearer ${CREDENTIAL}`

/** What the service is sent, for a request through each door. */
const sent = async (
  t: Test,
  { aim }: VaultPlace,
  fields: readonly string[],
  { entry = {}, line = 'GET /x', body = '' } = {},
) => {
  const service = await startByteService(t, (head) => answerText(head.slice(0, head.indexOf('\r'))))
  const target = await aim(service.origin, entry)
  const answers = await target.sendToBoth(line, fields, body)
  t.same([...new Set(answers.map(({ status }) => status))], [200])
  t.equal(service.dials(), 2)
  return {
    lines: answers.map(bodyOf),
    /** The values of a header, of both requests; every line of each. */
    values: (name: string) => sentField(service.received(), name).split('\n'),
    has: (name: string) => sentField(service.received(), name) !== '',
    received: service.received(),
    host: service.origin.slice('http://'.length),
  }
}

/** Never reaches the service, also when the entry names it. */
const NEVER = [
  ...['Cookie: a=b', 'Cookie2: a=b', 'Range: bytes=0-3', 'If-Range: "x"', 'TE: trailers'],
  ...['Trailer: X-A', 'Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive'],
  ...['Proxy-Authorization: Basic YTpi', 'Via: 1.1 x', 'Forwarded: for=1.2.3.4'],
  ...['X-Forwarded-Host: evil.test', 'X-Forwarded-For: 127.0.0.1', 'X-Real-IP: 1.2.3.4'],
  ...['X-Original-URL: /admin', 'X-Rewrite-URL: /admin', 'X-Host: evil.test'],
]

const OVERRIDES = [
  ...['X-HTTP-Method-Override: DELETE', 'X-HTTP-Method: DELETE', 'X-Method-Override: DELETE'],
  ...['X_HTTP_Method_Override: DELETE', 'HTTP-Method-Override: DELETE'],
]

/** Whether a header came through, by its name alone and when the entry asks for it. */
const reaches = (lines: readonly string[]) => async (t: Test, place: VaultPlace) => {
  let isThere = false
  for (const line of lines) {
    const name = line.slice(0, line.indexOf(':'))
    const { has } = await sent(t, place, [line])
    if (has(name)) t.comment(`${name} reached the service`)
    isThere ||= has(name)
    // The vault takes no entry that names it.
    const { vault } = place
    const named = vault.add('http://127.0.0.1:1', {
      ...{ service: 'naming', slot: 'Authorization: Bearer {}', headers: [name.toLowerCase()] },
    })
    await t.rejects(named, /headers/, name)
  }
  return isThere
}

await runAgainstVault(import.meta.url, {
  'Connection names the slot': async (t, place) => {
    const { values, host } = await sent(t, place, ['Connection: close, Authorization, Host'])
    t.same(values('host'), [host, host])
    return values('authorization').join() !== `${OWN},${OWN}`
  },
  'Connection hides a header that it names': async (t, place) => {
    const fields = ['User-Agent: a', 'Accept: b', 'Connection: close, User-Agent']
    const { has, values } = await sent(t, place, fields)
    t.same(values('accept'), ['b', 'b'])
    return has('user-agent')
  },
  'several Authorization headers': async (t, place) => {
    const fields = ['Authorization: Basic YTpi', 'AUTHORIZATION: Bearer other']
    const { values } = await sent(t, place, fields)
    return values('authorization').join() !== `${OWN},${OWN}`
  },
  'the lease twice, and in two places': async (t, { aim }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { send, lease, token } = await aim(service.origin)
    t.equal((await send('GET /x', [lease, `X-Api-Key: ${token}`])).status, 200)
    t.equal(sentField(service.received(), 'authorization'), OWN)
    return service.received().includes('hvl_')
  },
  'another header of the name of the slot, and Authorization besides': async (t, place) => {
    const { values, has } = await sent(
      t,
      place,
      ['X-Own-Key: hvl_x', 'X-OWN-KEY: hvl_y', 'X_Own_Key: z'],
      { entry: { slot: 'X-Own-Key: {}' } },
    )
    t.same(values('x-own-key'), [CREDENTIAL, CREDENTIAL])
    return has('authorization') || has('x_own_key')
  },
  'a scheme that is not Basic, in an entry of Basic': async (t, place) => {
    const { values } = await sent(t, place, [], {
      entry: { kind: 'basic', slot: 'Authorization: x-access-token:{}' },
    })
    const rendered = `Basic ${Buffer.from(`x-access-token:${CREDENTIAL}`).toString('base64')}`
    return values('authorization').join() !== `${rendered},${rendered}`
  },
  'a scheme that is not Bearer, in an entry of a workspace': async (t, place) => {
    const value = 'hub_aTokenOfAnotherWorkspace'
    const { values } = await sent(t, place, [], { entry: { kind: 'workspace', value } })
    return values('authorization').join() !== `Bearer ${value},Bearer ${value}`
  },
  'headers of another hop, of sessions and of other addresses': reaches(NEVER),
  'method override headers': reaches(OVERRIDES),
  'headers that nobody has named': async (t, place) => {
    const { has } = await sent(t, place, ['X-Unknown: 1', 'Accept-Charset: utf-16'])
    return has('x-unknown') || has('accept-charset')
  },
  'a method override in the query': async (t, place) => {
    const entry = { methods: ['POST'] }
    const { lines } = await sent(t, place, [], { entry, line: 'POST /x?_method=DELETE' })
    return lines.every((line) => line.includes('?_method=DELETE'))
  },
  'Host of another service': async (t, { aim, port, vault }) => {
    const service = await startByteService(t, () => answerText('ok'))
    const { send, lease, service: name } = await aim(service.origin)
    const refused = await send('GET /x', ['Host: evil.test'])
    t.equal(refused.status, 400, 'the port takes only hosts of this machine')
    const target = `GET /s/${name}/x`
    for (const hosts of [
      ['Host: a', 'Host: 127.0.0.1'],
      ['Host: 127.0.0.1 evil'],
      ['Host: 127.0.0.1@evil.test'],
    ])
      t.equal((await sendTo(port, target, [...hosts, lease])).status, 400, hosts.join())
    t.equal(service.dials(), 0)
    await sendTo(vault.coder, target, ['Host: evil.test', lease])
    return service.received().includes('evil')
  },
  'what the tools of services send, and what the entry names': async (t, place) => {
    const fields = [
      ...['Accept: a', 'Anthropic-Version: 1', 'OpenAI-Beta: b', 'X-Stainless-Lang: js'],
      ...['Git-Protocol: version=2', 'Idempotency-Key: k', 'X-Own: o'],
    ]
    const { values } = await sent(t, place, fields, { entry: { headers: ['x-own'] } })
    const lost = fields.filter((line) => {
      const [name = '', value = ''] = line.split(': ')
      return values(name).join() !== `${value},${value}`
    })
    t.same(lost, [])
    return lost.length > 0
  },
  'a path and a query that mean something else when they are written anew': async (t, place) => {
    const line = 'GET /a%2Fb/c?x=1&y=%20'
    const { lines } = await sent(t, place, [], { line })
    return lines.join() !== `${line} HTTP/1.1,${line} HTTP/1.1`
  },
  'an encoded body of a request': async (t, place) => {
    const fields = ['Content-Encoding: gzip', 'Content-Length: 4']
    const { values, received } = await sent(t, place, fields, { line: 'POST /x', body: 'abcd' })
    t.same(values('content-encoding'), ['gzip', 'gzip'], 'passes, as git sends it')
    return !received.endsWith('\r\n\r\nabcd')
  },
})
