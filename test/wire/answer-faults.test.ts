/** Does every request end with a response or a closed connection, and a log line, whatever throws while it is answered? */
import { ServerResponse } from 'node:http'
import * as fc from 'fast-check'
import t, { type Test } from 'tap'
import { HTTPS, cookie } from '../helpers/door.ts'
import { startBefore, token } from '../helpers/gateway.ts'
import { startRawUpstream, startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { gather, handshake, open, requestBytes } from '../helpers/wire.ts'

const crashes = watchForCrashes()

/** Sends bytes and waits for the connection to end. */
async function over(port: number, bytes: string) {
  const socket = await open(port)
  const received = gather(socket)
  socket.write(Buffer.from(bytes, 'latin1'))
  return received.over
}

t.test('whatever a service responds to a handshake, the client’s connection ends', async (t) => {
  let answer = ''
  const service = await startRawUpstream(t, (socket) => {
    socket.once('data', () => socket.end(answer, 'latin1'))
  })
  const gateway = await startBefore(t, service)
  const ask = async () => {
    const before = gateway.logLines().length
    const { text } = await over(
      gateway.port,
      requestBytes('GET /api/ws', handshake([gateway.auth])),
    )
    const lines = () => gateway.logLines().slice(before)
    await eventually(() => lines().length > 0, 'a log line')
    return { text, lines: lines() }
  }
  const known: ReadonlyArray<readonly [answer: string, expected: RegExp]> = [
    ['HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 001 One\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\nhi', /^HTTP\/1\.1 999 .*\r\n\r\nhi$/s],
    ['HTTP/1.1 1000 Higher\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello', /^HTTP\/1\.1 204 .*\r\n\r\n$/s],
    ['HTTP/1.1 304 Same\r\n\r\n', /^HTTP\/1\.1 304 .*\r\n\r\n$/s],
    ['HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 150 Odd\r\n\r\n', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 101 Switching Protocols\r\nContent-Length: 3\r\n\r\nabc', /^HTTP\/1\.1 502 /],
    ['HTTP/1.1 403 No\r\nX-A: \xe9\x80\r\nContent-Length: 2\r\n\r\nno', /^HTTP\/1\.1 403 .*no$/s],
    ['HTTP/1.1 403 No\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nno', /^HTTP\/1\.1 50[02] /],
    ['HTTP/1.1 403 No\r\nX A: b\r\nContent-Length: 2\r\n\r\nno', /^HTTP\/1\.1 502 /],
    [
      'HTTP/1.1 403 No\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n',
      /^HTTP\/1\.1 403 /,
    ],
  ]
  for (const row of known) {
    answer = row[0]
    const { text, lines } = await ask()
    t.match(text, row[1], JSON.stringify(row[0]))
    t.match(text, /connection: close/i)
    t.equal(lines.length, 1, 'one log line')
  }
  const words = (...lists: string[]) => fc.constantFrom(...lists.flatMap((list) => list.split('|')))
  const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code))
  const head = fc
    .record({
      status: fc.oneof(fc.integer({ min: 0, max: 1100 }), words('101|099|200|403')),
      name: words(
        'X-A|Connection|Upgrade|Location|Set-Cookie|Content-Length|Transfer-Encoding|\xe9| ',
      ),
      value: fc.array(byte, { maxLength: 5 }).map((bytes) => bytes.join('')),
      body: words('|hi|0\r\n\r\n|HTTP/1.1 200 OK\r\n\r\n'),
    })
    .map(
      ({ status, name, value, body }) =>
        `HTTP/1.1 ${String(status).padStart(3, '0')} Odd\r\n${name}: ${value}\r\n\r\n${body}`,
    )
  await fc.assert(
    fc.asyncProperty(head, async (drawn) => {
      answer = drawn
      const { text, lines } = await ask()
      return lines.length === 1 && (text === '' || /^HTTP\/1\.1 [1-9][0-9]{2} /.test(text))
    }),
    { numRuns: 200 },
  )
})

/** Makes the gateway's first responses throw, as a response does whose headers cannot be written. */
function breakWriting(t: Test, times: number): () => void {
  const writeHead: unknown = Reflect.get(ServerResponse.prototype, 'writeHead')
  let left = times
  function broken(this: ServerResponse, ...args: unknown[]): ServerResponse {
    const isGateways = Array.isArray(args[1]) // the services in this file pass no arrays
    if (isGateways && left-- > 0) throw new TypeError('cannot be written')
    return Reflect.apply(writeHead as (...all: unknown[]) => ServerResponse, this, args)
  }
  Reflect.set(ServerResponse.prototype, 'writeHead', broken)
  const mend = () => {
    Reflect.set(ServerResponse.prototype, 'writeHead', writeHead)
  }
  t.teardown(mend)
  return mend
}

t.test(
  'a response that cannot be written is replaced by another, or the connection is closed',
  async (t) => {
    const service = await startUpstream(
      t,
      ({ url = '' }, response) => {
        if (url.startsWith('/chunks')) {
          response.write('a')
          setImmediate(() => response.end('b'))
        } else {
          response.end('x'.repeat(url.startsWith('/large') ? 300_000 : 5))
        }
      },
      (_request, socket) => socket.end('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'),
    )
    const gateway = await startBefore(t, service, {
      GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com',
      GATEWAY_LOGIN_URL: 'https://login.example.com/',
    })
    const session = cookie(await token())
    const page = ['Sec-Fetch-Mode: navigate', 'Accept: text/html']
    const requests = async (): Promise<Readonly<Record<string, string>>> => ({
      'a refusal': requestBytes('GET /'),
      'a redirect to sign in': requestBytes('GET /', [HTTPS, ...page]),
      'a refusal of a known session': requestBytes('POST /', [session, HTTPS, 'Content-Length: 0']),
      'a refused handshake': requestBytes('GET /api/ws', handshake()),
      'a preflight': requestBytes('OPTIONS /', [
        'Origin: https://app.example.com',
        'Access-Control-Request-Method: PUT',
      ]),
      'the sign-in page': requestBytes('GET /_gateway/sign-in'),
      'signing out': requestBytes('POST /_gateway/sign-out', [
        `Authorization: Bearer ${await token()}`,
        'Content-Length: 0',
      ]),
      health: requestBytes('GET /health'),
      'nothing for a prefetch': requestBytes('GET /api/x', [gateway.auth, 'RSC: 1']),
      'a small answer': requestBytes('GET /', [gateway.auth]),
      'a large answer': requestBytes('GET /large', [gateway.auth]),
      'an answer in chunks': requestBytes('GET /chunks', [gateway.auth]),
      'a service that refuses a handshake': requestBytes('GET /api/ws', handshake([gateway.auth])),
    })
    for (const times of [1, Infinity])
      for (const [name, bytes] of Object.entries(await requests())) {
        const before = gateway.logLines().length
        const mend = breakWriting(t, times)
        const { text } = await over(gateway.port, bytes)
        mend()
        if (times === 1) t.match(text, /^HTTP\/1\.1 50[02] .*connection: close/is, name)
        else t.equal(text, '', `${name}: cut`)
        t.notMatch(text, 'cannot be written')
        await gateway.settled()
        const told = () =>
          gateway
            .logLines()
            .slice(before)
            .some(({ status }) => Number(status) >= 500)
        await eventually(told, `a log line for ${name}`)
      }
    t.match(await over(gateway.port, requestBytes('GET /', [gateway.auth, 'Connection: close'])), {
      text: /^HTTP\/1\.1 200 /,
    })
  },
)

t.test('a relay that cannot start closes both of its sockets', async (t) => {
  let atService = 0
  const service = await startUpstream(t, undefined, (request, socket) => {
    atService++
    socket.on('close', () => atService--)
    socket.resume()
    socket.write(switchingProtocols(request))
  })
  const gateway = await startBefore(t, service)
  const { openSockets } = gateway.running.parts
  openSockets.add = () => {
    throw new Error('no place')
  }
  await over(gateway.port, requestBytes('GET /api/ws', handshake([gateway.auth])))
  const lines = () => gateway.logLines().filter(({ code }) => code === 'internal-error')
  await eventually(() => lines().length === 1 && atService === 0, 'both have ended')
  t.match(lines()[0], { status: 500, reason: 'the sockets were not joined' })
})

t.test('no error was uncaught', async (t) => {
  t.same(crashes, [])
})
