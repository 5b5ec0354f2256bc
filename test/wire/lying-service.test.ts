/** Does an invalid response of a service become a 502 or a closed connection, and never a valid-looking response? */
import type { Socket } from 'node:net'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { watchForCrashes } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

const crashes = watchForCrashes()

/** The bytes that the service sends. Then it closes the connection, unless `stays` is true. */
const LIES: ReadonlyArray<readonly [name: string, answer: string, stays?: boolean]> = [
  ['nothing', ''],
  ['nothing but line ends', '\r\n\r\n\r\n'],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n'],
  ['binary', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  ['HTTP/0.9', '<html>hello</html>'],
  ['a request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a version from the future', 'HTTP/3.0 200 OK\r\n\r\n'],
  ['half a status line', 'HTTP/1.1 2'],
  ['a status that is no number', 'HTTP/1.1 abc OK\r\n\r\n'],
  ['status 000', 'HTTP/1.1 000 Zero\r\nContent-Length: 2\r\n\r\nhi'],
  ['status 099', 'HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi'],
  ['status 20', 'HTTP/1.1 20 OK\r\n\r\n'],
  ['status 2000', 'HTTP/1.1 2000 OK\r\n\r\n'],
  ['status -1', 'HTTP/1.1 -1 OK\r\n\r\n'],
  ['half a head', 'HTTP/1.1 200 OK\r\nContent-Type: text/ht'],
  ['a head without an end', 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n'],
  ['two different lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc'],
  [
    'length and chunks',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  ],
  ['a negative length', 'HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello'],
  ['a length with a plus', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello'],
  ['a length in hex', 'HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello'],
  [
    'a length beyond counting',
    'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello',
  ],
  ['a body shorter than its length', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello'],
  [
    'a chunk size that is no number',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n',
  ],
  [
    'a chunk size beyond counting',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello',
  ],
  [
    'a chunk shorter than its size',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello\r\n0\r\n\r\n',
  ],
  ['chunks without an end', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  [
    'a bare CR in a field',
    'HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nhi',
  ],
  ['NUL in a field', 'HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nhi'],
  ['a space in a field name', 'HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 2\r\n\r\nhi'],
  ['a space before the colon', 'HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nhi'],
  ['a field without a name', 'HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nhi'],
  ['a field without a colon', 'HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nhi'],
  ['a field name of other letters', 'HTTP/1.1 200 OK\r\nX-\xe9: b\r\nContent-Length: 2\r\n\r\nhi'],
  ['an endless field', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}`, true],
  ['endless fields', `HTTP/1.1 200 OK\r\n${'X-A: aaaaaaaaaaaaaaaaaaaa\r\n'.repeat(5000)}`, true],
  ['an endless status line', `HTTP/1.1 200 ${'O'.repeat(100_000)}`, false],
  [
    'a switch that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi',
    true,
  ],
  ['a switch without a name', 'HTTP/1.1 101 Switching Protocols\r\n\r\nhello'],
  [
    'a switch to h2c',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nPRI * HTTP/2.0\r\n\r\n',
    true,
  ],
]

/** The allowed outcomes of an invalid response for a client. */
function isHonest(text: string, how: string): boolean {
  if (/^HTTP\/1\.1 50[24] /.test(text)) return /x-gateway-error/i.test(text)
  if (how === 'reset') return true
  return !/\r\n0\r\n\r\n$/.test(text) // truncated: not a complete response
}

for (const method of ['GET', 'POST'] as const) {
  t.test(
    `no invalid response of a service looks valid to a client that sent ${method}`,
    async (t) => {
      let lie: (typeof LIES)[number] = ['', '']
      const service = await startRawUpstream(t, (socket: Socket) => {
        socket.once('data', (head) => {
          if (String(head).includes('/truth')) {
            socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntruth')
            return
          }
          const [, answer, stays] = lie
          if (stays === true) socket.write(answer, 'latin1')
          else socket.end(answer, 'latin1')
        })
      })
      const gateway = await startBefore(t, service, {
        GATEWAY_FIRST_BYTE_SECONDS: '1',
        GATEWAY_IDLE_SECONDS: '1',
      })
      for (lie of LIES) {
        const socket = await open(gateway.port)
        const received = gather(socket)
        const body = method === 'POST' ? ['Content-Length: 4'] : []
        socket.write(
          requestBytes(
            `${method} /`,
            [gateway.auth, 'Connection: close', ...body],
            method === 'POST' ? 'body' : '',
          ),
        )
        const { text, how } = await received.over
        t.ok(isHonest(text, how), `${lie[0]}: ${JSON.stringify(text.slice(0, 150))} ${how}`)
        t.notMatch(text, /set-cookie: b=c/i)
        t.notMatch(text, /^HTTP\/1\.1 101/)
        const next = await send(gateway.port, 'GET /truth', [gateway.auth])
        t.equal(next.body, 'truth', `the next request after: ${lie[0]}`)
      }
      await gateway.settled()
      t.same(crashes, [])
    },
  )
}

t.test('a truncated response is not complete for an HTTP/1.0 client either', async (t) => {
  for (const framing of ['Content-Length: 50', 'Transfer-Encoding: chunked']) {
    const service = await startRawUpstream(t, (socket) => {
      socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n5\r\nhello\r\n`))
    })
    const gateway = await startBefore(t, service, { GATEWAY_IDLE_SECONDS: '1' })
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(`GET / HTTP/1.0\r\nHost: houston.hubify.com\r\n${gateway.auth}\r\n\r\n`)
    const { text, how } = await received.over
    t.match(text, /^HTTP\/1\.1 200 .*hello/s)
    t.equal(how, 'reset', framing)
    await gateway.settled()
  }
})

t.test(
  'a response that is invalid in its first packet is a 502, because nothing of it was sent',
  async (t) => {
    let answer = ''
    const service = await startRawUpstream(t, (socket) => {
      socket.once('data', () => socket.end(answer, 'latin1'))
    })
    const gateway = await startBefore(t, service)
    const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    for (answer of [`${head}xyz\r\n`, `${head}2\r\nhi\r\nxyz\r\n`]) {
      const { status, body } = await send(gateway.port, 'GET /', [gateway.auth])
      t.equal(status, 502)
      t.match(body, /upstream-unreachable/)
    }
    await gateway.settled()
  },
)

t.test('bytes that a service sends after its response are not the next response', async (t) => {
  const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
  const bodies = [
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi${forged}`,
    `HTTP/1.1 204 No Content\r\n\r\n${forged}`,
    `HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n${forged}`,
    `HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n${forged}`,
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n${forged}`,
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more of it than promised',
  ]
  let answer = ''
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (head) => {
      socket.write(
        String(head).includes('/next')
          ? 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext'
          : answer,
      )
    })
  })
  const gateway = await startBefore(t, service)
  for (answer of bodies) {
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(
      requestBytes('GET /first', [gateway.auth]) + requestBytes('GET /next', [gateway.auth]),
    )
    const text = await received.until((soFar) => soFar.endsWith('next'))
    t.match(text, /next$/, JSON.stringify(answer.slice(0, 60)))
    t.notMatch(text, 'forged')
    t.notMatch(text, /^HTTP\/1\.1 204 [^]*content-length: 2/i)
    t.notMatch(text, 'more of it')
    socket.destroy()
  }
  await gateway.settled()
})

t.test('a body in a response to HEAD is not read as the next response', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'))
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('HEAD /', [gateway.auth]))
  await received.until((soFar) => soFar.includes('\r\n\r\n'))
  socket.write(requestBytes('GET /', [gateway.auth]))
  const text = await received.until((soFar) => soFar.endsWith('hello'))
  t.equal(text.split('hello').length, 2)
  t.equal(text.split('HTTP/1.1 200').length, 3)
  socket.destroy()
})

t.test('a reset by the service at any moment is a 502 or a closed connection', async (t) => {
  const answer =
    'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\n12345678901234567890'
  let at = 0
  const service = await startRawUpstream(t, (socket) => {
    if (at < 0) {
      socket.resetAndDestroy()
      return
    }
    socket.once('data', () => {
      if (at === 0) socket.resetAndDestroy()
      else socket.write(answer.slice(0, at), () => socket.resetAndDestroy())
    })
  })
  const gateway = await startBefore(t, service)
  for (at = -1; at < answer.length; at++) {
    const got = await send(gateway.port, 'GET /', [gateway.auth])
    t.ok(got.status === 502 || got.body.length < 20, `after ${at} bytes`)
  }
  await gateway.settled()
  t.same(crashes, [])
})
