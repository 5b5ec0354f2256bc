/** What if the keeper is old, new, slow, broken or hostile? Does the gateway stay up, and make sense of it? */
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import t from 'tap'
import { parseServiceUrl } from '../../src/config/values.ts'
import { Session } from '../../src/identity/session.ts'
import { lookAtTerminals } from '../../src/terminals/ask-keeper.ts'
import { TerminalKeeper, type TerminalKeeperOptions } from '../../src/terminals/keeper-client.ts'
import { ENTRY, listenOnFile, READY, startFakeKeeper } from '../helpers/fake-keeper.ts'
import { recordingLogger } from '../helpers/operations.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually, SOON_MS, watchForCrashes } from '../helpers/waiting.ts'

function clientOf(
  { address }: Pick<TerminalKeeperOptions, 'address'>,
  options: Partial<TerminalKeeperOptions> = {},
) {
  const { logger, lines } = recordingLogger()
  const client = new TerminalKeeper({
    ...{ address, logger, isInCharge: () => true, endOf: () => Infinity },
    ...options,
  })
  return { client, said: () => lines().map(({ msg }) => msg) }
}

const session = new Session('session-1', 'browser', {
  subject: 'alice',
  endsAt: Infinity,
  kid: 'k',
})

t.test('what is behind the address is told apart', async (t) => {
  const looks: Array<[what: string, answer: object | RequestListener, kind: string]> = [
    ['a keeper', READY, 'keeper'],
    ['a newer keeper', { ...READY, protocol: 2 }, 'other-version'],
    ['the oldest keeper', { ...READY, protocol: 0 }, 'other-version'],
    ['a keeper whose answer lacks something', { protocol: 1, version: '1.0.0' }, 'other-version'],
    ['times that are none', { ...READY, startedAt: 1e300 }, 'other-version'],
    ['counts that are none', { ...READY, attached: -1 }, 'other-version'],
    ['no protocol', { version: '1.0.0' }, 'ttyd'],
    ['a protocol that is none', { ...READY, protocol: '1' }, 'ttyd'],
    ['a list', [], 'ttyd'],
    ['null', (_request, response) => response.end('null'), 'ttyd'],
    ['no JSON', (_request, response) => response.end('<html>'), 'ttyd'],
    ['nothing', (_request, response) => response.end(), 'ttyd'],
    ['a 401', (_request, response) => response.writeHead(401).end('{}'), 'ttyd'],
    ['a 302', (_request, response) => response.writeHead(302, { Location: '/' }).end(), 'ttyd'],
    ['too much', (_request, response) => response.end(`"${'x'.repeat(2 << 20)}"`), 'ttyd'],
    ['an end in between', (request) => request.socket.destroy(), 'away'],
    [
      'a body that is cut',
      (_request, response) => {
        response.writeHead(200, { 'Content-Length': 1000 }).write('{')
        response.socket?.end()
      },
      'away',
    ],
    [
      'another protocol',
      ({ socket }) =>
        socket.end('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
      'ttyd',
    ],
    ['no HTTP', ({ socket }) => socket.end('220 smtp.example ESMTP\r\n'), 'away'],
  ]
  for (const [what, answer, kind] of looks) {
    const { address } = await startFakeKeeper(t, { 'GET /_ready': answer })
    t.equal((await lookAtTerminals(address)).kind, kind, what)
  }
  const { address } = await startFakeKeeper(t, {
    'GET /_ready': { protocol: 7, version: '\u001b[31m9.9' },
  })
  t.same(await lookAtTerminals(address), { kind: 'other-version', protocol: 7, version: 'unknown' })
  const absent = await lookAtTerminals(parseServiceUrl(`unix:${temporaryFolder(t)}/none`))
  t.match(absent, { kind: 'away', isAbsent: true, why: 'ENOENT' })
  t.same(await lookAtTerminals(parseServiceUrl('http://127.0.0.1:1')), { kind: 'ttyd' })
})

const NAMED = [
  ...['X-Workspace-Session', 'session-1', 'X-Workspace-User', 'alice'],
  ...['X-Workspace-Session-Mark', 'browser k'],
]

t.test('only a keeper that is understood hears of sessions', async (t) => {
  const { address: understood } = await startFakeKeeper(t, { 'GET /_ready': READY })
  const named = await clientOf({ address: understood }).client.headersFor(session)
  t.same(named, NAMED)
  for (const ready of [{ ...READY, protocol: 2 }, { ...READY, parked: null }, {}]) {
    const { address } = await startFakeKeeper(t, { 'GET /_ready': ready })
    t.same(await clientOf({ address }).client.headersFor(session), [])
  }
  const odd = new Session('s', 'program', {
    ...{ subject: 'Ünal\r\nX-Evil: 1', endsAt: Date.now() - 1000.5, kid: 'k', graceMs: 30_000 },
  })
  const headers = await clientOf({ address: understood }).client.headersFor(odd)
  t.equal(headers[3], '%C3%9Cnal%0D%0AX-Evil:%201')
  t.match(headers[5], /^\d+$/)
  t.ok(Number(headers[5]) > Date.now(), 'within the leeway the shell has the leeway too')
})

t.test(
  'a list that is not as the protocol says is refused, and nothing is ended by it',
  async (t) => {
    const bad: Array<[what: string, list: unknown]> = [
      ['no object', 7],
      ['no list', {}],
      ['no list of objects', { terminals: [7] }],
      ['too many', { terminals: Array.from({ length: 1025 }, () => ENTRY) }],
      ['an id with a path', { terminals: [{ ...ENTRY, id: '../x' }] }],
      ['no id', { terminals: [{ ...ENTRY, id: undefined }] }],
      ['an unknown state', { terminals: [{ ...ENTRY, state: 'asleep' }] }],
      ['no title', { terminals: [{ ...ENTRY, title: 1 }] }],
      ['a title of a megabyte', { terminals: [{ ...ENTRY, title: 'x'.repeat(100_000) }] }],
      ['a time that no date has', { terminals: [{ ...ENTRY, since: 9e15 }] }],
      ['a size that is none', { terminals: [{ ...ENTRY, columns: 1.5 }] }],
      ['a sub that cannot be read', { terminals: [{ ...ENTRY, sub: '%ff' }] }],
      ['a sid that is none', { terminals: [{ ...ENTRY, sid: {} }] }],
      ['an end that is none', { terminals: [{ ...ENTRY, ends: '1' }] }],
    ]
    for (const [what, list] of bad) {
      const fake = await startFakeKeeper(t, {
        'GET /_ready': READY,
        'GET /_terminals': list as object,
      })
      const { client, said } = clientOf(fake, { endOf: () => undefined })
      await t.rejects(client.list(), { code: 'upstream-unreachable' }, what)
      await client.compare()
      t.same(said(), ['the keeper of terminals did not answer as one'])
      t.notOk(fake.asked.some((line) => /^(?:DELETE|PUT)/.test(line)))
    }
  },
)

t.test('sessions that are over are ended, and others are told their end', async (t) => {
  const HOUR = 3_600_000
  const at = Date.now()
  const list = [
    { ...ENTRY, id: 'a1', sid: 'over' },
    { ...ENTRY, id: 'a2', sid: 'over', state: 'attached' },
    { ...ENTRY, id: 'b1', sid: 'a&b=c', ends: at + HOUR },
    { ...ENTRY, id: 'c1', sid: 'same', ends: at + HOUR },
    { ...ENTRY, id: 'd1', sid: 'mixed', title: 'old' },
    { ...ENTRY, id: 'd2', sid: 'mixed' },
    { ...ENTRY, id: 'e1', sid: undefined },
    { ...ENTRY, id: 'f1', sid: 'forever', ends: at },
  ]
  const ends: Record<string, number | undefined> = {
    'a&b=c': at + 2 * HOUR,
    same: at + HOUR,
    mixed: Infinity,
    forever: Infinity,
  }
  const changes = {
    'DELETE /_terminals?sid=over': { ended: 2 },
    [`PUT /_terminals?sid=a%26b%3Dc&ends=${at + 2 * HOUR}`]: { renewed: 1 },
    'DELETE /_terminals/d1': { ended: 1 },
    'PUT /_terminals?sid=forever': { renewed: 1 },
  }
  const fake = await startFakeKeeper(t, {
    ...changes,
    'GET /_ready': READY,
    'GET /_terminals': { terminals: list },
  })
  const endOf: TerminalKeeperOptions['endOf'] = ({ sid = '', title }) =>
    title === 'old' ? undefined : ends[sid]
  const { client, said } = clientOf(fake, { endOf })
  await client.compare()
  t.same(new Set(fake.asked), new Set([...Object.keys(changes), 'GET /_ready', 'GET /_terminals']))
  t.equal(fake.asked.length, 6)
  t.same(said(), [])
  t.same(client.lastCounts(), { attached: 1, parked: 7, exited: 0 })
})

t.test('a gateway that is not in charge asks nothing', async (t) => {
  const fake = await startFakeKeeper(t, {
    'GET /_ready': READY,
    'GET /_terminals': { terminals: [ENTRY] },
  })
  let isInCharge = false
  const { client } = clientOf(fake, { isInCharge: () => isInCharge, endOf: () => undefined })
  client.sessionsChanged()
  client.check(performance.now(), Date.now())
  await client.compare()
  t.same(fake.asked, [])
  isInCharge = true
  const { client: replaced } = clientOf(fake, {
    isInCharge: () => isInCharge,
    endOf() {
      isInCharge = false // a successor takes over between the list and what follows from it
      return undefined
    },
  })
  await replaced.compare()
  t.same(fake.asked, ['GET /_ready', 'GET /_terminals'])
})

t.test(
  'after sessions have changed it looks again for a moment, and then once a minute',
  async (t) => {
    const fake = await startFakeKeeper(t, {
      'GET /_ready': READY,
      'GET /_terminals': { terminals: [] },
    })
    const { client } = clientOf(fake)
    const looks = async (afterMs: number) => {
      client.check(performance.now() + afterMs, Date.now())
      await client.compare()
      return fake.asked.filter((line) => line === 'GET /_terminals').length
    }
    t.equal(await looks(0), 1, 'at the start')
    t.equal(await looks(50_000), 1)
    t.equal(await looks(60_001), 2)
    client.sessionsChanged()
    t.equal(await looks(0), 3, 'at once')
    t.equal(await looks(1001), 4, 'a handshake that was under way may have come later')
  },
)

t.test('a keeper that does not answer is asked again, with one line of log', async (t) => {
  let isBroken = true
  const fake = await startFakeKeeper(t, {
    'GET /_ready': READY,
    'GET /_terminals': (_request, response) =>
      response.end(JSON.stringify(isBroken ? {} : { terminals: [ENTRY] })),
    'DELETE /_terminals?sid=session-1': { ended: 1 },
  })
  const { client, said } = clientOf(fake, { endOf: () => undefined })
  await client.compare()
  client.check(performance.now(), Date.now()) // too early
  await client.compare()
  for (let seconds = 2; seconds < 5; seconds++) {
    client.check(performance.now() + seconds * 1000, Date.now())
    await client.compare()
  }
  t.same(said(), ['the keeper of terminals did not answer as one'])
  isBroken = false
  client.check(performance.now() + 10_000, Date.now())
  await client.compare()
  t.ok(fake.asked.includes('DELETE /_terminals?sid=session-1'))
  t.same(said().slice(1), ['the keeper of terminals answers again'])
})

t.test('a keeper that is silent costs two seconds, and never a rejection', async (t) => {
  const crashes = watchForCrashes()
  const silent = createTcpServer(() => {})
  const trickling = createServer((_request, response) => {
    response.writeHead(200)
    const timer = setInterval(() => response.write(' '), 20)
    response.on('close', () => clearInterval(timer))
  })
  await Promise.all([silent, trickling].map((server) => examine(server)))

  async function examine(server: Server | ReturnType<typeof createTcpServer>): Promise<void> {
    const { client } = clientOf(await listenOnFile(t, server))
    t.equal(client.lastCounts(), undefined, 'a scrape does not wait')
    const begun = performance.now()
    const [headers, side] = await Promise.all([client.headersFor(session), client.look()])
    await client.compare()
    t.match(
      headers,
      NAMED,
      'it may be a keeper, which keeps no shell of a handshake without a session',
    )
    t.match(side, { kind: 'away', isAbsent: false, why: 'ETIMEDOUT' })
    t.ok(performance.now() - begun < 2 * SOON_MS)
    await Promise.all([
      t.rejects(client.list(), { code: 'upstream-unreachable' }),
      t.rejects(client.end('aa'), { code: 'upstream-unreachable' }),
    ])
  }
  t.same(crashes, [])
})

t.test('without a Unix socket nothing is asked, and nothing waits', async (t) => {
  const { client } = clientOf({ address: parseServiceUrl('http://127.0.0.1:1') })
  t.same(await client.headersFor(session), [])
  t.same(await client.list(), [])
  t.equal(await client.end('aa'), false)
  t.equal(client.lastCounts(), undefined)
  client.sessionsChanged()
  client.check(Infinity, Infinity)
  await client.compare()
})

t.test('a burst of handshakes looks once', async (t) => {
  const fake = await startFakeKeeper(t, { 'GET /_ready': READY })
  const { client } = clientOf(fake)
  await Promise.all(Array.from({ length: 50 }, () => client.headersFor(session)))
  await client.headersFor(session)
  t.equal(fake.asked.length, 1)
  for (let i = 0; i < 50; i++) client.lastCounts()
  await eventually(() => fake.asked.length === 2, 'one list for all scrapes')
})
