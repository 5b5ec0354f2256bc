/** Does a slow reader slow the writer down, instead of filling our memory? */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { startBefore, token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { eventually, standsStill } from '../helpers/waiting.ts'
import { open, requestBytes, writeUntilStuck } from '../helpers/wire.ts'

const MEGABYTE = 1024 * 1024
const BLOCK = Buffer.alloc(64 * 1024, 'block of text. ')

t.test('an upload waits for a service that does not read, then arrives whole', async (t) => {
  let serviceSocket: Socket | undefined
  const hash = createHash('sha256')
  let received = 0
  const service = await startRawUpstream(t, (socket) => {
    serviceSocket = socket
    socket.pause()
  })
  const gateway = await startBefore(t, service)
  const total = 50 * MEGABYTE
  const socket = await open(gateway.port)
  socket.write(requestBytes('POST /upload', [gateway.auth, `Content-Length: ${total}`]))
  const stuckAt = await writeUntilStuck(socket, BLOCK, total)
  t.ok(stuckAt < 40 * MEGABYTE, `the client waits after ${stuckAt / MEGABYTE} MB`)
  const sent = createHash('sha256')
  for (let i = 0; i < total / BLOCK.length; i++) sent.update(BLOCK)

  let head = Buffer.alloc(0)
  serviceSocket?.on('data', (chunk: Buffer) => {
    let body = chunk
    if (received === 0) {
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      body = head.subarray(end + 4)
    }
    received += body.length
    hash.update(body)
    if (received === total)
      serviceSocket?.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
  })
  serviceSocket?.resume()
  let written = stuckAt
  while (written < total) {
    written += BLOCK.length
    if (!socket.write(BLOCK)) await once(socket, 'drain')
  }
  const [answer] = (await once(socket, 'data')) as [Buffer]
  t.match(answer.toString(), /^HTTP\/1\.1 200/)
  t.equal(received, total)
  t.equal(hash.digest('hex'), sent.digest('hex'))
  socket.destroy()
  await gateway.settled()
})

t.test('a download waits for a client that does not read, then arrives whole', async (t) => {
  const total = 50 * MEGABYTE
  let written = 0
  let isFinished = false
  const service = await startUpstream(t, (_request, response) => {
    response.setHeader('Content-Length', total)
    const more = () => {
      while (written < total) {
        written += BLOCK.length
        if (!response.write(BLOCK)) {
          response.once('drain', more)
          return
        }
      }
      isFinished = true
      response.end()
    }
    more()
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  socket.pause()
  socket.write(requestBytes('GET /download', [gateway.auth, 'Connection: close']))
  await eventually(() => written > 0, 'the service has begun')
  await standsStill(() => written, 'the service')
  t.equal(isFinished, false)
  t.ok(written < 40 * MEGABYTE, `the service waits after ${written / MEGABYTE} MB`)
  let received = 0
  socket.on('data', (chunk: Buffer) => (received += chunk.length))
  socket.resume()
  await once(socket, 'close')
  t.ok(received > total && received < total + 2000)
  await gateway.settled()
})

t.test('many small pieces for a client that does not read leave no listeners', async (t) => {
  const warnings: string[] = []
  const onWarning = ({ message }: Error) => warnings.push(message)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  let written = 0
  const service = await startRawUpstream(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      const chunks = '1\r\nx\r\n'.repeat(10_000)
      const more = () => {
        do written += chunks.length
        while (!socket.destroyed && socket.write(chunks))
      }
      socket.on('drain', more)
      more()
    })
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  socket.pause()
  socket.write(requestBytes('GET /', [gateway.auth]))
  await eventually(() => written > MEGABYTE, 'the service has begun', 20_000)
  await standsStill(() => written, 'the service')
  const last = written
  socket.resume()
  await eventually(() => written > last + MEGABYTE, 'and goes on', 20_000)
  t.same(warnings, [])
  socket.destroy()
  await gateway.settled()
})

t.test('a gateway between fast and stuck sides stays small', async (t) => {
  const serviceSockets: Socket[] = []
  const service = await startRawUpstream(t, (socket) => {
    serviceSockets.push(socket)
    socket.once('data', (head: Buffer) => {
      if (String(head).startsWith('POST')) {
        socket.pause()
        return
      }
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n')
      const more = () => {
        while (!socket.destroyed && socket.write(BLOCK));
      }
      socket.on('drain', more)
      more()
    })
  })
  const gateway = await serve(t, { GATEWAY_DASHBOARD_URL: service.url })
  const auth = `Authorization: Bearer ${await token()}`
  const reading = await open(gateway.port)
  reading.write(requestBytes('GET /warm-up', [auth]))
  let received = 0
  reading.on('data', (chunk: Buffer) => (received += chunk.length))
  await eventually(() => received > 200 * MEGABYTE, 'warm')
  reading.destroy()
  serviceSockets.length = 0
  const before = gateway.memory()
  const sockets = await Promise.all(Array.from({ length: 60 }, () => open(gateway.port)))
  for (const [i, socket] of sockets.entries()) {
    if (i % 2 === 0) {
      socket.pause()
      socket.write(requestBytes('GET /endless', [auth]))
    } else {
      socket.write(requestBytes('POST /stuck', [auth, 'Content-Length: 99999999999']))
      void writeUntilStuck(socket, BLOCK, 100 * MEGABYTE)
    }
  }
  const flowing = () =>
    [...sockets, ...serviceSockets].reduce((sum, { bytesWritten }) => sum + bytesWritten, 0)
  await eventually(() => serviceSockets.length >= sockets.length, 'all under way')
  await standsStill(flowing, 'every flow', { stillMs: 1000 })
  const growth = (gateway.memory() - before) / MEGABYTE
  // Without back-pressure it would be gigabytes; the rest is when the garbage collector happens to run.
  t.ok(growth < 128, `60 stuck requests cost ${growth.toFixed(1)} MB`)
  for (const socket of sockets) socket.destroy()
})
