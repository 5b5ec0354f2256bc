/** Does a response that a service sends before it has read the whole body reach the client, and when is the body sent? */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { closedPort, startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

const crashes = watchForCrashes()
const BLOCK = Buffer.alloc(64 * 1024, 'x')

t.test('an early refusal of a large upload reaches a client that is still sending', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(413, { 'Content-Type': 'text/plain', Connection: 'close' })
    response.end('too much')
  })
  const gateway = await startBefore(t, service)
  for (const framing of ['Content-Length: 104857600', 'Transfer-Encoding: chunked']) {
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(requestBytes('POST /upload', [gateway.auth, framing]))
    const isChunked = framing.startsWith('T')
    let sent = 0
    while (sent < 20 * 1024 * 1024 && !socket.destroyed) {
      if (isChunked) socket.write(`${BLOCK.length.toString(16)}\r\n`)
      sent += BLOCK.length
      if (!socket.write(isChunked ? Buffer.concat([BLOCK, Buffer.from('\r\n')]) : BLOCK))
        await Promise.race([once(socket, 'drain'), received.over])
    }
    t.match(
      await received.until((soFar) => soFar.includes('too much')),
      /^HTTP\/1\.1 413.*too much/s,
      framing,
    )
    socket.destroy()
  }
  await gateway.settled()
})

/** A service in its own process, so that its response and FIN are in the kernel while the gateway is writing. */
const HANGS_UP = `
  const server = require('node:net').createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      socket.write('HTTP/1.1 413 Content Too Large\\r\\nContent-Length: 8\\r\\n\\r\\ntoo much', () => socket.destroy())
    })
  })
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))`

t.test(
  'an early response is read even if the service has closed the connection since',
  async (t) => {
    const child = spawn(process.execPath, ['--eval', HANGS_UP], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(async () => {
      child.kill()
      await once(child, 'close')
    })
    const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
    const gateway = await startBefore(t, { url: `http://127.0.0.1:${Number(line)}` })
    for (let round = 0; round < 30; round++) {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(requestBytes('POST /upload', [gateway.auth, 'Content-Length: 104857600']))
      for (let i = 0; i < 64; i++) socket.write(BLOCK)
      const text = await received.until((soFar) => /too much|upstream-unreachable/.test(soFar))
      t.match(text, /^HTTP\/1\.1 413.*too much/s)
      socket.destroy()
    }
    await gateway.settled()
  },
)

t.test('a connection is reused after an early response when the whole body was sent', async (t) => {
  const service = await startUpstream(t, (_request, response) => response.end('early'))
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  for (let round = 1; round <= 3; round++) {
    socket.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 2000000'], 'y'))
    await received.until((soFar) => soFar.split('HTTP/1.1 200').length - 1 === round)
    socket.write(Buffer.alloc(1_999_999, 'y'))
  }
  socket.write(requestBytes('GET /', [gateway.auth]))
  const text = await received.until((soFar) => soFar.split('HTTP/1.1 200').length - 1 === 4)
  t.equal(text.split('HTTP/1.1 200').length - 1, 4)
  socket.destroy()
})

t.test('a client that does not finish its body after the response is disconnected', async (t) => {
  const service = await startUpstream(t, (_request, response) => response.end('early'))
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 2000000'], 'beginning'))
  const begun = performance.now()
  const { text } = await received.over
  t.match(text, /^HTTP\/1\.1 200.*early/s)
  t.ok(performance.now() - begun < 20_000)
})

t.test('a service that resets in the middle of an upload is a 502', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    let seen = 0
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.length
      if (seen > 500_000) socket.resetAndDestroy()
    })
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 5000000']))
  socket.write(Buffer.alloc(5_000_000))
  t.match(await received.until((soFar) => soFar.includes('\r\n\r\n')), /^HTTP\/1\.1 502/)
  socket.destroy()
  await gateway.settled()
})

t.test('a request whose body never begins is not sent to the service', async (t) => {
  const heard: string[] = []
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => heard.push(bytes.toString('latin1')))
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  socket.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 4']))
  await eventually(() => service.dials() > 0, 'the connection to the service')
  socket.destroy()
  await gateway.settled()
  t.same(heard, [])
  const whole = await open(gateway.port)
  whole.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 4']))
  await eventually(() => gateway.underWay() === 1, 'another')
  whole.write('b')
  await eventually(
    () => heard.join('').endsWith('\r\n\r\nb'),
    'the head with the first of the body',
  )
  t.match(heard[0], /^POST \/ HTTP\/1\.1\r\n.*\r\n\r\nb$/s, 'in one packet')
  whole.destroy()
  await gateway.settled()
})

t.test(
  '100 Continue is sent once, after the decision and when the service is connected',
  async (t) => {
    const service = await startUpstream(t)
    const gateway = await startBefore(t, service)
    for (const expect of ['100-continue', '100-Continue']) {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(requestBytes('POST /', [gateway.auth, `Expect: ${expect}`, 'Content-Length: 5']))
      t.equal(
        await received.until((soFar) => soFar.endsWith('\r\n\r\n')),
        'HTTP/1.1 100 Continue\r\n\r\n',
      )
      socket.write('hello')
      const text = await received.until((soFar) => soFar.includes('"body":5'))
      t.equal(text.split('100 Continue').length, 2)
      t.equal(service.requests.at(-1)?.body, 'hello')
      t.equal(service.requests.at(-1)?.headers.expect, undefined)
      socket.write(requestBytes('GET /again', [gateway.auth]))
      t.match(await received.until((soFar) => soFar.includes('/again')), '/again')
      socket.destroy()
    }
  },
)

t.test('a client that does not wait for 100 Continue is served too', async (t) => {
  const gateway = await startBefore(t, await startUpstream(t))
  const answer = await send(
    gateway.port,
    'POST /',
    [gateway.auth, 'Expect: 100-continue', 'Content-Length: 5'],
    'hello',
  )
  t.match(answer.raw, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/)
  const empty = await send(gateway.port, 'POST /', [
    gateway.auth,
    'Expect: 100-continue',
    'Content-Length: 0',
  ])
  t.equal(empty.status, 200)
  const old = await send(
    gateway.port,
    'POST / HTTP/1.0',
    [gateway.auth, 'Expect: 100-continue', 'Content-Length: 5'],
    'hello',
  )
  t.equal(old.status, 200, 'HTTP/1.0 knows no 100')
})

t.test('a refusal is sent instead of 100 Continue, and the connection is closed', async (t) => {
  const service = await startUpstream(t)
  const gateway = await startBefore(t, service)
  const down = await startBefore(t, { url: `http://127.0.0.1:${await closedPort()}` })
  const cases = [
    [gateway.port, [], 401],
    [gateway.port, ['Authorization: Bearer a.b.c'], 401],
    [down.port, [gateway.auth], 502],
  ] as const
  for (const [port, headers, status] of cases) {
    const socket = await open(port)
    const received = gather(socket)
    socket.write(
      requestBytes('POST /', [...headers, 'Expect: 100-continue', 'Content-Length: 500000']),
    )
    const { text } = await received.over
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
    t.match(text.toLowerCase(), 'connection: close')
  }
  const other = await send(
    gateway.port,
    'POST /',
    [gateway.auth, 'Expect: banana', 'Content-Length: 5'],
    'hello',
  )
  t.equal(other.status, 417)
  t.equal(service.dials(), 0)
})

t.test('no error was uncaught', async (t) => {
  t.same(crashes, [])
})
