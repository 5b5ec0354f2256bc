/** Does a device read exactly the answer that was sent, and nothing that is none? */
import * as fc from 'fast-check'
import t from 'tap'
import { sendRequest, type RemoteRequest } from '../../../src/relay/client/http.ts'
import { digestOf } from '../../helpers/fake-workspace.ts'
import { memoryStream } from '../../helpers/memory-stream.ts'
import { failure, openDevice, startSurroundings } from '../../helpers/remote-device.ts'
import { standsStill } from '../../helpers/waiting.ts'

/** Sends a request whose answer is these bytes, in pieces. */
async function asked(pieces: readonly string[], request: Partial<RemoteRequest> = {}) {
  const stream = memoryStream()
  const answer = sendRequest(stream.way, { path: '/', ...request })
  answer.catch(() => {})
  for (const piece of pieces) stream.send(piece)
  stream.end()
  return { stream, answer }
}

/** The whole answer, in one line. */
async function read(pieces: readonly string[], request: Partial<RemoteRequest> = {}) {
  const { answer } = await asked(pieces, request)
  const whole = await answer
  return `${whole.status} ${await whole.text()}`
}

t.test(
  'a request is what was asked for, to the workspace’s host, on a connection of its own',
  async (t) => {
    const { stream, answer } = await asked(['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'], {
      ...{ method: 'POST', path: '/api/x?y=%20', body: 'größe' },
      headers: { 'Content-Type': 'text/plain' },
    })
    t.equal(await (await answer).text(), 'ok')
    t.equal(
      Buffer.from(stream.sent, 'latin1').toString(),
      [
        'POST /api/x?y=%20 HTTP/1.1',
        'Host: houston.hubify.com',
        'Connection: close',
        'Content-Length: 7',
        'Content-Type: text/plain',
        '',
        'größe',
      ].join('\r\n'),
    )
    t.equal(stream.ended, 'end')
    t.equal(stream.consumed, 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'.length)
  },
)

t.test('nothing that a caller says can become a second request', async (t) => {
  const stream = memoryStream()
  for (const request of [
    { path: '' },
    { path: 'x' },
    { path: 'http://example.com/' },
    { path: '/ HTTP/1.1\r\nHost: x' },
    { path: '/a b' },
    { path: '/ä' },
    { path: '/#x' },
    { path: '/\u007f' },
    { path: '/', method: 'get' },
    { path: '/', method: 'CONNECT' },
    { path: '/', method: 'GET / HTTP/1.1\r\n' },
    { path: '/', headers: { 'X Y': 'z' } },
    { path: '/', headers: { '': 'z' } },
    { path: '/', headers: { X: 'y\r\nZ: z' } },
    { path: '/', headers: { X: 'y\0' } },
    { path: '/', headers: { X: 'ü' } },
    { path: '/', headers: { host: 'example.com' } },
    { path: '/', headers: { 'Transfer-Encoding': 'chunked' } },
    { path: '/', headers: { 'content-length': '0' } },
    { path: '/', headers: { Connection: 'keep-alive' } },
    { path: '/', headers: { Upgrade: 'h2c' } },
    { path: '/', headers: { Expect: '100-continue' } },
  ])
    await t.rejects(
      sendRequest(stream.way, request),
      failure('bad-request'),
      JSON.stringify(request),
    )
  t.equal(stream.sent, '')
})

t.test('an answer in very many chunks is put together', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  const whole = await read([head, '1\r\nx\r\n'.repeat(200_000), '0\r\n\r\n'])
  t.ok(whole === `200 ${'x'.repeat(200_000)}`)
})

t.test('every way in which a body can end is understood', async (t) => {
  const ok = 'HTTP/1.1 200 OK\r\n'
  for (const [answer, read_] of [
    [`${ok}Content-Length: 3\r\n\r\nabc`, '200 abc'],
    [`${ok}Content-Length: 0\r\n\r\n`, '200 '],
    [`${ok}\r\nuntil the end`, '200 until the end'],
    [
      `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x="y"\r\n0123456789\r\n0\r\n\r\n`,
      '200 abc0123456789',
    ],
    [`${ok}Transfer-Encoding: Chunked\r\n\r\n0\r\nX: y\r\n\r\n`, '200 '],
    ['HTTP/1.1 204 No Content\r\n\r\n', '204 '],
    ['HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', '304 '],
    ['HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx', '200 x'],
    ['HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx', '200 x'],
    ['HTTP/1.0 404 Not Found\r\n\r\nx', '404 x'],
    [`HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok}Content-Length: 1\r\n\r\nx`, '200 x'],
  ] as const) {
    t.equal(await read([answer]), read_, answer)
    t.equal(await read(Array.from(answer)), read_, 'the same, byte by byte')
  }
  t.equal(await read([`${ok}Content-Length: 5\r\n\r\n`], { method: 'HEAD' }), '200 ')
})

t.test('an answer that is none is refused, and the stream is broken off', async (t) => {
  const ok = 'HTTP/1.1 200 OK\r\n'
  for (const answer of [
    '',
    'x',
    'HTTP/1.1 200 OK\n\n',
    'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.1 2000 OK\r\n\r\n',
    'HTTP/1.1 999 OK\r\n\r\n',
    'http/1.1 200 OK\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    `${ok}X\r\n\r\n`,
    `${ok}: x\r\n\r\n`,
    `${ok}X : y\r\n\r\n`,
    `${ok} folded\r\n\r\n`,
    `${ok}X: a\0b\r\n\r\n`,
    `${ok}X: a\rb\r\n\r\n`,
    `${ok}X: y`,
    `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`,
    `${ok}Content-Length: -1\r\n\r\n`,
    `${ok}Content-Length: 0x1\r\n\r\nx`,
    `${ok}Content-Length: 01\r\n\r\nx`,
    `${ok}Content-Length: \r\n\r\nx`,
    `${ok}Content-Length: 9999999999999999999\r\n\r\nx`,
    `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: gzip\r\n\r\n`,
    `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `${ok}X: ${'y'.repeat(65_536)}\r\n\r\n`,
    `${ok}${'X: y\r\n'.repeat(20_000)}\r\n`,
    'HTTP/1.1 100 Continue\r\n\r\n'.repeat(20),
    `${ok}Content-Length: 3\r\n\r\nab`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nab`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n100000000\r\nx`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(1000)}\r\na\r\n0\r\n\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\n${'X: y\r\n'.repeat(5000)}\r\n`,
    `${ok}Transfer-Encoding: chunked\r\n\r\n0\r\n`,
  ]) {
    const { stream, answer: whole } = await asked([answer])
    const text = async () => (await whole).text()
    await t.rejects(text(), failure('bad-answer'), JSON.stringify(answer.slice(0, 80)))
    t.equal(stream.ended, 'reset')
  }
})

t.test('an answer is the same in whatever pieces it comes', async () => {
  const answer =
    'HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n'
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(answer.length), { maxLength: 12 }), async (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), answer.length]
      const pieces = at.slice(1).map((end, i) => answer.slice(at[i], end))
      return (await read(pieces.filter((piece) => piece !== ''))) === '200 hello world'
    }),
  )
})

t.test('no bytes make a device wait for ever, or fail in a way of their own', async () => {
  const part = fc.oneof(
    fc.string({ unit: 'binary-ascii', maxLength: 40 }),
    fc.constantFrom(
      'HTTP/1.1 200 OK\r\n',
      '\r\n',
      'Content-Length: 3\r\n',
      '0\r\n\r\n',
      '3\r\nabc\r\n',
    ),
    fc.constant('Transfer-Encoding: chunked\r\n'),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 8 }), async (parts) => {
      const { answer } = await asked(parts.filter((text) => text !== ''))
      const text = async () => (await answer).text()
      await text().catch((error: unknown) => {
        if ((error as { problem?: string }).problem !== 'bad-answer') throw error
      })
    }),
  )
})

t.test('an answer that is cut says so, before and within its body', async (t) => {
  for (const sent of [
    '',
    'HTTP/1.1 200 OK\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na',
    'HTTP/1.1 200 OK\r\n\r\na',
  ]) {
    const stream = memoryStream()
    const answer = sendRequest(stream.way, { path: '/' })
    const text = (async () => (await answer).text())()
    text.catch(() => {})
    if (sent !== '') stream.send(sent)
    stream.reset()
    await t.rejects(text, failure('cut'), JSON.stringify(sent))
  }
})

t.test(
  'a request that was given up is broken off, before, while it waits, and while its body comes',
  async (t) => {
    const stream = memoryStream()
    const early = AbortSignal.abort()
    await t.rejects(sendRequest(stream.way, { path: '/', signal: early }), failure('aborted'))
    t.equal(stream.sent, '')
    for (const sent of ['', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na']) {
      const one = memoryStream()
      const giving = new AbortController()
      const answer = sendRequest(one.way, { path: '/', signal: giving.signal })
      const text = (async () => (await answer).text())()
      text.catch(() => {})
      if (sent !== '') one.send(sent)
      giving.abort()
      await t.rejects(text, failure('aborted'))
      t.equal(one.ended, 'reset')
    }
  },
)

t.test('a body that is longer than the caller wants is not read on', async (t) => {
  const { stream, answer } = await asked(['HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(100)])
  await t.rejects((await answer).bytes(99), failure('bad-answer'))
  t.equal(stream.ended, 'reset')
  t.equal((await (await asked(['HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(100)])).answer).status, 200)
})

t.test('a stream that the workspace leaves open after its answer is broken off', async (t) => {
  const stream = memoryStream()
  const answer = sendRequest(stream.way, { path: '/' })
  stream.send('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx')
  t.equal(await (await answer).text(), 'x')
  t.equal(stream.ended, 'end')
  t.same(stream.clock.pauses(), [5000])
  stream.clock.advance(5000)
  stream.reset()
  t.same(stream.clock.pauses(), [], 'nothing is left to be done')
})

/** Pieces of 1 MB that a service sends: more than kernel, daemon and device hold. */
const PIECES = 40

t.test('large bodies go both ways unchanged, and a slow reader holds the service up', async (t) => {
  const around = await startSurroundings(t)
  const { remote } = await openDevice(t, around)
  const sent = crypto.getRandomValues(new Uint8Array(65_536))
  const body = Uint8Array.from({ length: 1_000_000 }, (_, i) => sent[(i * 7) % 65_536] ?? 0)
  let written = 0
  around.workspace.answer = (request, response) => {
    void (async () => {
      const pieces: Buffer[] = []
      for await (const piece of request) pieces.push(piece as Buffer)
      const whole = Buffer.concat(pieces)
      response.setHeader('X-Digest', digestOf(whole))
      for (let i = 0; i < PIECES; i++) {
        written++
        if (!response.write(body)) await new Promise((go) => response.once('drain', go))
      }
      response.end()
    })()
  }
  const answer = await remote.fetch({ method: 'PUT', path: '/', body })
  t.equal(answer.headers.get('X-Digest'), digestOf(body))
  await standsStill(() => written, 'what the service has written')
  t.ok(written < PIECES / 2, `${written} pieces of ${PIECES}`)
  const reader = answer.body.getReader()
  let length = (await reader.read()).value?.length ?? 0
  t.ok(length <= 512 * 1024, 'what was not read is not in memory')
  for (let piece = await reader.read(); !piece.done; piece = await reader.read())
    length += piece.value.length
  t.equal(length, PIECES * body.length)
})
