/** What does the limits service do with bytes that are no request, with slow callers and with those that leave? Over raw sockets. */
import { once } from 'node:events'
import t from 'tap'
import { BEARER, jsonOf, limitsFor, type TestLimits } from '../helpers/limits.ts'
import { elapse, eventually, SOON_MS, within } from '../helpers/waiting.ts'
import { exchange, gather, open, parseAnswer, requestBytes, send } from '../helpers/wire.ts'

const JSON_TYPE = 'Content-Type: application/json'
const BODY = '{"user":"ada","grant":"a"}'

/** The bytes of a request to take a point. */
const taking = (body = BODY, fields: readonly string[] = []) =>
  requestBytes(
    'POST /v1/provision',
    [BEARER, JSON_TYPE, `Content-Length: ${body.length}`, ...fields],
    body,
  )

/** The same with a coding of its body, which is in one chunk. */
const chunked = (coding: string) =>
  requestBytes(
    'POST /v1/provision',
    [BEARER, JSON_TYPE, `Transfer-Encoding: ${coding}`],
    `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`,
  )

/** How many answers stand in a text, by status. */
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, code]) => code)

t.test(
  'bytes that are no request are answered with a problem document, and that is all',
  async (t) => {
    const limits = await limitsFor(t)
    const cases: ReadonlyArray<readonly [bytes: string, status: number, code: string]> = [
      ['GARBAGE\r\n\r\n', 400, 'bad-request'],
      ['\u0016\u0003\u0001\u0000\u00a5\u0001', 400, 'bad-request'],
      ['GET / HTTP/9.9\r\n\r\n', 400, 'bad-request'],
      ['GET /healthz HTTP/0.9\r\nHost: x\r\n\r\n', 400, 'bad-request'],
      ['GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n', 400, 'bad-request'],
      ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'bad-request'],
      ['GET /healthz HTTP/1.1\r\n\r\n', 400, 'bad-request'],
      ['GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n', 400, 'bad-request'],
      ['GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\u0000b\r\n\r\n', 400, 'bad-request'],
      [taking(BODY, ['Transfer-Encoding: chunked']), 400, 'bad-request'],
      [taking(BODY, ['Content-Length: 3']), 400, 'bad-request'],
      [taking().replace(/Content-Length: \d+/, 'Content-Length: x'), 400, 'bad-request'],
      [chunked('gzip, chunked'), 400, 'bad-request'],
      [chunked('chunked').replace('HTTP/1.1', 'HTTP/1.0'), 400, 'bad-request'],
      [taking().replace(/Content-Length: \d+/, 'Transfer-Encoding: chunked'), 400, 'bad-request'],
      [taking('', ['Expect: a-miracle']), 400, 'bad-request'],
      [taking(BODY, ['Host: x', 'Host: y']), 400, 'bad-request'],
      [taking(BODY, [BEARER]), 400, 'bad-request'],
      [taking(BODY, ['Authorization: Bearer x']), 400, 'bad-request'],
      [taking(BODY, ['Content-Type: text/plain']), 400, 'bad-request'],
      [requestBytes('GET /healthz', [`X: ${'x'.repeat(8192)}`]), 431, 'headers-too-large'],
      [requestBytes(`GET /${'x'.repeat(9000)}`), 431, 'headers-too-large'],
    ]
    for (const [bytes, status, code] of cases) {
      const text = await exchange(limits.port, bytes)
      const answer = parseAnswer(text)
      const about = JSON.stringify(bytes.slice(0, 80))
      t.equal(answer.status, status, about)
      t.match(jsonOf(answer), { status, code, type: `urn:workspace-gateway:limits:${code}` }, about)
      t.equal(answer.headers['x-gateway-error'], code, about)
      t.equal(answer.headers['connection'], 'close', about)
      t.equal(answer.headers['content-type'], 'application/problem+json', about)
      t.equal(statuses(text).length, 1, about)
      t.notMatch(text, /HPE_|FST_|Parse Error|node:/, about)
    }
    t.same(limits.store.changes, [])
  },
)

t.test('CONNECT is answered as any other request', async (t) => {
  const limits = await limitsFor(t)
  const stranger = parseAnswer(await exchange(limits.port, requestBytes('CONNECT x:443')))
  t.equal(stranger.status, 401)
  const asked = await exchange(limits.port, requestBytes('CONNECT x:443', [BEARER]))
  t.equal(parseAnswer(asked).status, 404)
  t.same(limits.store.changes, [])
})

t.test('an offer to speak another protocol is ignored, and ends the connection', async (t) => {
  const limits = await limitsFor(t)
  const offer = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const text = await exchange(
    limits.port,
    requestBytes('GET /v1/provision?user=ada', [BEARER, ...offer]) + taking(),
  )
  t.same(statuses(text), ['200'])
  t.equal(parseAnswer(text).headers['connection'], 'close')
  t.same(limits.store.changes, [], 'what followed the offer in its packet is no request')
  const post = parseAnswer(await exchange(limits.port, taking(BODY, offer)))
  t.equal(post.status, 200)
  t.equal(post.headers['connection'], 'close')
  t.same(limits.store.changes, ['take provision ada a'])
})

t.test('a caller may wait for 100 Continue before it sends the body', async (t) => {
  const limits = await limitsFor(t)
  const socket = await open(limits.port)
  const received = gather(socket)
  const [head = ''] = taking(BODY, ['Expect: 100-continue', 'Connection: close']).split('{')
  socket.write(head)
  await received.until((text) => text.includes('100 Continue'))
  t.same(limits.store.changes, [])
  socket.write(BODY)
  t.same(statuses((await received.over).text), ['100', '200'])
})

t.test('requests behind each other on one connection are answered in their order', async (t) => {
  const limits = await limitsFor(t)
  limits.store.hold()
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(taking() + requestBytes('GET /healthz') + taking(BODY) + requestBytes('GET /v1/x'))
  await limits.store.holds(1)
  t.equal(received.text(), '')
  limits.store.letGo()
  const text = await received.until((all) => statuses(all).length === 4)
  t.same(statuses(text), ['200', '200', '200', '401'])
  t.match(text, /"repeated":true/)
  await received.over
})

t.test('bytes that are no request are answered behind the requests before them', async (t) => {
  const limits = await limitsFor(t)
  limits.store.hold()
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(`${taking()}${requestBytes('GET /healthz')}GARBAGE\r\n\r\n`)
  await limits.store.holds(1)
  socket.write('MORE\r\n\r\n')
  await eventually(() => limits.lines().length > 0, 'the garbage was read')
  await elapse(50, 'more arrives')
  t.equal(received.text(), '', 'who was asked first is answered first')
  limits.store.letGo()
  const { text } = await received.over
  t.same(statuses(text), ['200', '200', '400'])
  t.match(text, /"grant":"a","repeated":false/)
  t.equal(limits.counts.errors['bad-request'], 1, 'and counted once')
})

t.test('a body in chunks is read as any other', async (t) => {
  const limits = await limitsFor(t)
  t.same(statuses(await exchange(limits.port, chunked('Chunked'), 200)), ['200'])
})

t.test('a body that breaks in the middle takes nothing', async (t) => {
  const limits = await limitsFor(t)
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(chunked('chunked').replace('\r\n0\r\n', '\r\nzz\r\n'))
  t.same(statuses((await received.over).text), ['400'])
  t.same(limits.store.changes, [])
})

t.test('a request that takes too long is answered 408', async (t) => {
  const limits = await limitsFor(t, { times: { requestMs: 100, checkMs: 20 } })
  for (const part of ['GET /hea', taking().slice(0, -5), taking().slice(0, 40)]) {
    const socket = await open(limits.port)
    const received = gather(socket)
    socket.write(part)
    const { text } = await received.over
    const answer = parseAnswer(text)
    t.equal(answer.status, 408, part)
    t.match(jsonOf(answer), { code: 'request-timeout', detail: /longer than 10 s$/ }, part)
    t.same(statuses(text), ['408'])
  }
  t.same(limits.store.changes, [])
})

t.test('a caller that is waited for by the store is not too slow itself', async (t) => {
  const limits = await limitsFor(t, { times: { requestMs: 100, checkMs: 20 } })
  limits.store.hold()
  const asked = limits.ask('POST /v1/provision', BODY)
  await limits.store.holds(1)
  await elapse(300, 'longer than a request may take to arrive')
  limits.store.letGo()
  t.equal((await asked).status, 200)
})

t.test(
  'a connection without a request is closed after a while, and before it after none',
  async (t) => {
    const limits = await limitsFor(t, { times: { keepAliveMs: 100, checkMs: 20 } })
    const socket = await open(limits.port)
    const received = gather(socket)
    socket.write(requestBytes('GET /healthz', [BEARER]))
    await received.until((text) => text.includes('"ok"'))
    socket.write(requestBytes('GET /healthz'))
    t.same(statuses((await received.over).text), ['200', '200'])
  },
)

t.test('a caller may end its side behind its request', async (t) => {
  const limits = await limitsFor(t)
  limits.store.hold()
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.end(taking())
  await limits.store.holds(1)
  await elapse(50, 'the end of its side arrives')
  limits.store.letGo()
  t.same(statuses((await received.over).text), ['200'])
})

t.test('a caller that leaves harms nobody', async (t) => {
  const limits = await limitsFor(t)
  const leave = async (bytes: string) => {
    const socket = await open(limits.port)
    socket.resume()
    socket.write(bytes)
    return socket
  }
  const early = await leave(taking().slice(0, -5))
  early.end()
  await once(early, 'close')
  const reset = await leave(taking().slice(0, -5))
  reset.resetAndDestroy()
  t.same(limits.store.changes, [])
  limits.store.hold()
  const late = await leave(taking())
  await limits.store.holds(1)
  late.resetAndDestroy()
  limits.store.letGo()
  const again = await limits.ask('POST /v1/provision', BODY)
  t.match(jsonOf(again), { grant: 'a', repeated: true }, 'its answer can still be asked for')
})

t.test('a stranger does not keep a connection, and a large body of one is not read', async (t) => {
  const limits = await limitsFor(t)
  const answer = await exchange(limits.port, requestBytes('GET /v1/provision?user=ada'))
  t.equal(parseAnswer(answer).headers['connection'], 'close')
  const socket = await open(limits.port)
  const received = gather(socket)
  const head = requestBytes('POST /v1/provision', [JSON_TYPE, 'Content-Length: 1000000000'])
  socket.write(`${head}${'x'.repeat(100_000)}`)
  const text = await received.until((all) => all.includes('token-required'))
  t.same(statuses(text), ['401'])
  socket.destroy()
  t.same(limits.store.changes, [])
})

t.test('whoever is refused in the middle of a body reads the answer', async (t) => {
  const limits = await limitsFor(t)
  const cases: ReadonlyArray<readonly [fields: readonly string[], status: string]> = [
    [[], '401'],
    [[BEARER], '415'],
    [[BEARER, JSON_TYPE], '413'],
  ]
  for (const [fields, status] of cases) {
    const socket = await open(limits.port)
    const length = 2_000_000
    socket.write(
      requestBytes('POST /v1/provision', [...fields, `Content-Length: ${length}`], 'x'.repeat(9)),
    )
    socket.pause() // so that the answer is still in the kernel when a reset would come
    await eventually(() => limits.counts.errors[codeOf(status)] === 1, 'it was refused')
    socket.write('x'.repeat(length - 9))
    const { over } = gather(socket)
    await elapse(50, 'a reset would arrive')
    socket.resume()
    const { text, how } = await over
    t.same(statuses(text), [status])
    t.equal(how, 'ended', status)
  }
  t.same(limits.store.changes, [])
})

/** The code of a refusal with this status. */
function codeOf(status: string) {
  if (status === '401') return 'token-required'
  return status === '413' ? 'body-too-large' : 'unsupported-media-type'
}

t.test('strangers are logged at once, and then in sums', async (t) => {
  const limits = await limitsFor(t)
  const lines = () => limits.lines().filter(({ msg }) => msg === 'strangers refused')
  await send(limits.port, 'GET /v1/provision?user=secret-of-somebody')
  t.match(lines(), [{ level: 'info', codes: { 'token-required': 1 } }])
  for (let i = 0; i < 20; i++) await send(limits.port, 'GET /', ['Authorization: Bearer guess'])
  await exchange(limits.port, 'GARBAGE\r\n\r\n')
  await eventually(() => sumOf(limits, 'token-invalid') === 20, 'all are counted')
  await eventually(() => sumOf(limits, 'bad-request') === 1, 'and this too')
  const times = lines().map(({ time }) => Date.parse(String(time)))
  for (const [i, time] of times.slice(1).entries())
    t.ok(time - (times[i] ?? 0) > 900, 'one line a second')
  t.notMatch(JSON.stringify(limits.lines()), /secret-of-somebody|guess|GARBAGE/)
})

t.test('strangers that were not logged yet are logged at the end', async (t) => {
  const limits = await limitsFor(t)
  for (let i = 0; i < 5; i++) await send(limits.port, 'GET /')
  await limits.close()
  t.equal(sumOf(limits, 'token-required'), 5)
})

/** How many refusals with a code were logged. */
function sumOf(limits: TestLimits, code: string): number {
  return limits
    .lines()
    .flatMap(({ codes }) => (codes as Record<string, number> | undefined)?.[code] ?? 0)
    .reduce((sum, count) => sum + count, 0)
}

t.test('draining answers what is under way, and ends the rest', async (t) => {
  const limits = await limitsFor(t)
  const idle = await open(limits.port)
  const idleOver = gather(idle).over
  const kept = await open(limits.port)
  const keptReceived = gather(kept)
  kept.write(requestBytes('GET /healthz', [BEARER]))
  await keptReceived.until((text) => text.includes('"ok"'))
  const half = await open(limits.port)
  const halfReceived = gather(half)
  half.write(taking('{"user":"bob"}').slice(0, -5))
  limits.store.hold()
  const busy = await open(limits.port)
  const busyReceived = gather(busy)
  busy.write(taking())
  await limits.store.holds(1)
  const drained = limits.drain()
  await idleOver
  await keptReceived.over
  half.write('bob"}')
  await limits.store.holds(2)
  t.equal(busyReceived.text(), '')
  limits.store.letGo()
  const halfText = (await halfReceived.over).text
  t.same(statuses(halfText), ['200'])
  t.equal(parseAnswer(halfText).headers['connection'], 'close')
  t.same(statuses((await busyReceived.over).text), ['200'])
  t.ok(await within(SOON_MS, drained))
  t.same(limits.store.changes.map((change) => change.split(' ')[2] ?? '').toSorted(), [
    'ada',
    'bob',
  ])
})

t.test('only the probe says that the service is stopping', async (t) => {
  const limits = await limitsFor(t)
  const [first, second] = [await open(limits.port), await open(limits.port)]
  const received = [gather(first), gather(second)] as const
  const health = requestBytes('GET /healthz')
  first.write(health.slice(0, -2))
  second.write(taking().slice(0, -5))
  await eventually(() => first.bytesWritten > 0 && second.bytesWritten > 0, 'both have begun')
  // Their bytes have been read, or else they would be ended as silent.
  await send(limits.port, 'GET /healthz')
  const drained = limits.drain()
  first.write(health.slice(-2))
  second.write(taking().slice(-5))
  const answer = parseAnswer((await received[0].over).text)
  t.equal(answer.status, 503)
  t.equal(answer.headers['retry-after'], '1')
  t.match(jsonOf(answer), { code: 'draining' })
  t.same(statuses((await received[1].over).text), ['200'])
  await drained
})
