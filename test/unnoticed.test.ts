/** Decisions that once could be broken without any test noticing it: one test for each. */
import t from 'tap'
import { clientFrom, parseNetworks } from '../src/http/address.ts'
import { BasicMemory } from '../src/terminals/safari-password.ts'
import { SlidingWindowLimiter } from '../src/limits/budget.ts'
import { sanitizeSetCookie, withoutOwnCookies } from '../src/http/cookies.ts'
import { browserSession, principalOf } from './helpers/principal.ts'
import { Exchange } from '../src/request/exchange.ts'
import { HOP_BY_HOP, removeNominated } from '../src/http/hop-by-hop.ts'
import { parseAuthority } from '../src/rules/host.ts'
import { buildLocationRewriter } from '../src/http/location.ts'
import { loggedPath } from '../src/observe/logged-path.ts'
import { buildRequestHeaders } from '../src/http/to-service.ts'
import { buildResponseHeaders, type ReturnedAnswer } from '../src/http/to-client.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { namesSensitiveFile } from '../src/rules/sensitive.ts'
import type { Target } from '../src/rules/target.ts'

t.test('case is folded beside letters that are not ASCII', async (t) => {
  for (const path of ['/%C3%A9/.ENV', '/.ENV/%C3%A9/..', '/%C3%89/Server.KEY', '/é.ENV'])
    t.ok(namesSensitiveFile({ path, query: '' } as Target, []), path)
})

/** What is known of an answer of no special kind. */
const ANSWER: ReturnedAnswer = {
  status: 200,
  requestId: 'id',
  signedIn: false,
  isolatedAt: undefined,
  allowOrigin: undefined,
  extra: [],
  rewriteLocation: (location) => location,
}

t.test(
  'a nominated name is taken away where it is a name, never where it is a value',
  async (t) => {
    const headers = ['X-A', 'set-cookie', 'X-B', 'x-a', 'Set-Cookie', 'a=b']
    removeNominated(headers, 0, ['set-cookie'], false)
    t.same(headers, ['X-A', 'set-cookie', 'X-B', 'x-a'])
    const answer = buildResponseHeaders(
      ['X-A', 'x-b', 'x-b', 'Set-Cookie', 'x-c', 'workspace_session=evil', 'Connection', 'x-b'],
      ANSWER,
    )
    t.same(answer.slice(0, 4), ['X-A', 'x-b', 'x-c', 'workspace_session=evil'])
    t.notOk(answer.some((text, i) => i % 2 === 0 && text.toLowerCase() === 'set-cookie'))
  },
)

t.test(
  'digits inside or at the start of a later label of a host are letters like others',
  async (t) => {
    for (const host of ['a.b1.example.com', 'x.1a.example', 'a.0xg.b', 'houston.9lives'])
      t.equal(parseAuthority(host)?.host, host, host)
    for (const host of ['a.1', 'x.0x1', 'houston.hubify.99'])
      t.equal(parseAuthority(host), undefined, host)
  },
)

t.test('text before a bracketed address is no address', async (t) => {
  for (const host of ['x[::1]', 'evil.example[::1]:80', ' [::1]', '[::1]x', '[::1]:80x'])
    t.equal(parseAuthority(host), undefined, host)
  const trusted = parseNetworks('loopback')
  for (const hop of ['x[::1]', '1.2.3.4[::1]', '[::1]x', '[::1]:80x', 'x1.2.3.4:80'])
    t.equal(clientFrom('127.0.0.1', [hop], trusted), undefined, hop)
})

t.test('Proxy-Authentication-Info belongs to the hop, both ways', async (t) => {
  const request = buildRequestHeaders(['Proxy-Authentication-Info', 'x', 'X-A', 'b'], {
    ...{ mode: 'none', requestId: 'id', host: 'h', clientAddress: '', scheme: 'https' },
    ...{ user: undefined, workspace: 'houston', dropAuthorization: false },
    ...{ authorization: undefined, allowNextData: false, upgrade: false },
  })
  t.same(request, ['Host', 'h', 'X-A', 'b', 'X-Request-Id', 'id'])
  const answer = buildResponseHeaders(['Proxy-Authentication-Info', 'x', 'X-A', 'b'], ANSWER)
  t.same(answer.slice(0, 2), ['X-A', 'b'])
})

t.test('the memory of Basic credentials goes by the real clocks', async (t) => {
  const expiring = (expiresAt: number) => {
    const principal = principalOf(browserSession('s', { endsAt: expiresAt * 1000 }))
    const credential = { kind: 'cookie', outcome: principal } as const
    return Object.assign(new Exchange(), { credential, principal })
  }
  for (const [seconds, lends] of [
    [60, true],
    [-60, false],
  ] as const) {
    const memory = new BasicMemory()
    const exchange = expiring(Date.now() / 1000 + seconds)
    memory.watch(exchange, ['Authorization', 'Basic eDp5'])?.(200)
    t.equal(memory.lend(exchange, []) !== undefined, lends, `${seconds} s`)
    memory.check(performance.now(), Date.now())
    t.equal(memory.size, lends ? 1 : 0)
    memory.check(performance.now() + 299_000, Date.now())
    t.equal(memory.size, lends ? 1 : 0, 'just before five minutes have passed')
    memory.check(performance.now() + 300_000, Date.now())
    t.equal(memory.size, 0, 'five minutes after they were accepted')
  }
})

t.test('requests of a predecessor leave the window in the order of their times', async (t) => {
  let clock = 0
  const options = { limit: 4, windowSeconds: 60, capacity: 10, now: () => clock }
  const predecessor = new SlidingWindowLimiter(options)
  const successor = new SlidingWindowLimiter(options)
  for (const [limiter, at] of [
    [successor, 10_000],
    [predecessor, 0],
    [predecessor, 20_000],
    [successor, 30_000],
  ] as const) {
    clock = at
    limiter.take('a')
  }
  successor.restore(predecessor.save())
  const refused = successor.take('a')
  t.ok(refused.consumedPoints > 4)
  t.ok(
    Math.abs(refused.msBeforeNext - 30_000) < 500,
    `the oldest one leaves in ${refused.msBeforeNext} ms`,
  )
  clock = 65_000
  t.equal(successor.take('a').consumedPoints, 4, 'only the oldest one has left')
})

t.test('a cookie whose name only ends like ours is somebody else’s', async (t) => {
  for (const name of [
    '%workspace_session',
    'x%workspace_session',
    '$workspace_session',
    '!__Host-workspace_session',
  ]) {
    t.equal(withoutOwnCookies(`${name}=a; b=c`), `${name}=a; b=c`, name)
    t.equal(sanitizeSetCookie(`${name}=a; Path=/`), `${name}=a; Path=/`, name)
  }
})

t.test('only the gateway’s own paths are no place to come back to', async (t) => {
  const origin = 'https://houston.hubify.com'
  for (const path of ['/docs/_gateway/x', '/docs/_gateway', '/_gatewayx', '/x?y=/_gateway/'])
    t.equal(returnPath(path, origin), path)
  for (const path of ['/_gateway', '/_gateway/x', '/_gateway/sign-out', '/docs/../_gateway/x'])
    t.equal(returnPath(path, origin), '/')
})

t.test('a long place to return to is taken only when it is ours as it is written', async (t) => {
  const origin = 'https://houston.hubify.com'
  const rest = 'x'.repeat(1100)
  for (const path of [`/${rest}`, `/a?b=${origin}/${rest}`])
    for (const text of [path, `${origin}${path}`])
      t.equal(returnPath(text, origin), path, text.slice(0, 40))
  // The host of these is ours too, but only to a parser that has normalized all of it.
  for (const text of [
    'HTTPS://houston.hubify.com',
    'https://HOUSTON.hubify.com',
    '//houston.hubify.com',
  ]) {
    t.equal(returnPath(`${text}/${rest}`, origin), '/', text)
    t.equal(returnPath(`${text}/?${origin}/${rest}`, origin), '/', text)
    t.equal(returnPath(`${text}/x`, origin), '/x', 'a short one may be parsed')
    const longest = `${text}/${rest}`.slice(0, 1024)
    t.equal(returnPath(longest, origin), longest.slice(text.length), '1,024 characters')
    t.equal(returnPath(`${longest}x`, origin), '/', '1,025 characters')
  }
})

t.test('every field of one hop ends here, and only the handshake’s own fields stay', async (t) => {
  const names = [
    ...['keep-alive', 'proxy-authenticate', 'proxy-authentication-info', 'proxy-authorization'],
    ...['proxy-connection', 'te', 'trailer', 'trailers', 'transfer-encoding', 'upgrade'],
    'http2-settings',
  ]
  t.same(HOP_BY_HOP, names)
  const headers = ['X-Sec-WebSocket-Key', 'a', 'Sec-WebSocket-Key', 'b', 'Content-Length', '0']
  const nominated = ['x-sec-websocket-key', 'sec-websocket-key', 'content-length']
  const handshake = [...headers]
  removeNominated(handshake, 0, nominated, true)
  t.same(handshake, headers.slice(2))
  const other = [...headers]
  removeNominated(other, 0, nominated, false)
  t.same(other, headers.slice(4))
})

t.test(
  'a service’s own address is found by all of its digits, and nothing else is touched',
  async (t) => {
    const rewrite = buildLocationRewriter(['[fd00::10]'], '3001', '')
    t.equal(rewrite('http://[fd00::10]:3001/x'), '/x')
    t.equal(rewrite('http://[fd00::10]:3001/a//b'), '/a//b')
    t.equal(rewrite('http://[fd00::10]:3001//b'), '/.//b')
    t.equal(rewrite('http://[fd00::11]:3001/x'), 'http://[fd00::11]:3001/x')
    t.equal(rewrite('http://[fd00::10]:3001?a/b'), '/?a/b')
    const port443 = buildLocationRewriter(['localhost'], '443', '')
    for (const scheme of ['https', 'HTTPS', 'Https'])
      t.equal(port443(`${scheme}://localhost/x`), '/x', scheme)
    const port80 = buildLocationRewriter(['localhost'], '80', '')
    t.equal(port80('HTTPS://localhost/x'), 'HTTPS://localhost/x')
    t.equal(port80('//localhost/x'), '/x')
  },
)

t.test(
  'in a path that is cut, only what may be a token at the cut is left out as one',
  async (t) => {
    const cut = (start: string, end: string) =>
      loggedPath(`${start}${'x'.repeat(512 - start.length - end.length)}${end}${'y'.repeat(50)}`)
    t.match(cut('/eyJa.b.c/', ''), /^\/eyJa\.b\.c\/x+…$/)
    t.match(cut('/hub_a/', '/hub_abc'), /^\/hub_a\/x+\/\[token\]…$/)
    t.match(cut('/', '/eyJ'), /^\/x+\/\[token\]…$/)
  },
)
