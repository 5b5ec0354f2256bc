/** What can strangers do on the port of the limits service, with pipelines and with crowds of connections? Not keep callers waiting, nor out. */
import { once } from 'node:events'
import t from 'tap'
import { BEARER, limitsFor } from '../helpers/limits.ts'
import { eventually } from '../helpers/waiting.ts'
import { exchange, gather, open, requestBytes } from '../helpers/wire.ts'

const JSON_TYPE = 'Content-Type: application/json'

const taking = (body: string) =>
  requestBytes('POST /v1/provision', [BEARER, JSON_TYPE, `Content-Length: ${body.length}`], body)

/** How many answers stand in a text, by status. */
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, code]) => code)

t.test('what stands behind a refused request in its packet is not done', async (t) => {
  const limits = await limitsFor(t)
  const cases: ReadonlyArray<readonly [refused: string, status: string]> = [
    [requestBytes('GET /v1/provision?user=ada'), '401'],
    [requestBytes('GET /v1/provision?user=ada', ['Authorization: Bearer x']), '401'],
    [requestBytes('GET /healthz', ['Expect: x', BEARER]), '400'],
    [requestBytes('GET /healthz', [BEARER, BEARER]), '400'],
    [
      requestBytes('POST /v1/provision', [BEARER, 'Transfer-Encoding: x, chunked'], '0\r\n\r\n'),
      '400',
    ],
    [
      requestBytes(
        'POST /v1/provision',
        [BEARER, JSON_TYPE, 'Content-Length: 5000'],
        'x'.repeat(5000),
      ),
      '413',
    ],
  ]
  for (const [refused, status] of cases) {
    const text = await exchange(limits.port, refused + taking('{"user":"ada"}'))
    t.same(statuses(text), [status], refused.slice(0, 200))
    t.match(text, /\r\nConnection: close\r\n/)
  }
  t.same(limits.store.changes, [])
})

t.test('a stranger has one answer of a connection, and a caller has all', async (t) => {
  const limits = await limitsFor(t)
  const probe = requestBytes('GET /healthz')
  t.same(statuses(await exchange(limits.port, probe.repeat(1000))), ['200'])
  t.same(statuses(await exchange(limits.port, requestBytes('GET /').repeat(1000))), ['401'])
  t.equal(limits.counts.errors['token-required'], 1)
  t.equal(limits.counts.errors['bad-request'], 0, 'what is not read is no fault')
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(requestBytes('GET /healthz', [BEARER]) + probe.repeat(999))
  const text = await received.until((all) => statuses(all).length === 1000)
  t.same([...new Set(statuses(text))], ['200'])
  socket.destroy()
})

t.test('CONNECT behind another request is no request', async (t) => {
  const limits = await limitsFor(t)
  limits.store.hold()
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(taking('{"user":"ada"}') + requestBytes('CONNECT x:443', [BEARER]))
  await limits.store.holds(1)
  limits.store.letGo()
  t.same(statuses((await received.over).text), ['200', '400'])
  const stranger = requestBytes('GET /') + requestBytes('CONNECT x:443')
  t.same(statuses(await exchange(limits.port, stranger)), ['401'])
})

t.test('whoever has been answered to CONNECT holds no connection', async (t) => {
  const limits = await limitsFor(t)
  const socket = await open(limits.port)
  socket.allowHalfOpen = true
  socket.resume()
  socket.write(requestBytes('CONNECT x:443'))
  await once(socket, 'end')
  await eventually(() => socket.destroyed || !socket.write('x'), 'the other side is gone')
})

t.test('strangers that hold every connection keep no caller out', async (t) => {
  const limits = await limitsFor(t)
  const caller = await open(limits.port)
  const received = gather(caller)
  caller.write(taking('{"user":"ada"}'))
  await received.until((text) => text.includes('"ada"'))
  const strangers = await Promise.all(Array.from({ length: 1023 }, () => open(limits.port)))
  const oldest = strangers.map((socket) => once(socket, 'close'))[0]
  t.equal((await limits.ask('POST /v1/provision', { user: 'bob' })).status, 200)
  await oldest
  caller.write(taking('{"user":"cyd"}'))
  await received.until((text) => text.includes('"cyd"'))
  t.same(statuses(received.text()), ['200', '200'], 'and none out of its own connection')
  for (const socket of [...strangers, caller]) socket.destroy()
})

t.test('while the service stops, all requests of a pipeline are answered', async (t) => {
  const limits = await limitsFor(t)
  limits.store.hold()
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(taking('{"user":"ada"}') + taking('{"user":"bob"}'))
  await limits.store.holds(2)
  const drained = limits.drain()
  limits.store.letGo()
  const { text } = await received.over
  t.same(statuses(text), ['200', '200'])
  t.equal(text.match(/Connection: close/g)?.length, 1)
  await drained
})
