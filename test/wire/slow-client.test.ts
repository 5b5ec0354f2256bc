/** Is a client that sends or reads too slowly let go, and a patient one kept? */
import type { Socket } from 'node:net'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { elapse, eventually, standsStill } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

/** Lets time pass for everything that looks at the monotonic clock: thirty seconds need not be waited for. */
const realNow = performance.now.bind(performance)
let skipped = 0
performance.now = () => realNow() + skipped

/** Lets the watchdog look, which it does twice a second (src/limits/watchdog.ts). */
const aRound = () => elapse(600, 'it must not end anything within this')

t.test('a connection that does not finish its header is cut after about ten seconds', async (t) => {
  const service = await startUpstream(t)
  const gateway = await startBefore(t, service)
  const beginnings = [
    '',
    'G',
    'GET / HTTP/1.1\r\n',
    'GET / HTTP/1.1\r\nHost: houston.hubify.com\r\nX-A: b',
    requestBytes('GET /', [gateway.auth]).slice(0, -2),
  ]
  const begun = Date.now()
  const slow = await Promise.all(
    beginnings.map(async (beginning) => {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(beginning)
      const drip = setInterval(() => {
        if (beginning.startsWith('GET') && !beginning.endsWith('\r\n')) socket.write('x')
      }, 500)
      const { text } = await received.over
      clearInterval(drip)
      return { text, after: Date.now() - begun }
    }),
  )
  for (const [i, { text, after }] of slow.entries()) {
    t.ok(after > 8000 && after < 14_000, `${JSON.stringify(beginnings[i])} after ${after} ms`)
    t.match(text, /^(?:HTTP\/1\.1 408 .*x-gateway-error: request-timeout.*)?$/is)
  }
  t.equal(service.dials(), 0)
  t.equal((await send(gateway.port, 'GET /', [gateway.auth])).status, 200)
})

t.test('a client that hardly sends its body is answered 408', async (t) => {
  let atService = ''
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (chunk) => (atService += String(chunk)))
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 100000'], 'beginning'))
  await eventually(() => atService.endsWith('beginning'), 'what was sent has passed')
  skipped += 31_000
  const { text } = await received.over
  t.match(text, /^HTTP\/1\.1 408 .*x-gateway-error: request-timeout/is)
  t.match(text.toLowerCase(), 'connection: close')
  await gateway.settled()
})

t.test('a client whose service is slow to read, or to answer, is not blamed', async (t) => {
  const paused: Socket[] = []
  const service = await startRawUpstream(t, (socket) => paused.push(socket.pause()))
  const gateway = await startBefore(t, service)
  const uploading = await open(gateway.port)
  uploading.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 100000000']))
  uploading.write(Buffer.alloc(30_000_000))
  const waiting = await open(gateway.port)
  waiting.write(requestBytes('POST /', [gateway.auth, 'Content-Length: 5'], 'whole'))
  await eventually(() => gateway.underWay() === 2 && service.dials() === 2, 'both under way')
  await standsStill(() => uploading.writableLength, 'the upload')
  for (let i = 0; i < 3; i++) {
    skipped += 31_000
    await aRound()
  }
  t.equal(gateway.underWay(), 2)
  uploading.destroy()
  waiting.destroy()
  for (const one of paused) one.resume()
  await gateway.settled()
})

t.test('an answer that nobody reads is given up after five minutes', async (t) => {
  let serviceSocket: Socket | undefined
  const service = await startRawUpstream(t, (socket) => {
    serviceSocket = socket
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n')
      socket.write(Buffer.alloc(50_000_000))
    })
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  socket.pause()
  socket.write(requestBytes('GET /', [gateway.auth]))
  await eventually(() => gateway.underWay() === 1 && service.dials() === 1, 'under way')
  await standsStill(() => serviceSocket?.writableLength ?? 0, 'the download')
  skipped += 290_000
  await aRound()
  t.equal(gateway.underWay(), 1)
  skipped += 20_000
  await gateway.settled()
  socket.destroy()
})
