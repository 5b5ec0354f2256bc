/** Do informational responses (1xx) reach clients that support them, in order, and do they restart the time limit? */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream, startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send, upgrade } from '../helpers/wire.ts'

const crashes = watchForCrashes()
const HI = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'
const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n'

/** A gateway with a service that sends this text at once, and the rest when the test asks for it. */
async function startBeforeSlow(t: Test, beginning: string) {
  const waiting: Socket[] = []
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', () => {
      socket.write(beginning, 'latin1')
      waiting.push(socket)
    })
  })
  const answer = () => {
    for (const socket of waiting.splice(0)) socket.write(HI)
  }
  return { ...(await startBefore(t, service)), answer, waiting }
}

t.test(
  'informational responses arrive before the response, as the service sent them',
  async (t) => {
    const { port, auth, answer, settled } = await startBeforeSlow(t, HINTS)
    const client = await open(port)
    const received = gather(client)
    for (let round = 1; round <= 2; round++) {
      client.write(requestBytes('GET /', [auth]))
      const count = (text: string, part: string) => text.split(part).length - 1
      const soFar = await received.until((text) => count(text, HINTS) === round)
      t.equal(count(soFar, 'HTTP/1.1 200'), round - 1, 'before there is an answer')
      answer()
      await received.until((text) => count(text, 'HTTP/1.1 200') === round && text.endsWith('hi'))
    }
    client.destroy()
    await settled()
  },
)

t.test(
  'an informational response has no headers of the hop, the final response, the origin or the gateway',
  async (t) => {
    const fields = [
      'Link: </a>; rel=preload',
      'Upload-Limit: 5',
      'Connection: X-Hop',
      'X-Hop: 1',
      'Keep-Alive: timeout=5',
      'Transfer-Encoding: chunked',
      'Content-Length: 5',
      'Upgrade: h2c',
      'Set-Cookie: __Host-workspace_session=x',
      'Set-Cookie: a=b',
      'Clear-Site-Data: "*"',
      'Alt-Svc: h3=":443"',
      'NEL: {}',
      'X-Request-Id: forged',
      'X-Gateway-Error: forged',
    ]
    const { port, auth, answer, waiting } = await startBeforeSlow(
      t,
      `HTTP/1.1 104 Upload Resumption Supported\r\n${fields.join('\r\n')}\r\n\r\n`,
    )
    const client = await open(port)
    const received = gather(client)
    client.write(requestBytes('GET /', [auth]))
    const head = await received.until((text) => text.endsWith('\r\n\r\n'))
    t.match(head, /^HTTP\/1\.1 104 .*\r\nLink: <\/a>; rel=preload\r\nUpload-Limit: 5\r\n\r\n$/)
    t.equal(head.split('\r\n').length, 5, head)
    await eventually(() => waiting.length === 1, 'asked')
    answer()
    await received.until((text) => text.endsWith('hi'))
    client.destroy()
  },
)

t.test(
  'a Location with the service’s own address is rewritten in an informational response',
  async (t) => {
    const service = await startRawUpstream(t, (socket) => {
      socket.on('data', () => {
        const location = `http://127.0.0.1:${service.port}/uploads/1`
        socket.write(
          `HTTP/1.1 104 Upload Resumption Supported\r\nLocation: ${location}\r\n\r\n${HI}`,
        )
      })
    })
    const { port, auth } = await startBefore(t, service)
    t.match(
      (await send(port, 'GET /', [auth])).raw,
      /^HTTP\/1\.1 104 .*\r\nLocation: \/uploads\/1\r\n/,
    )
  },
)

t.test(
  'an HTTP/1.0 client gets no informational response, and no client gets a service’s 100',
  async (t) => {
    const { port, auth, answer, waiting } = await startBeforeSlow(
      t,
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${HINTS}`,
    )
    const ask = async (line: string) => {
      const answered = send(port, line, [auth])
      await eventually(() => waiting.length === 1, 'asked')
      answer()
      return (await answered).raw
    }
    t.match(await ask('GET / HTTP/1.0'), /^HTTP\/1\.1 200 /)
    const raw = await ask('GET /')
    t.match(raw, /^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 103 /)
    t.notMatch(raw, '100 Continue')
  },
)

t.test('many informational responses pass, and too many are a 502', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (head: Buffer) => {
      const isMany = String(head).startsWith('GET /many')
      const one = `HTTP/1.1 102 Processing\r\nX-A: ${'a'.repeat(isMany ? 1 : 30_000)}\r\n\r\n`
      socket.write(one.repeat(40) + HI)
    })
  })
  const { port, auth, settled } = await startBefore(t, service)
  const many = await send(port, 'GET /many', [auth])
  t.equal(many.raw.split('HTTP/1.1 102').length - 1, 40)
  t.match(many.raw, /HTTP\/1\.1 200 OK\r\n.*hi$/s)
  const flood = await send(port, 'GET /flood', [auth])
  t.match(flood.raw, /HTTP\/1\.1 502 /)
  t.equal(service.dials(), 1, 'the second over the connection of the first')
  await settled()
})

t.test('a pipelined client gets no informational response inside another response', async (t) => {
  const held = new Map<string, ServerResponse>()
  const service = await startUpstream(t, (request, response) => {
    const path = request.url ?? ''
    response.writeEarlyHints({ link: `<${path}>; rel=preload` })
    if (path === '/p0.') response.write('the first half')
    held.set(path, response)
  })
  const { port, auth, logLines, settled } = await startBefore(t, service)
  const client = await open(port)
  const received = gather(client)
  const paths = ['/p0.', '/p1.', '/p2.']
  client.write(paths.map((path) => requestBytes(`GET ${path}`, [auth])).join(''))
  await received.until((text) => text.includes('the first half'))
  await eventually(() => held.size === paths.length, 'all at the service')
  for (const path of paths.toReversed()) held.get(path)?.end(`end of ${path}`)
  const text = await received.until((soFar) => soFar.includes('end of /p2.'))
  const first = text.slice(0, text.indexOf('end of /p0.'))
  t.match(first, /^HTTP\/1\.1 103 [^]*<\/p0\.>[^]*\r\n\r\nHTTP\/1\.1 200 OK/)
  t.equal(first.split('HTTP/1.1').length - 1, 2, 'nothing of another request before its end')
  t.same(
    [...text.matchAll(/end of (\/p\d)/g)].map(([, path]) => path),
    ['/p0', '/p1', '/p2'],
  )
  await eventually(() => logLines().filter(({ status }) => status === 200).length === 3, 'logged')
  client.destroy()
  await settled()
})

t.test('an informational response restarts the time limit for the first byte', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (head: Buffer) => {
      if (String(head).startsWith('GET /silent')) return
      let left = 12
      const timer = setInterval(() => {
        socket.write(--left > 0 ? 'HTTP/1.1 102 Processing\r\n\r\n' : HI)
        if (left === 0) clearInterval(timer)
      }, 200)
      socket.on('close', () => clearInterval(timer))
    })
  })
  const { port, auth } = await startBefore(t, service, { GATEWAY_FIRST_BYTE_SECONDS: '1' })
  const [busy, silent] = await Promise.all([
    send(port, 'GET /busy', [auth]),
    send(port, 'GET /silent', [auth]),
  ])
  t.match(busy.raw, /HTTP\/1\.1 200 OK/)
  t.equal(silent.status, 504)
})

t.test(
  'informational responses do not break a handshake, and are not sent before its response',
  async (t) => {
    const service = await startUpstream(t, undefined, (request, socket) => {
      socket.write(`HTTP/1.1 102 Processing\r\n\r\n${HINTS}`)
      setImmediate(() => {
        if (request.url === '/refused')
          socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope')
        else socket.write(switchingProtocols(request))
      })
    })
    const { port, auth, settled } = await startBefore(t, service)
    const accepted = await upgrade(port, '/socket', [auth])
    t.equal(
      accepted.answer.status,
      101,
      'browsers take the first answer to a handshake for the last',
    )
    accepted.socket.destroy()
    const refused = await upgrade(port, '/refused', [auth])
    await refused.closed
    t.equal(refused.answer.status, 403)
    t.equal(String(refused.received()), 'nope')
    await settled()
  },
)

t.test('no error was uncaught', async (t) => {
  t.same(crashes, [])
})
