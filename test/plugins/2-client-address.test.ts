/** Is the client the one that a trusted proxy names, and nobody else's word believed? */
import t from 'tap'
import { assertRefused, client, DOORS, knock } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

t.test(
  'a trusted proxy names the client: the rightmost address that is not itself trusted',
  async (t) => {
    const { port, logLine, services } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    const rows: Array<[lines: string[], address: string]> = [
      [[], '127.0.0.1'],
      [['203.0.113.9'], '203.0.113.9'],
      [['1.2.3.4, 203.0.113.9'], '203.0.113.9'],
      [['1.2.3.4,203.0.113.9'], '203.0.113.9'],
      [['1.2.3.4', '203.0.113.9'], '203.0.113.9'],
      [['203.0.113.9, fdaa:0:1::3'], '203.0.113.9'],
      [['1.2.3.4, 203.0.113.9, fdaa::1, 127.0.0.1'], '203.0.113.9'],
      [['not an address at all, 203.0.113.9'], '203.0.113.9'],
      [['<script>, "\\", 203.0.113.9'], '203.0.113.9'],
      [['203.0.113.9:4711'], '203.0.113.9'],
      [['[2001:db8::1]:4711'], '2001:db8::1'],
      [['[2001:db8::1]'], '2001:db8::1'],
      [['2001:DB8:0:0:0:0:0:1'], '2001:db8::1'],
      [['::ffff:203.0.113.9'], '203.0.113.9'],
      [['::FFFF:cb00:7109'], '203.0.113.9'],
      [[' 203.0.113.9 '], '203.0.113.9'],
      [['203.0.113.9,'], '203.0.113.9'],
      [[', ,203.0.113.9, ,'], '203.0.113.9'],
      [[''], '127.0.0.1'],
      [['127.0.0.1'], '127.0.0.1'],
      [['fdaa::7, 127.0.0.1'], 'fdaa::7'],
      [['10.0.0.1'], '10.0.0.1'],
    ]
    for (const [lines, address] of rows) {
      const answer = await send(port, 'GET /', [bearer, ...lines.map(client)])
      t.equal(answer.status, 200, lines.join(' | '))
      t.match(await logLine(({ id }) => id === answer.headers['x-request-id']), { client: address })
      t.equal(services.dashboard.requests.at(-1)?.headers['x-forwarded-for'], address)
    }
  },
)

t.test(
  'an entry of a trusted proxy that is no address is refused over HTTP and as an upgrade',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const value of [
      'unknown',
      '_hidden',
      'localhost',
      'houston.hubify.com',
      '203.0.113',
      '203.0.113.9.1',
      '203.0.113.256',
      '203.0.113.09',
      '0xcb.0.113.9',
      '3405803785',
      '203.0.113.9:',
      '203.0.113.9:port',
      '203.0.113.9:123456',
      '203.0.113.9/32',
      '203.0.113.9 evil',
      '1.2.3.4 203.0.113.9',
      '1.2.3.4;203.0.113.9',
      'for=203.0.113.9',
      '"203.0.113.9"',
      '2001:db8::1::2',
      '2001:db8::g',
      '[2001:db8::1',
      '2001:db8::1]',
      '[203.0.113.9]',
      '[]',
      'fe80::1%eth0',
      '::ffff:203.0.113.999',
      '203.0.113.9, unknown',
      '1.2.3.4, 203.0.113.9, ???',
      '\xff\xfe',
      '127.0.0.1,'.repeat(1000),
      `203.0.113.9${', fdaa::1'.repeat(40)}`,
    ]) {
      for (const door of DOORS) {
        await t.test(`${door} ${value.slice(0, 40)}`, async (t) => {
          const answer = await knock(workspace.port, door, '/', [bearer, client(value)])
          const line = await assertRefused(t, workspace, answer, {
            code: 'bad-request',
            stage: 'client-address',
          })
          t.equal(line['client'], '127.0.0.1', 'the peer is blamed')
          t.notMatch(JSON.stringify(line), 'hidden')
        })
      }
    }
  },
)

t.test('nobody is believed when no proxy is trusted', async (t) => {
  const { port, logLine, services } = await startWorkspace(t, { GATEWAY_TRUSTED_PROXIES: 'none' })
  const bearer = `Authorization: Bearer ${await token()}`
  const answer = await send(port, 'GET /', [
    bearer,
    client('203.0.113.9'),
    client('garbage'),
    'X-Forwarded-Proto: https',
    'X-Real-IP: 203.0.113.9',
    'Forwarded: for=203.0.113.9;proto=https',
    'Fly-Client-IP: 203.0.113.9',
    'CF-Connecting-IP: 203.0.113.9',
    'True-Client-IP: 203.0.113.9',
  ])
  t.equal(answer.status, 200)
  t.match(await logLine(({ id }) => id === answer.headers['x-request-id']), { client: '127.0.0.1' })
  const seen = services.dashboard.requests.at(-1)
  t.match(seen?.headers, { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
  t.notMatch(JSON.stringify(seen?.rawHeaders), '203.0.113.9')
})

t.test(
  'only X-Forwarded-For names the client, and only X-Forwarded-Proto the scheme',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const field of [
      'X-Real-IP: 203.0.113.9',
      'Forwarded: for=203.0.113.9;proto=https',
      'Fly-Client-IP: 203.0.113.9',
      'X-Client-IP: 203.0.113.9',
      'X_Forwarded_For: 203.0.113.9',
      'X-Forwarded-Scheme: https',
      'X-Forwarded-Ssl: on',
      'Front-End-Https: on',
      'X-Url-Scheme: https',
    ]) {
      t.equal((await send(port, 'GET /', [bearer, field])).status, 200, field)
      const { headers } = services.dashboard.requests.at(-1) ?? { headers: {} }
      t.match(headers, { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' }, field)
    }
  },
)

t.test('the proxy that spoke last says how the client came', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const rows: Array<[lines: string[], scheme: string]> = [
    [['https'], 'https'],
    [['HTTPS'], 'https'],
    [['http'], 'http'],
    [['http, https'], 'https'],
    [['https, http'], 'http'],
    [['https', 'http'], 'http'],
    [['wss'], 'https'],
    [['WSS'], 'https'],
    [['ws'], 'http'],
    [['"https"'], 'https'],
    [['"wss"'], 'https'],
    [['"http"'], 'http'],
    [['http, wss'], 'https'],
    [['https, ws'], 'http'],
    [['http,'], 'http'],
    [['https,'], 'https'],
    [['"https'], 'http'],
    [['https"'], 'http'],
    [['"http,https"'], 'http'],
    [['xhttps'], 'http'],
    [['httpss'], 'http'],
    [[''], 'http'],
    [['https://'], 'http'],
    [['nonsense'], 'http'],
    [[], 'http'],
  ]
  for (const [lines, scheme] of rows) {
    await send(port, 'GET /', [bearer, ...lines.map((line) => `X-Forwarded-Proto: ${line}`)])
    t.equal(
      services.dashboard.requests.at(-1)?.headers['x-forwarded-proto'],
      scheme,
      lines.join(' | '),
    )
  }
})
