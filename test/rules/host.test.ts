/** Which values of `Host` are valid, and which hosts are served? */
import * as fc from 'fast-check'
import t from 'tap'
import { isLoopbackHost, matchHost, parseAuthority, parseHostRule } from '../../src/rules/host.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const PUBLIC = 'houston.hubify.com'

/** Whether a value of `Host` is served; undefined when it is invalid. */
function served(text: string, ...rules: string[]): boolean | undefined {
  const authority = parseAuthority(text)
  return authority && matchHost(authority, PUBLIC, rules.map(parseHostRule))
}

t.test('a host is a name or an address, with or without a port', async (t) => {
  const long = `${'a'.repeat(63)}.`.repeat(3)
  const rows: ReadonlyArray<
    readonly [text: string, host: string, port: string | undefined, isIpLiteral: boolean]
  > = [
    ['houston.hubify.com', 'houston.hubify.com', undefined, false],
    ['houston.hubify.com:443', 'houston.hubify.com', '443', false],
    ['HOUSTON.Hubify.COM', 'houston.hubify.com', undefined, false],
    ['houston.hubify.com.', 'houston.hubify.com', undefined, false],
    ['houston.hubify.com.:80', 'houston.hubify.com', '80', false],
    ['localhost:3000', 'localhost', '3000', false],
    ['a', 'a', undefined, false],
    ['a-b_c.d1', 'a-b_c.d1', undefined, false],
    ['1a.example', '1a.example', undefined, false],
    ['4.example', '4.example', undefined, false],
    ['xn--hxajbheg2az3al.example', 'xn--hxajbheg2az3al.example', undefined, false],
    [`${long}${'b'.repeat(61)}`, `${long}${'b'.repeat(61)}`, undefined, false],
    ['a:1', 'a', '1', false],
    ['a:65535', 'a', '65535', false],
    ['127.0.0.1', '127.0.0.1', undefined, true],
    ['127.0.0.1.', '127.0.0.1', undefined, true],
    ['127.0.0.1:80', '127.0.0.1', '80', true],
    ['255.255.255.255', '255.255.255.255', undefined, true],
    ['[::1]', '[::1]', undefined, true],
    ['[::1]:8080', '[::1]', '8080', true],
    ['[FDAA::1]', '[fdaa::1]', undefined, true],
    ['[::ffff:127.0.0.1]', '[::ffff:127.0.0.1]', undefined, true],
  ]
  for (const [text, host, port, isIpLiteral] of rows)
    t.same(parseAuthority(text), { host, port, isIpLiteral }, text)
})

t.test('any other value of Host is invalid', async (t) => {
  const texts = [
    '',
    ' ',
    '.',
    '..',
    ':',
    ':80',
    'a:',
    'a:0',
    'a:00',
    'a:65536',
    'a:99999',
    'a:100000',
    'a:-1',
    'a:+1',
    'a:0x50',
    'a:8 0',
    'a:80:80',
    'a:http',
    ' a',
    'a ',
    'a b',
    'a\tb',
    'a\n',
    'a\0',
    'a,b',
    'a;b',
    'a/b',
    'a/',
    '/',
    'a\\b',
    'a?b',
    'a#b',
    'a%2eb',
    'a%00',
    '%61',
    'a*b',
    '*',
    '*.example.com',
    'a@b',
    'user@houston.hubify.com',
    'user:password@houston.hubify.com',
    'houston.hubify.com@evil.example',
    'houston.hubify.com:80@evil.example',
    'houston.hubify.com:@evil.example',
    'http://houston.hubify.com',
    '//houston.hubify.com',
    'houston.hubify.com/evil.example',
    'houston.hubify.com#.evil.example',
    'houston.hubify.com..',
    'houston..hubify.com',
    '.houston.hubify.com',
    '-a.example',
    'a-.example',
    'a.-b',
    'a.b-',
    '-',
    'höuston.example',
    'h\xf6uston.example',
    'houston。hubify。com',
    'houston．hubify.com',
    'ｌocalhost',
    'localhost\u200b',
    'ⓛocalhost',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(126)}bc`,
    'a'.repeat(300),
    '[',
    ']',
    '[]',
    '[:]',
    '[::1',
    '::1',
    '::1]',
    '[::1]]',
    '[[::1]]',
    '[::1]x',
    '[::1]:',
    '[::1]:0',
    '[::1]:x',
    '[::1].example',
    '[::1%25eth0]',
    '[::1%eth0]',
    '[::g]',
    '[1]',
    '[a]',
    '[127.0.0.1]',
    '[127.0.0.1]:80',
    '[v1.fe80::a]',
    '[::ffff:127.0.0.01]',
    '[1:2:3:4:5:6:7:8:9]',
    "'a'",
    '"a"',
    '<a>',
    'a&b',
    'a=b',
    'a|b',
    '${jndi:ldap://evil.example}',
  ]
  t.same(
    texts.filter((text) => parseAuthority(text) !== undefined),
    [],
  )
})

t.test('names that browsers read as an IPv4 address are invalid', async (t) => {
  const texts = [
    '0',
    '1',
    '127.1',
    '127.0.1',
    '127.0.0.01',
    '127.0.0.1.1',
    '0177.0.0.1',
    '0177.0.0.01',
    '017700000001',
    '2130706433',
    '0x7f000001',
    '0X7F000001',
    '0x7f.1',
    '0x7f.0.0.1',
    '127.0.0.0x1',
    '127.0.0.0x',
    '0x',
    '1.2.3.256',
    '256.256.256.256',
    '999999999999',
    'example.1',
    'example.0x1',
    'localhost.1',
    '127.1.',
    '2130706433:80',
    '1.2.3.4.5',
  ]
  t.same(
    texts.filter((text) => parseAuthority(text) !== undefined),
    [],
  )
})

t.test('the workspace, loopback names and addresses are always served', async (t) => {
  const texts = [
    'houston.hubify.com',
    'HOUSTON.hubify.com:8443',
    'houston.hubify.com.',
    'localhost',
    'localhost.',
    'LOCALHOST:3000',
    'houston.localhost',
    'a.b.localhost:80',
    '127.0.0.1',
    '10.1.2.3:80',
    '8.8.8.8',
    '[::1]',
    '[fdaa:0:1::2]:80',
  ]
  for (const text of texts) t.equal(served(text), true, text)
})

t.test('other names are not served, however similar', async (t) => {
  const texts = [
    'research.hubify.com',
    'hubify.com',
    'com',
    'xhouston.hubify.com',
    'x.houston.hubify.com',
    'houston.hubify.com.evil.example',
    'houston.hubify.co',
    'houston.hubify.comx',
    'houston-hubify.com',
    'houstonxhubify.com',
    'houston',
    'localhost.evil.example',
    'a.localhost.evil.example',
    'localhostx',
    'xlocalhost',
    'x-localhost',
    'localhost.localdomain',
    'evil.example',
    '127.0.0.1.evil.example',
    '127.0.0.1.nip.io',
    '_',
  ]
  for (const text of texts) t.equal(served(text), false, text)
})

t.test(
  'a rule allows its host; a rule with a leading dot allows a domain and its subdomains',
  async (t) => {
    const rows: ReadonlyArray<readonly [rule: string, host: string, expected: boolean]> = [
      ['app.example.com', 'app.example.com', true],
      ['app.example.com', 'APP.example.com:1234', true],
      ['APP.Example.com', 'app.example.com', true],
      ['app.example.com.', 'app.example.com', true],
      ['app.example.com', 'x.app.example.com', false],
      ['app.example.com', 'example.com', false],
      ['app.example.com', 'appxexample.com', false],
      ['intranet', 'intranet', true],
      ['intranet', 'x.intranet', false],
      ['.example.com', 'example.com', true],
      ['.example.com', 'a.example.com', true],
      ['.example.com', 'a.b.EXAMPLE.com.', true],
      ['.EXAMPLE.com', 'a.example.com', true],
      ['.example.com', 'badexample.com', false],
      ['.example.com', 'bad-example.com', false],
      ['.example.com', 'example.com.evil', false],
      ['.example.com', 'a.example.com.evil', false],
      ['.example.com', 'com', false],
      ['*', 'anything.at.all', true],
      ['10.0.0.1', 'evil.example', false],
    ]
    for (const [rule, host, expected] of rows)
      t.equal(served(host, rule), expected, `${rule}: ${host}`)
    t.equal(served('b.example', 'a.example', 'b.example'), true, 'any of several')
    t.equal(served('not a host', '*'), undefined, 'not even * serves what is no host')
  },
)

t.test('a rule that is ambiguous or too wide is refused', async (t) => {
  const wrong = [
    '',
    '.',
    '..',
    ' ',
    'a b',
    'a:80',
    '.a.example:80',
    '*.example.com',
    '**',
    'http://a.example',
    'a.example/',
    'a_b..c',
    '127.1',
    '[::1',
    '..example.com',
  ]
  for (const rule of wrong) t.throws(() => parseHostRule(rule), /neither a host name/, rule)
  for (const rule of ['.com', '.localhost', '.127.0.0.1', '.com.'])
    t.throws(() => parseHostRule(rule), /top-level domain or an address/, rule)
})

t.test('loopback hosts are this machine itself', async (t) => {
  const rows: ReadonlyArray<readonly [text: string, expected: boolean]> = [
    ['localhost', true],
    ['a.localhost:80', true],
    ['127.0.0.1', true],
    ['127.255.255.254', true],
    ['[::1]', true],
    ['[0:0:0:0:0:0:0:1]:80', true],
    ['[::ffff:127.0.0.1]', true],
    ['[::ffff:7f00:1]', true],
    ['0.0.0.0', false],
    ['[::]', false],
    ['[::2]', false],
    ['[1::1]', false],
    ['128.0.0.1', false],
    ['10.0.0.1', false],
    ['[::ffff:10.0.0.1]', false],
    ['houston.hubify.com', false],
    ['localhost.hubify.com', false],
    ['a.localhost.hubify.com', false],
    ['127.0.0.1.nip.io', false],
  ]
  for (const [text, expected] of rows) {
    const authority = parseAuthority(text)
    t.equal(authority && isLoopbackHost(authority), expected, text)
  }
})

t.test('a URL parser finds the same host as the gateway', async (t) => {
  let hosts = 0
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(
          'a',
          'B',
          '-',
          '_',
          '.',
          '0',
          '1',
          '127',
          '0x7f',
          ':',
          '80',
          '[',
          '::1',
          ']',
          '@',
          '%',
        ),
        { minLength: 1, maxLength: 6 },
      ),
      (parts) => {
        const text = parts.join('')
        const authority = parseAuthority(text)
        if (authority === undefined) return true
        hosts++
        const url = URL.parse(`http://${text}/`)
        const isAddress = url !== null && /^\[|^[0-9.]+$/.test(url.hostname)
        return (
          url !== null &&
          isAddress === authority.isIpLiteral &&
          (authority.host.startsWith('[') || url.hostname.replace(/\.$/, '') === authority.host) &&
          Number(url.port || '80') === Number(authority.port ?? '80')
        )
      },
    ),
    { seed: 20_260_105, numRuns: 10_000 },
  )
  t.ok(hosts > 500, `${hosts} hosts`)
})

t.test('16 KiB of a hostile Host are parsed in linear time', async (t) => {
  for (const unit of ['a', 'a.', '-', 'a-', '.', '[', ':', '1.', '0x', '_', 'a_.']) {
    const cost = cpuMs(() => {
      parseAuthority(unit.repeat(Math.floor((16 * 1024) / unit.length)))
      parseAuthority(`${unit.repeat(Math.floor((16 * 1024) / unit.length))}!`)
    })
    t.ok(cost < LINEAR_MS, unit)
  }
})
