/** Does no request suffer from what happens to a connection that was kept for it, or from what its last user sent? */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { closedPort, startRawUpstream } from '../helpers/upstream.ts'
import { elapse, eventually, readByPeer } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

const HI = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

/** What a service does with the n-th request of its m-th connection, both counted from 0. */
type Behaviour = (socket: Socket, request: number, connection: number) => void

/** A gateway before a service that is told by the test what to do with each request; what it is sent is recorded. */
async function startBeforeScripted(
  t: Test,
  behave: Behaviour,
  settings: Record<string, string> = {},
) {
  const seen: string[] = []
  const sockets: Socket[] = []
  const service = await startRawUpstream(t, (socket) => {
    const connection = sockets.push(socket) - 1
    let request = 0
    socket.on('data', (bytes: Buffer) => {
      seen.push(bytes.toString('latin1'))
      behave(socket, request++, connection)
    })
  })
  return { ...(await startBefore(t, service, settings)), seen, sockets }
}

/** Ends a connection in one of the ways in which services do. */
const ENDINGS: Readonly<Record<string, (socket: Socket) => void>> = {
  closes: (socket) => void socket.end(),
  resets: (socket) => void socket.resetAndDestroy(),
}

for (const [how, finish] of Object.entries(ENDINGS)) {
  /** Answers the first request of each connection, and ends the connection at the second. */
  const endSecond: Behaviour = (socket, request) => {
    if (request === 0) socket.write(HI)
    else finish(socket)
  }

  t.test(`a GET or HEAD whose kept connection ${how} is sent once more`, async (t) => {
    const { port, auth, service, seen, settled, logLine } = await startBeforeScripted(t, endSecond)
    t.equal((await send(port, 'GET /first', [auth])).status, 200)
    for (const [line, dials] of [
      ['GET /second', 2],
      ['HEAD /third', 3],
    ] as const) {
      seen.length = 0
      const answer = await send(port, line, [auth, 'Content-Length: 0'])
      t.equal(answer.status, 200, line)
      t.equal(service.dials(), dials, 'on a new connection')
      t.equal(seen.length, 2)
      t.equal(seen[0], seen[1], 'the same request')
      const logged = await logLine(({ id }) => id === answer.headers['x-request-id'])
      t.match(logged, { status: 200, stage: 'upstream', code: undefined })
      t.type(logged['upstreamMs'], 'number')
    }
    await settled()
  })

  t.test(`any other request whose kept connection ${how} is not`, async (t) => {
    for (const [line, fields, body] of [
      ['POST /', [], ''],
      ['POST /', ['Content-Length: 1'], 'x'],
      ['PUT /', ['Content-Length: 0'], ''],
      ['DELETE /', [], ''],
      ['OPTIONS /', [], ''],
      ['GET /', ['Content-Length: 1'], 'x'],
      ['GET /', ['Transfer-Encoding: chunked'], '1\r\nx\r\n0\r\n\r\n'],
    ] as const) {
      const { port, auth, service, seen, settled } = await startBeforeScripted(t, endSecond)
      await send(port, 'GET /first', [auth])
      const answer = await send(port, line, [auth, ...fields], body)
      t.equal(answer.status, 502, `${line} ${fields.join()}`)
      t.equal(service.dials(), 1)
      t.equal(seen.length, 2)
      await settled()
    }
  })

  t.test(`nothing is sent more than twice when every connection ${how}`, async (t) => {
    const { port, auth, service, seen, settled } = await startBeforeScripted(
      t,
      (socket, request, connection) => {
        if (request === 0 && connection === 0) socket.write(HI)
        else finish(socket)
      },
    )
    await send(port, 'GET /first', [auth])
    t.equal((await send(port, 'GET /second', [auth])).status, 502)
    t.equal(service.dials(), 2)
    t.equal(seen.length, 3, 'one, and the other twice')
    t.equal((await send(port, 'GET /third', [auth])).status, 502)
    t.equal(service.dials(), 3, 'a new connection is no reason to try again')
    t.equal(seen.length, 4)
    await settled()
  })

  t.test(`a kept connection that ${how} after a byte of an answer is a 502`, async (t) => {
    for (const beginning of ['H', HI.slice(0, 20), 'HTTP/1.1 103 Early Hints\r\n\r\n']) {
      const { port, auth, service, seen } = await startBeforeScripted(t, (socket, request) => {
        if (request === 0) socket.write(HI)
        else {
          socket.write(beginning)
          void readByPeer(socket).then(() => finish(socket))
        }
      })
      await send(port, 'GET /first', [auth])
      const answer = await send(port, 'GET /second', [auth])
      t.equal(answer.raw.match(/HTTP\/1\.1 502/g)?.length, 1, beginning)
      t.equal(service.dials(), 1)
      t.equal(seen.length, 2)
    }
  })
}

t.test('nothing is sent once more for a client that has left', async (t) => {
  let leave = () => {}
  const { port, auth, service, seen, settled, logLine } = await startBeforeScripted(
    t,
    (socket, request) => {
      if (request === 0) socket.write(HI)
      else leave()
    },
  )
  await send(port, 'GET /first', [auth])
  const client = await open(port)
  leave = () => void client.destroy()
  client.write(requestBytes('GET /second', [auth]))
  await logLine(({ reason }) => reason === 'client left')
  await settled()
  t.equal(service.dials(), 1)
  t.equal(seen.length, 2)
})

t.test('a service that went away meanwhile is a 502, not a loop', async (t) => {
  const port = await closedPort()
  const gateway = await startBefore(t, { url: `http://127.0.0.1:${port}` })
  t.equal((await send(gateway.port, 'GET /', [gateway.auth])).status, 502)
  await gateway.settled()
})

// Bodies that begin late.

/** How a client announces a body whose first byte is a while away. */
const ANNOUNCEMENTS: Readonly<Record<string, readonly string[]>> = {
  'with a length': ['Content-Length: 5'],
  'in chunks': ['Transfer-Encoding: chunked'],
  'and waits for 100 Continue': ['Content-Length: 5', 'Expect: 100-continue'],
}

for (const [how, fields] of Object.entries(ANNOUNCEMENTS)) {
  const body = fields[0] === 'Transfer-Encoding: chunked' ? '5\r\nhello\r\n0\r\n\r\n' : 'hello'
  const waits = fields.length > 1

  t.test(`a body that begins late gets a connection that is there: ${how}`, async (t) => {
    const { port, auth, sockets, seen, settled } = await startBeforeScripted(t, (socket) =>
      socket.write(HI),
    )
    await send(port, 'GET /first', [auth])
    const client = await open(port)
    const received = gather(client)
    client.write(requestBytes('POST /upload', [auth, ...fields]))
    if (waits) await received.until((text) => text.includes('100 Continue\r\n\r\n'))
    else await readByPeer(client)
    // The service lets go of every connection it has, as Node does with those that it has kept for 5 s.
    for (const socket of sockets) {
      socket.end()
      if (!socket.destroyed) await once(socket, 'close')
    }
    client.write(body)
    t.match(await received.until((text) => text.endsWith('hi')), /HTTP\/1\.1 200 OK/)
    t.match(seen.at(-1), /^POST \/upload.*hello/s)
    t.equal(sockets.length, 2)
    client.destroy()
    await settled()
  })

  t.test(`and one that the service has not cut off as too slow: ${how}`, async (t) => {
    // A service that gives a new connection no time for its first request, as Go's ReadHeaderTimeout does after seconds.
    const { port, auth, service, sockets, settled, running } = await startBeforeScripted(
      t,
      (socket) => socket.write(HI),
    )
    const poolSize = () => running.parts.services.dashboard.pool.size
    const client = await open(port)
    const received = gather(client)
    client.write(requestBytes('POST /upload', [auth, ...fields]))
    if (waits) await received.until((text) => text.includes('100 Continue\r\n\r\n'))
    await eventually(() => service.dials() === 1, 'a look whether the service is there')
    for (const socket of sockets) socket.resetAndDestroy()
    await eventually(() => poolSize() === 0, 'the gateway has noticed')
    client.write(body)
    t.match(await received.until((text) => text.endsWith('hi')), /HTTP\/1\.1 200 OK/)
    client.destroy()
    await settled()
  })
}

t.test(
  'a client that leaves before its body does not close the connection that was opened ahead',
  async (t) => {
    const { port, auth, sockets, seen, logLine, settled } = await startBeforeScripted(t, () => {})
    const leaving = await open(port)
    const received = gather(leaving)
    leaving.write(requestBytes('POST /left', [auth, 'Content-Length: 5', 'Expect: 100-continue']))
    await received.until((text) => text.includes('100 Continue\r\n\r\n'))
    const other = send(port, 'GET /other', [auth])
    await eventually(() => seen.length === 1, 'the other request has reached the service')
    t.equal(sockets.length, 1, 'on the connection that was opened ahead')
    leaving.destroy()
    await logLine(({ path, reason }) => path === '/left' && reason === 'client left')
    sockets[0]?.write(HI)
    t.equal((await other).body, 'hi')
    await settled()
  },
)

t.test('the time that a client takes to begin its body is not the service’s', async (t) => {
  const { port, auth, logLine } = await startBeforeScripted(t, (socket) => socket.write(HI))
  const client = await open(port)
  const received = gather(client)
  client.write(requestBytes('POST /late', [auth, 'Content-Length: 5']))
  await elapse(500, 'the client takes its time, which is measured')
  client.write('hello')
  await received.until((text) => text.endsWith('hi'))
  const { ms, upstreamMs } = await logLine(({ path }) => path === '/late')
  t.ok(Number(ms) > 400, `${String(ms)} ms in all`)
  t.ok(Number(upstreamMs) < Number(ms) - 300, `${String(upstreamMs)} of them the service’s`)
  client.destroy()
})

t.test('an answer passes while the body still comes', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    let isBody = false
    socket.on('data', (bytes: Buffer) => {
      // An echo, in chunks as they come.
      const text = bytes.toString('latin1')
      if (isBody) {
        socket.write(text)
        return
      }
      isBody = true
      const body = text.slice(text.indexOf('\r\n\r\n') + 4)
      socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`)
    })
  })
  const { port, auth, settled } = await startBefore(t, service)
  const client = await open(port)
  const received = gather(client)
  client.write(requestBytes('POST /echo', [auth, 'Transfer-Encoding: chunked']))
  for (const word of ['one', 'two', 'three']) {
    client.write(`${word.length}\r\n${word}\r\n`)
    t.match(await received.until((text) => text.includes(word)), word)
  }
  client.write('0\r\n\r\n')
  await received.until((text) => text.endsWith('\r\n0\r\n\r\n'))
  client.destroy()
  await settled()
})

// What the last user of a connection sent.

/**
 * A service that reads requests as libwebsockets does: a head, and a body when it has a length. Chunks it takes for the
 * beginning of the next request, which never ends.
 */
function answerLikeLibwebsockets(socket: Socket, seen: string[]): void {
  let bytes = ''
  socket.on('data', (piece: Buffer) => {
    bytes += piece.toString('latin1')
    for (;;) {
      const end = bytes.indexOf('\r\n\r\n') + 4
      if (end < 4 || !/^[A-Z]+ \//.test(bytes)) return
      const head = bytes.slice(0, end)
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
      if (bytes.length < end + length) return
      seen.push(bytes.slice(0, end + length))
      bytes = bytes.slice(end + length)
      socket.write(HI)
    }
  })
}

t.test('no request pays for a body that the service did not read', async (t) => {
  const seen: string[] = []
  const service = await startRawUpstream(t, (socket) => answerLikeLibwebsockets(socket, seen))
  const { port, auth, settled } = await startBefore(t, service)
  const smuggled = requestBytes('GET /smuggled', ['X-Smuggled: yes'])
  const chunk = `${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`
  for (const path of ['/terminal', '/', '/api/x']) {
    for (const method of ['POST', 'PUT', 'GET', 'DELETE']) {
      const attack = await send(
        port,
        `${method} ${path}`,
        [auth, 'Transfer-Encoding: chunked'],
        chunk,
      )
      t.equal(attack.status, 200, `${method} ${path}`)
      const next = await send(port, `GET ${path}`, [auth])
      t.equal(next.body, 'hi', 'the next user’s answer')
    }
  }
  t.notOk(
    seen.some((request) => request.startsWith('GET /smuggled')),
    'a body is no request',
  )
  await settled()
})

t.test('a body without a length reaches the terminal with one', async (t) => {
  const seen: string[] = []
  const service = await startRawUpstream(t, (socket) => answerLikeLibwebsockets(socket, seen))
  const { port, auth, settled } = await startBefore(t, service)
  const chunked = [auth, 'Transfer-Encoding: chunked']
  const last = () => seen.at(-1) ?? ''
  await send(port, 'POST /terminal/x', chunked, '3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n')
  t.match(last(), /\r\nContent-Length: 5\r\n.*\r\n\r\nabcde$/s)
  t.notMatch(last(), /transfer-encoding/i)
  await send(port, 'GET /terminal/x', chunked, '0\r\n\r\n')
  t.notMatch(last(), /transfer-encoding/i, 'Caddy sends such a GET for some clients of HTTP/3')
  const largest = 'x'.repeat(16 * 1024)
  const bytewise = '1\r\nx\r\n'.repeat(largest.length)
  t.equal((await send(port, 'POST /terminal/x', chunked, `${bytewise}0\r\n\r\n`)).status, 200)
  t.ok(last().endsWith(`\r\n\r\n${largest}`))

  const count = seen.length
  const refused = await send(port, 'POST /terminal/x', chunked, `${bytewise}1\r\nx\r\n0\r\n\r\n`)
  t.equal(refused.status, 413)
  t.equal(refused.headers['x-gateway-error'], 'body-too-large')
  t.equal(seen.length, count, 'nothing of it reached the service')
  const counted = await send(
    port,
    'POST /terminal/x',
    [auth, 'Content-Length: 100000'],
    'x'.repeat(100_000),
  )
  t.equal(counted.status, 200, 'a body with a length has no limit of ours')
  await settled()
})

t.test('the terminal is not dialled for a body without a length that is too large', async (t) => {
  const service = await startRawUpstream(t, () => {})
  const { port, auth, logLine, settled } = await startBefore(t, service)
  const client = await open(port)
  const received = gather(client)
  const head = requestBytes('POST /terminal/x', [auth, 'Transfer-Encoding: chunked'])
  client.write(`${head}8000\r\n${'x'.repeat(0x8000)}\r\n`) // and no end
  t.match(await received.until((text) => text.includes('\r\n\r\n')), /^HTTP\/1\.1 413 /)
  t.match(await logLine(({ code }) => code === 'body-too-large'), { stage: 'upstream' })
  t.equal(service.dials(), 0)
  client.destroy()
  await settled()
})
