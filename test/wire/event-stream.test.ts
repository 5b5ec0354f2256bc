/** Do event streams pass without delay and without a time limit, while other stuck responses are cut off? */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { elapse, SOON_MS } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send } from '../helpers/wire.ts'

t.test(
  'the headers of an event stream arrive before its first event, and each event when it is sent',
  async (t) => {
    let stream: ServerResponse | undefined
    const service = await startUpstream(t, (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' })
      response.flushHeaders()
      stream = response
    })
    const gateway = await startBefore(t, service)
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(requestBytes('GET /api/events', [gateway.auth, 'Accept: text/event-stream']))
    t.match(
      await received.until((soFar) => soFar.includes('\r\n\r\n')),
      /^HTTP\/1\.1 200 .*text\/event-stream/s,
    )
    for (const event of ['one', 'two', 'three']) {
      stream?.write(`data: ${event}\n\n`)
      t.match(await received.until((soFar) => soFar.includes(event)), `data: ${event}\n\n`)
    }
    stream?.end()
    t.match(await received.until((soFar) => soFar.endsWith('0\r\n\r\n')), /0\r\n\r\n$/)
    socket.destroy()
  },
)

t.test(
  'a response that pauses for too long is cut off; an event stream can be silent for ever',
  async (t) => {
    const streams: ServerResponse[] = [] // not by their place: the three requests may arrive in any order
    const service = await startUpstream(t, (request, response) => {
      if (request.url !== '/page') streams.push(response)
      const type =
        request.url === '/events'
          ? 'text/event-stream'
          : request.url === '/Events'
            ? 'Text/Event-Stream'
            : 'text/html'
      response.writeHead(200, { 'Content-Type': type })
      response.write('begin')
    })
    const gateway = await startBefore(t, service, { GATEWAY_IDLE_SECONDS: '1' })
    const sockets = await Promise.all([open(gateway.port), open(gateway.port), open(gateway.port)])
    const [page, events, shouted] = sockets.map((socket) => gather(socket))
    for (const [i, path] of ['/page', '/events', '/Events'].entries())
      sockets[i]?.write(requestBytes(`GET ${path}`, [gateway.auth]))
    const begun = performance.now()
    const end = await page?.over
    t.ok(performance.now() - begun > 900, 'not before its second is over')
    t.match(end?.text, 'begin')
    t.notMatch(end?.text, /0\r\n\r\n$/, 'no clean end')
    await elapse(700, 'a stream may be silent for longer than other responses')
    for (const response of streams) response.write('still here')
    t.match(await events?.until((soFar) => soFar.includes('still here')), 'still here')
    t.match(
      await shouted?.until((soFar) => soFar.includes('still here')),
      'still here',
      'media types have no case',
    )
    for (const socket of sockets) socket.destroy()
    await gateway.settled()
  },
)

t.test('when a client disconnects, the request to the service ends at once', async (t) => {
  const service = await startUpstream(t, (request, response) => {
    if (request.url === '/silent') return
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const gateway = await startBefore(t, service)
  for (const path of ['/events', '/silent']) {
    for (const leave of ['destroy', 'resetAndDestroy', 'end'] as const) {
      const arrived = once(service.server, 'request')
      const socket = await open(gateway.port)
      socket.write(requestBytes(`GET ${path}`, [gateway.auth]))
      const [request] = (await arrived) as [{ socket: NodeJS.EventEmitter }]
      const gone = once(request.socket, 'close')
      if (path === '/events') await once(socket, 'data')
      const leftAt = performance.now()
      socket[leave]()
      if (leave === 'end') socket.destroy()
      await gone
      t.ok(performance.now() - leftAt < SOON_MS, `${path} ${leave}`)
    }
  }
  await gateway.settled()
})

t.test(
  'when a client disconnects during its upload, the request to the service ends too',
  async (t) => {
    const service = await startUpstream(t, (request) => request.resume())
    service.server.on('clientError', (_error, socket) => socket.destroy())
    const gateway = await startBefore(t, service)
    const arrived = once(service.server, 'request')
    const socket = await open(gateway.port)
    socket.write(requestBytes('POST /upload', [gateway.auth, 'Content-Length: 1000'], 'part'))
    const [request] = (await arrived) as [{ socket: NodeJS.EventEmitter }]
    const gone = new Promise((resolve) => request.socket.on('close', resolve))
    socket.destroy()
    await gone
    await gateway.settled()
    t.equal((await send(gateway.port, 'GET /_gateway/sign-in')).status, 200)
  },
)
