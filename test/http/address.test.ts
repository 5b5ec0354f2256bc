/** Which address counts as the client's, and can only a trusted proxy report another one than its own? */
import { BlockList, isIP } from 'node:net'
import * as fc from 'fast-check'
import t from 'tap'
import {
  buildClient,
  clientFrom,
  formatAddress,
  matchNetworks,
  parseAddress,
  parseNetworks,
} from '../../src/http/address.ts'
import { anyText } from '../helpers/any-text.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const LOOPBACK = parseNetworks('loopback')
const FLY = [...LOOPBACK, ...parseNetworks('fdaa::/16')]

function addressOf(text: string): string | undefined {
  const bytes = parseAddress(text)
  return bytes === undefined ? undefined : formatAddress(bytes)
}

/** The client's address for a peer and its headers, or the reason why there is none. */
function clientAddress(peer: string | undefined, ...lines: string[]): string {
  return clientFrom(peer, lines, FLY)?.address ?? 'refused'
}

t.test('every spelling of an address is the same address', async (t) => {
  const rows: ReadonlyArray<readonly [text: string, expected: string, why: string]> = [
    ['0.0.0.0', '0.0.0.0', 'the lowest'],
    ['255.255.255.255', '255.255.255.255', 'the highest'],
    ['::', '::', 'nothing'],
    ['::1', '::1', 'loopback'],
    ['0:0:0:0:0:0:0:1', '::1', 'written out'],
    ['0000:0000:0000:0000:0000:0000:0000:0001', '::1', 'with zeros'],
    ['::0:1', '::1', 'partly written out'],
    ['1::', '1::', 'zeros at the end'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0', 'one zero is not shortened'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8', 'no zeros'],
    ['2001:DB8::ABCD', '2001:db8::abcd', 'upper case'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1', 'the first of two equal runs is shortened'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1', 'the longer run is shortened'],
    ['::1.2.3.4', '::102:304', 'IPv4-compatible stays IPv6'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304', 'NAT64 stays IPv6'],
    ['::ffff:0:1.2.3.4', '::ffff:0:102:304', 'IPv4-translated is not mapped'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304', 'a dotted end'],
    ['::ffff:1.2.3.4', '1.2.3.4', 'mapped, dotted'],
    ['::FFFF:1.2.3.4', '1.2.3.4', 'mapped, upper case'],
    ['::ffff:102:304', '1.2.3.4', 'mapped, hexadecimal'],
    ['::ffff:0102:0304', '1.2.3.4', 'mapped, with zeros'],
    ['0:0:0:0:0:ffff:102:304', '1.2.3.4', 'mapped, written out'],
    ['0:0:0:0:0:ffff:1.2.3.4', '1.2.3.4', 'mapped, written out and dotted'],
    ['0000:0000:0000:0000:0000:FFFF:0102:0304', '1.2.3.4', 'mapped, in full'],
    ['0::ffff:1.2.3.4', '1.2.3.4', 'mapped, partly written out'],
    ['::0:ffff:1.2.3.4', '1.2.3.4', 'mapped, partly written out'],
    ['0:0::0:ffff:1.2.3.4', '1.2.3.4', 'mapped, zeros in the middle'],
    ['::ffff:0:0', '0.0.0.0', 'mapped zero'],
    ['::ffff:7f00:1', '127.0.0.1', 'mapped loopback'],
  ]
  for (const [text, expected, why] of rows) t.equal(addressOf(text), expected, `${text}: ${why}`)
})

t.test('text that is not an address is rejected, without guessing', async (t) => {
  const texts = [
    '',
    ' ',
    '1',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.-4',
    '01.2.3.4',
    '1.2.3.04',
    '0177.0.0.1',
    '0x7f.0.0.1',
    '0x7f000001',
    '2130706433',
    '127.1',
    '1.2.3.4 ',
    ' 1.2.3.4',
    '1.2.3.4\n',
    '1.2.3.4:80',
    '1.2.3.4/32',
    '1.2.3.4%eth0',
    '１.2.3.4',
    '٣.1.1.1',
    '1。2。3。4',
    '[::1]',
    '::1]',
    '[::1',
    ':::',
    ':1',
    '1:',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '::12345',
    '::g',
    '::1%eth0',
    'fe80::1%1',
    '::ffff:1.2.3',
    '::ffff:1.2.3.04',
    '::ffff:1.2.3.256',
    '::ffff:0x1.2.3.4',
    '1.2.3.4::',
    '::1.2.3.4:5',
    'localhost',
    'unknown',
    '_hidden',
    'example.com',
  ]
  t.same(
    texts.filter((text) => parseAddress(text) !== undefined),
    [],
  )
})

const RUNS = { seed: 20_260_104, numRuns: 2000 }

t.test('addresses are parsed and formatted as Node and URL parsers do', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV4Extended(), fc.ipV6(), fc.string()), (text) => {
      const bytes = parseAddress(text)
      return (bytes?.length === undefined) === (isIP(text) === 0)
    }),
    RUNS,
  )
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const bytes = parseAddress(text) ?? []
      const [, a = '0', b = '0'] =
        /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(new URL(`http://[${text}]`).hostname) ?? []
      const expected =
        bytes.length === 4
          ? [a, b]
              .flatMap((group) => [
                Number.parseInt(group, 16) >> 8,
                Number.parseInt(group, 16) & 255,
              ])
              .join('.')
          : new URL(`http://[${text}]`).hostname.slice(1, -1)
      return formatAddress(bytes) === expected
    }),
    RUNS,
  )
  const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 0xff), { minLength: 16, maxLength: 16 })
  fc.assert(
    fc.property(sparse, (bytes) => {
      const text = formatAddress(bytes)
      const again = parseAddress(text)
      const isMapped = bytes.slice(0, 12).join() === '0,0,0,0,0,0,0,0,0,0,255,255'
      return (
        text === new URL(`http://[${text}]`).hostname.slice(1, -1) &&
        again?.join() === (isMapped ? bytes.slice(12) : bytes).join()
      )
    }),
    RUNS,
  )
})

t.test('a trusted network is an address, a CIDR or a name', async (t) => {
  const rows: ReadonlyArray<
    readonly [entry: string, inside: readonly string[], outside: readonly string[]]
  > = [
    ['10.0.0.1', ['10.0.0.1', '::ffff:10.0.0.1', '::ffff:a00:1'], ['10.0.0.0', '10.0.0.2']],
    ['10.0.0.0/8', ['10.255.255.255', '::ffff:10.1.2.3'], ['11.0.0.0', '9.255.255.255']],
    ['10.1.2.3/8', ['10.0.0.0'], ['11.1.2.3']],
    ['10.0.0.0/9', ['10.127.255.255'], ['10.128.0.0']],
    ['10.0.0.4/31', ['10.0.0.4', '10.0.0.5'], ['10.0.0.3', '10.0.0.6']],
    ['128.0.0.0/1', ['255.0.0.0'], ['127.255.255.255', '8000::']],
    ['fdaa::/16', ['fdaa:ffff::1'], ['fdab::', '253.170.0.0', '::fdaa']],
    ['2001:db8::/33', ['2001:db8:7fff::'], ['2001:db8:8000::']],
    ['::1', ['::1', '0:0:0:0:0:0:0:1'], ['::', '::2', '0.0.0.1', '127.0.0.1']],
    ['::/64', ['::1', '::1.2.3.4'], ['1.2.3.4', '::ffff:1.2.3.4', '127.0.0.1']],
    ['::ffff:10.0.0.0/104', ['10.1.1.1', '::ffff:10.1.1.1'], ['11.0.0.0']],
    ['::ffff:a00:1', ['10.0.0.1'], ['10.0.0.2']],
    ['::ffff:10.0.0.0/128', ['10.0.0.0'], ['10.0.0.1']],
    ['loopback', ['127.0.0.1', '127.255.0.1', '::1', '::ffff:127.0.0.1'], ['128.0.0.1', '::2']],
    ['linklocal', ['169.254.1.1', 'fe80::1', 'febf::1'], ['169.255.0.0', 'fec0::1']],
    ['uniquelocal', ['10.1.1.1', '172.31.0.1', '192.168.0.1', 'fd00::1'], ['172.32.0.0', 'fe00::']],
  ]
  for (const [entry, inside, outside] of rows) {
    const networks = parseNetworks(entry)
    const match = (text: string) => matchNetworks(parseAddress(text) ?? [], networks)
    t.same(
      inside.filter((text) => !match(text)),
      [],
      `inside ${entry}`,
    )
    t.same(outside.filter(match), [], `outside ${entry}`)
  }
})

t.test('networks contain the same addresses as Node’s BlockList', async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.tuple(
          fc.ipV4(),
          fc.ipV4(),
          fc.integer({ min: 1, max: 32 }),
          fc.constant('ipv4' as const),
        ),
        fc.tuple(
          fc.ipV6(),
          fc.ipV6(),
          fc.integer({ min: 1, max: 128 }),
          fc.constant('ipv6' as const),
        ),
      ),
      fc.integer({ min: 0, max: 128 }),
      ([network, other, bits, family], shared) => {
        // Most addresses share their first bits with the network, because a random one is almost never inside.
        const base = parseAddress(network) ?? []
        const far = parseAddress(other) ?? []
        fc.pre(base.length === far.length && base.length === (family === 'ipv4' ? 4 : 16))
        const near = far.map((byte, i) => {
          const kept = Math.min(8, Math.max(0, shared - 8 * i))
          const mask = (0xff << (8 - kept)) & 0xff
          return ((base[i] ?? 0) & mask) | (byte & ~mask)
        })
        const list = new BlockList()
        list.addSubnet(network, bits, family)
        fc.pre(parseAddress(formatAddress(near))?.length === near.length)
        return (
          matchNetworks(near, parseNetworks(`${network}/${bits}`)) ===
          list.check(formatAddress(near), family)
        )
      },
    ),
    RUNS,
  )
})

t.test('a network that contains every address, or is ambiguous, is refused', async (t) => {
  const rows: ReadonlyArray<readonly [entry: string, message: RegExp]> = [
    ['0.0.0.0/0', /every address/],
    ['::/0', /every address/],
    ['1.2.3.4/0', /every address/],
    ['::ffff:0:0/96', /every address/],
    ['::ffff:0.0.0.0/96', /every address/],
    ['0:0:0:0:0:ffff:0:0/96', /every address/],
    ['::ffff:0:0/0', /outside 96 to 128/],
    ['::ffff:0:0/8', /outside 96 to 128/],
    ['::ffff:0:0/95', /outside 96 to 128/],
    ['::ffff:10.0.0.0/8', /outside 96 to 128/],
    ['::ffff:10.0.0.0/129', /outside 96 to 128/],
    ['10.0.0.0/33', /outside 0 to 32/],
    ['10.0.0.0/128', /outside 0 to 32/],
    ['fdaa::/129', /outside 0 to 128/],
    ['10.0.0.0/', /not a number/],
    ['10.0.0.0/08', /not a number/],
    ['10.0.0.0/010', /not a number/],
    ['10.0.0.0/0x8', /not a number/],
    ['10.0.0.0/8.0', /not a number/],
    ['10.0.0.0/-8', /not a number/],
    ['10.0.0.0/+8', /not a number/],
    ['10.0.0.0/ 8', /not a number/],
    ['10.0.0.0/8 ', /not a number/],
    ['10.0.0.0/1e1', /not a number/],
    ['10.0.0.0/255.0.0.0', /not a number/],
    ['10.0.0.0/8/8', /neither an address/],
    ['010.0.0.0/8', /neither an address/],
    ['10.0.0/8', /neither an address/],
    ['10/8', /neither an address/],
    ['10.*', /neither an address/],
    ['*', /neither an address/],
    ['', /neither an address/],
    ['/8', /neither an address/],
    ['[::1]', /neither an address/],
    ['fe80::1%eth0', /neither an address/],
    ['10.0.0.1:80', /neither an address/],
    ['10.0.0.0-10.0.0.9', /neither an address/],
    ['Loopback', /neither an address/],
    ['constructor', /neither an address/],
    ['__proto__', /neither an address/],
    ['localhost', /neither an address/],
  ]
  for (const [entry, message] of rows) t.throws(() => parseNetworks(entry), message, entry)
})

t.test('an untrusted peer is the client, whatever X-Forwarded-For it sends', async (t) => {
  for (const line of ['1.1.1.1', '127.0.0.1', 'garbage', '', ',,,', '::1, 10.0.0.1'])
    t.equal(clientAddress('203.0.113.9', line), '203.0.113.9', JSON.stringify(line))
  t.match(clientFrom('203.0.113.9', ['1.1.1.1'], FLY), { viaProxy: false })
  t.equal(clientAddress('::ffff:203.0.113.9', '1.1.1.1'), '203.0.113.9', 'a mapped peer')
  t.match(clientFrom('127.0.0.1', ['1.1.1.1'], []), { address: '127.0.0.1', viaProxy: false })
})

t.test('behind a trusted proxy, the client is the rightmost untrusted address', async (t) => {
  const rows: ReadonlyArray<readonly [lines: readonly string[], expected: string, why: string]> = [
    [[], 'fdaa::2', 'nothing was forwarded: the proxy itself is asking'],
    [[''], 'fdaa::2', 'an empty line'],
    [[' , ,'], 'fdaa::2', 'empty entries only'],
    [['198.51.100.7'], '198.51.100.7', 'one hop'],
    [['6.6.6.6, 198.51.100.7'], '198.51.100.7', 'what the client wrote stands left of it'],
    [['6.6.6.6', '198.51.100.7'], '198.51.100.7', 'on several lines'],
    [['198.51.100.7', ''], '198.51.100.7', 'an empty last line'],
    [['198.51.100.7,'], '198.51.100.7', 'an empty last entry'],
    [['198.51.100.7 ,\t, '], '198.51.100.7', 'white space and empty entries'],
    [['\t198.51.100.7 '], '198.51.100.7', 'white space'],
    [['198.51.100.7, fdaa::3, 127.0.0.1'], '198.51.100.7', 'trusted hops are passed over'],
    [['6.6.6.6, 198.51.100.7, fdaa::3'], '198.51.100.7', 'one untrusted hop ends the search'],
    [['fdaa::9, 198.51.100.7'], '198.51.100.7', 'a trusted address that the client claims'],
    [['127.0.0.1, 198.51.100.7'], '198.51.100.7', 'loopback that the client claims'],
    [['198.51.100.7', 'fdaa::3'], '198.51.100.7', 'trusted hops on a line of their own'],
    [['fdaa::5, fdaa::4'], 'fdaa::5', 'all trusted: the leftmost'],
    [['127.0.0.1'], '127.0.0.1', 'all trusted: loopback behind a proxy'],
    [['garbage, 198.51.100.7'], '198.51.100.7', 'garbage that is never read'],
    [['garbage', '198.51.100.7'], '198.51.100.7', 'garbage on an earlier line'],
    [['<script>, 999.1.1.1, 198.51.100.7, fdaa::3'], '198.51.100.7', 'garbage left of the client'],
    [['198.51.100.7, garbage'], 'refused', 'garbage where it is read'],
    [['garbage, fdaa::3'], 'refused', 'garbage behind a trusted hop'],
    [['garbage', 'fdaa::3'], 'refused', 'garbage on the line before'],
    [['unknown'], 'refused', 'no address'],
    [['_secret'], 'refused', 'an obfuscated name of RFC 7239'],
    [['for=1.2.3.4'], 'refused', 'the syntax of another field'],
    [['"1.2.3.4"'], 'refused', 'quotes'],
    [['1.2.3.4 5.6.7.8'], 'refused', 'a space is no separator'],
    [['1.2.3.4;5.6.7.8'], 'refused', 'nor is a semicolon'],
    [['01.2.3.4'], 'refused', 'octal'],
    [['0x1.2.3.4'], 'refused', 'hexadecimal'],
    [['16909060'], 'refused', 'one number'],
    [['\xa0198.51.100.7'], 'refused', 'a no-break space'],
    [['198.51.100.7%eth0'], 'refused', 'a zone'],
    [['fe80::1%eth0'], 'refused', 'a zone'],
    [['198.51.100.7:443'], '198.51.100.7', 'a port'],
    [['198.51.100.7:'], 'refused', 'no port after the colon'],
    [['198.51.100.7:x'], 'refused', 'a port that is no number'],
    [['198.51.100.7:123456'], 'refused', 'a port that is too long'],
    [['198.51.100.7:1:2'], 'refused', 'two ports'],
    [['01.2.3.4:80'], 'refused', 'octal with a port'],
    [['[2001:db8::7]'], '2001:db8::7', 'brackets'],
    [['[2001:db8::7]:443'], '2001:db8::7', 'brackets and a port'],
    [['[::ffff:198.51.100.7]:443'], '198.51.100.7', 'mapped, brackets and a port'],
    [['[198.51.100.7]'], 'refused', 'IPv4 in brackets'],
    [['[]'], 'refused', 'nothing in brackets'],
    [['[::1'], 'refused', 'half a bracket'],
    [['[::1]x'], 'refused', 'something after the bracket'],
    [['[[::1]]'], 'refused', 'two brackets'],
    [['2001:DB8::0007'], '2001:db8::7', 'another spelling'],
    [['::ffff:198.51.100.7'], '198.51.100.7', 'mapped'],
    [['::ffff:c633:6407'], '198.51.100.7', 'mapped, hexadecimal'],
    [['6.6.6.6, ::ffff:127.0.0.1'], '6.6.6.6', 'a trusted hop, mapped'],
    [['6.6.6.6, [fdaa::3]:80'], '6.6.6.6', 'a trusted hop with a port'],
    [[',198.51.100.7'], '198.51.100.7', 'an empty first entry'],
    [[`198.51.100.7${', fdaa::3'.repeat(31)}`], '198.51.100.7', '32 entries'],
    [[`198.51.100.7${', fdaa::3'.repeat(32)}`], 'refused', '33 entries'],
    [['198.51.100.7', ...Array(32).fill('fdaa::3')], 'refused', '33 lines'],
    [['198.51.100.7', ...Array(32).fill('')], 'refused', '33 lines, most of them empty'],
    [[`198.51.100.7${','.repeat(32)}`], 'refused', '33 entries, most of them empty'],
    [[`${'fdaa::3,'.repeat(2000)}198.51.100.7`], '198.51.100.7', '2,000 that are never read'],
    [['1'.repeat(16_000)], 'refused', 'a very long entry'],
    [[`${'x'.repeat(16_000)},198.51.100.7`], '198.51.100.7', 'one that is never read'],
  ]
  for (const [lines, expected, why] of rows)
    t.equal(clientAddress('fdaa::2', ...lines), expected, `${lines.join(' | ')}: ${why}`)
  t.match(clientFrom('fdaa::2', ['198.51.100.7'], FLY), { viaProxy: true })
  t.equal(clientAddress('::ffff:127.0.0.1', '198.51.100.7'), '198.51.100.7', 'a mapped proxy')
  t.equal(clientAddress('fdaa::2%eth0', '198.51.100.7'), '198.51.100.7', 'a peer with a zone')
})

t.test('a Unix socket is trusted, and a peer without an address is no client', async (t) => {
  t.match(clientFrom(undefined, ['198.51.100.7'], []), { address: '198.51.100.7', viaProxy: true })
  t.match(clientFrom(undefined, [], []), { address: '127.0.0.1', viaProxy: true })
  t.equal(clientFrom('', ['198.51.100.7'], FLY), undefined)
  t.equal(clientFrom('nonsense', [], FLY), undefined)
})

t.test('entries to the left of the client’s address change nothing', async () => {
  fc.assert(
    fc.property(fc.array(anyText(12)), fc.ipV4(), (claims, real) => {
      fc.pre(!matchNetworks(parseAddress(real) ?? [], FLY))
      return (
        clientAddress('fdaa::2', ...claims, `x, ${real}`) === real &&
        clientAddress('fdaa::2', [...claims, real].join(',')) === real
      )
    }),
    RUNS,
  )
})

t.test(
  'a rate limit is counted per IPv4 address or IPv6 /64, or per /24 or /48 when the table is full',
  async (t) => {
    const rows: ReadonlyArray<readonly [address: string, budgetKey: string, sharedKey: string]> = [
      ['1.2.3.4', '1.2.3.4', '1.2.3.0/24'],
      ['::ffff:1.2.3.4', '1.2.3.4', '1.2.3.0/24'],
      ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64', '2001:db8:1::/48'],
      ['2001:db8:1:2::', '2001:db8:1:2::/64', '2001:db8:1::/48'],
      ['2001:db8:1:ffff:ffff:ffff:ffff:ffff', '2001:db8:1:ffff::/64', '2001:db8:1::/48'],
      ['::1', '::/64', '::/48'],
      ['fdaa:0:1:a7b::2', 'fdaa:0:1:a7b::/64', 'fdaa:0:1::/48'],
    ]
    for (const [address, budgetKey, sharedKey] of rows)
      t.match(buildClient(parseAddress(address) ?? [], false), { budgetKey, sharedKey }, address)
  },
)

t.test('a host cannot evade its rate limit by changing its address within its /64', async () => {
  fc.assert(
    fc.property(fc.ipV6(), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (address, host) => {
      const bytes = parseAddress(address) ?? []
      fc.pre(bytes.length === 16)
      const moved = bytes.map((byte, i) =>
        i < 8 ? byte : Number((host >> BigInt(8 * (15 - i))) & 255n),
      )
      return buildClient(bytes, false).budgetKey === buildClient(moved, false).budgetKey
    }),
    RUNS,
  )
})

t.test(
  'CVE-2026-30827: IPv4-mapped addresses neither share one rate limit nor evade their own',
  async (t) => {
    const key = (address: string) => buildClient(parseAddress(address) ?? [], false).budgetKey
    t.equal(key('::ffff:1.2.3.4'), key('1.2.3.4'))
    t.not(key('::ffff:1.2.3.5'), key('::ffff:1.2.3.4'))
  },
)

t.test(
  'CVE-2026-90711, CVE-2026-92395: an IPv4-mapped prefix means exactly its IPv4 network',
  async (t) => {
    const networks = parseNetworks('::ffff:10.0.0.0/104')
    t.ok(matchNetworks(parseAddress('10.9.9.9') ?? [], networks))
    t.notOk(matchNetworks(parseAddress('11.0.0.1') ?? [], networks))
    t.notOk(matchNetworks(parseAddress('a00::') ?? [], networks))
    t.throws(() => parseNetworks('::ffff:0:0/0'))
    t.throws(() => parseNetworks('::ffff:0:0/96'))
  },
)

t.test('GO-2024-2917: an IPv4-mapped address is loopback if its IPv4 address is', async (t) => {
  t.ok(matchNetworks(parseAddress('::ffff:127.0.0.1') ?? [], LOOPBACK))
  t.ok(matchNetworks(parseAddress('::ffff:7f00:1') ?? [], LOOPBACK))
})

t.test('CVE-2026-39409: an IPv6 network never contains an IPv4 address', async (t) => {
  t.notOk(matchNetworks([10, 0, 0, 1], parseNetworks('a00:1::/32')))
  t.notOk(matchNetworks(parseAddress('a00:1::') ?? [], parseNetworks('10.0.0.1')))
})

t.test('16 KiB of X-Forwarded-For are parsed in linear time', async (t) => {
  const units = [',', ' ', 'fdaa::1,', '::1 ,', '[', ':', '1.', '[::1]:80,', '1:', ', \t']
  for (const unit of units) {
    const line = unit.repeat(Math.floor((16 * 1024) / unit.length))
    const cost = cpuMs(() => {
      clientAddress('fdaa::2', line)
      clientAddress('fdaa::2', `${line}x`)
    })
    t.ok(cost < LINEAR_MS, JSON.stringify(unit))
  }
})
