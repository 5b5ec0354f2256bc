/** Is only the workspace's own host served, so that neither rebinding nor a misrouted name gets in? */
import t from 'tap'
import { assertRefused, DOORS, knock } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { exchange, handshake, parseAnswer, send } from '../helpers/wire.ts'

const FOREIGN = [
  'evil.example',
  'research.hubify.com',
  'hubify.com',
  'houston.hubify.com.evil.example',
  'evilhouston.hubify.com',
  'x.houston.hubify.com',
  'houston.hubify.comx',
  'houston.hubify.co',
  'houston',
  'localhost.evil.example',
  'notlocalhost',
  'localhost.localdomain',
  '127.0.0.1.nip.io',
]

const INVALID = [
  '',
  ' ',
  ':80',
  'houston.hubify.com:',
  'houston.hubify.com:port',
  'houston.hubify.com:0',
  'houston.hubify.com:65536',
  'houston.hubify.com:80:80',
  'houston.hubify.com..',
  '.houston.hubify.com',
  'houston..hubify.com',
  '-houston.hubify.com',
  'houston.hubify.com/',
  'houston.hubify.com/x',
  'houston.hubify.com#',
  'houston.hubify.com?x',
  'houston.hubify.com@evil.example',
  'evil.example@houston.hubify.com',
  'user:pw@houston.hubify.com',
  'houston.hubify.com, evil.example',
  'houston.hubify.com evil.example',
  'houston.hubify.com\\evil.example',
  'http://houston.hubify.com',
  'houston%2ehubify.com',
  'h\xf6uston.hubify.com',
  'houston\xe3\x80\x82hubify.com',
  '[houston.hubify.com]',
  '[::1',
  '::1',
  '[::1]x',
  '[::g]',
  '[fe80::1%25eth0]',
  '127.1',
  '0x7f.1',
  '2130706433',
  '0x7f000001',
  '127.0.0.1.1',
  '127.0.0.256',
  '1.2.3.4x.5',
  'a'.repeat(254),
]

t.test('a host that is not served is answered 421 and never reaches a service', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const host of [...FOREIGN, ...INVALID]) {
    for (const door of DOORS) {
      for (const target of ['/', '/api/v1/models', '/terminal/ws', '/_gateway/sign-in']) {
        const answer = await knock(workspace.port, door, target, [`Host: ${host}`, bearer])
        const refusal = { code: 'host-not-served', stage: 'host' } as const
        await t.test(`${door} ${target} at ${host.slice(0, 40)}`, async (t) => {
          await assertRefused(t, workspace, answer, refusal)
          t.equal(answer.headers['location'], undefined)
        })
      }
    }
  }
})

t.test('a request without a host, or with two, is answered 421', async (t) => {
  const workspace = await startWorkspace(t)
  const own = 'Host: houston.hubify.com'
  for (const hosts of [
    [],
    [own, own],
    [own, 'Host: evil.example'],
    ['Host: evil.example', own],
    [own, 'host: '],
  ]) {
    for (const upgradeLines of [['Connection: close'], handshake()]) {
      const head = [
        'GET / HTTP/1.1',
        ...hosts,
        ...upgradeLines,
        `Authorization: Bearer ${await token()}`,
      ]
      const answer = parseAnswer(await exchange(workspace.port, `${head.join('\r\n')}\r\n\r\n`))
      await assertRefused(t, workspace, answer, { code: 'host-not-served', stage: 'host' })
    }
  }
  const old = parseAnswer(await exchange(workspace.port, 'GET / HTTP/1.0\r\n\r\n'))
  await assertRefused(t, workspace, old, { code: 'host-not-served', stage: 'host' })
})

t.test(
  'the workspace’s own host, loopback names and addresses are served, with any port',
  async (t) => {
    const { port, logLine } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const host of [
      'houston.hubify.com',
      'HOUSTON.Hubify.COM',
      'houston.hubify.com.',
      'houston.hubify.com:80',
      'houston.hubify.com:8443',
      'localhost',
      'localhost:3000',
      'app.localhost',
      'LOCALHOST',
      '127.0.0.1',
      '127.0.0.1:8080',
      '10.1.2.3',
      '203.0.113.9',
      '[::1]',
      '[::1]:80',
      '[fdaa:0:1::3]:80',
      '[::ffff:127.0.0.1]',
    ]) {
      const answer = await send(port, 'GET /', [`Host: ${host}`, bearer])
      t.equal(answer.status, 200, host)
      const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
      t.equal(line['host'], host.toLowerCase().replace(/\.?(?::[0-9]+)?$/, ''))
    }
  },
)

t.test('health is served whatever the host says', async (t) => {
  const { port, services } = await startWorkspace(t)
  for (const host of ['evil.example', '', 'a b', '[::1', 'houston.hubify.com:0'])
    t.equal((await send(port, 'GET /health', [`Host: ${host}`])).status, 200, host)
  for (const head of [
    'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n',
    'GET /health HTTP/1.0\r\n\r\n',
    'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n',
  ])
    t.match(await exchange(port, head), /^HTTP\/1\.1 200 /, JSON.stringify(head))
  t.ok(services.health.dials() > 0)
})

t.test('added hosts are served, their look-alikes are not', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_ALLOWED_HOSTS: 'work.example.org,.example.com',
  })
  const bearer = `Authorization: Bearer ${await token()}`
  const statusAt = async (host: string) =>
    (await send(port, 'GET /', [`Host: ${host}`, bearer])).status
  for (const host of ['work.example.org', 'example.com', 'a.example.com', 'a.b.example.com:81'])
    t.equal(await statusAt(host), 200, host)
  for (const host of ['x.work.example.org', 'badexample.com', 'example.com.evil', 'example.org'])
    t.equal(await statusAt(host), 421, host)
})

t.test('X-Forwarded-Host and its kin never stand in for Host', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const name of ['X-Forwarded-Host', 'X-Host', 'X-Original-Host', 'Forwarded']) {
    const value = name === 'Forwarded' ? 'host=houston.hubify.com' : 'houston.hubify.com'
    const headers = ['Host: evil.example', `${name}: ${value}`, bearer]
    const answer = await send(workspace.port, 'GET /', headers)
    await assertRefused(t, workspace, answer, { code: 'host-not-served', stage: 'host' })
  }
})
