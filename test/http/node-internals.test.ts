/** Does Node still do what no documentation promises? One test for each function of src/http/node-internals.ts, over sockets. */
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import { once } from 'node:events'
import { execFileSync } from 'node:child_process'
import { createServer, IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import {
  allowHalfOpen,
  currentResponse,
  endConnectionAfter,
  forwardDrain,
  freeCompilersAtOnce,
  isLastResponse,
  onceConnected,
  packetOf,
  replaceHandleUpgrade,
  responseOn,
  stopAccepting,
  stopParsing,
} from '../../src/http/node-internals.ts'
import { exchange, gather, handshake, open, requestBytes } from '../helpers/wire.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const LAST = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

/** Starts a server of Node's without any setting. @returns its port */
async function listen(t: Test, server: Server): Promise<number> {
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

t.test('the response that is being sent is known, and none between two requests', async (t) => {
  const responses: ServerResponse[] = []
  const server = createServer((_request, response) => responses.push(response))
  const port = await listen(t, server)
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = await open(port)
  const [socket] = await accepted
  t.equal(currentResponse(socket), undefined, 'before the first request')
  const received = gather(client)
  const arrived = once(server, 'request')
  client.write(GET + GET)
  await arrived
  const [first, second] = responses
  t.equal(responses.length, 2)
  t.equal(currentResponse(socket), first, 'of two that are pipelined, the first')
  first?.end('one')
  await received.until((text) => text.includes('one'))
  t.equal(currentResponse(socket), second)
  second?.end('two')
  await received.until((text) => text.includes('two'))
  t.equal(currentResponse(socket), undefined, 'after the last response')
  client.destroy()
})

t.test('a response gets its connection when the one before it has finished', async (t) => {
  const responses: ServerResponse[] = []
  const server = createServer((_request, response) => responses.push(response))
  const client = await open(await listen(t, server))
  const arrived = once(server, 'request')
  client.write(GET + GET)
  await arrived
  const [first, second] = responses
  t.equal(second?.socket, null)
  let connectedTo: Socket | undefined
  if (second !== undefined) onceConnected(second, (socket) => (connectedTo = socket))
  t.equal(connectedTo, undefined)
  const socket = first?.socket
  const finished = once(first as ServerResponse, 'close')
  first?.end()
  await finished
  t.ok(socket)
  t.equal(connectedTo, socket)
  client.destroy()
})

t.test('a CONNECT, which Node hands over as a bare socket, can be answered', async (t) => {
  const server = createServer()
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    const response = responseOn(request, socket)
    t.equal(currentResponse(socket), response)
    response.once('finish', () => socket.end())
    response.writeHead(405, { 'Content-Length': 2 })
    response.end('no')
  })
  const text = await exchange(await listen(t, server), 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n')
  t.match(text, /^HTTP\/1\.1 405 [^]*\r\n\r\nno$/)
})

t.test('a response is the last one because the client or the gateway wants it', async (t) => {
  const server = createServer((request, response) => {
    const isLast = isLastResponse(response)
    if (request.url === '/ours') endConnectionAfter(response)
    response.end(isLast ? 'last' : 'more')
  })
  const port = await listen(t, server)
  t.match(await exchange(port, LAST), /Connection: close[^]*last$/)
  const ours = await exchange(port, `${GET}GET /ours HTTP/1.1\r\nHost: a\r\n\r\n${GET}`)
  t.equal(ours.split('HTTP/1.1 200 ').length, 3, 'nothing is answered behind the last')
  t.match(ours, /Connection: keep-alive[^]*Connection: close[^]*more$/)
})

t.test('a large response to an upgrade continues when its socket has drained', async (t) => {
  const server = createServer()
  let drained = 0
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy())
    const response = responseOn(request, socket)
    forwardDrain(socket)
    response.writeHead(403, { 'Content-Length': 3_000_000, Connection: 'close' })
    const write = (left: number) => {
      const isFull = !response.write(Buffer.alloc(1_000_000))
      t.ok(isFull)
      response.once('drain', () => {
        drained++
        if (left > 1) write(left - 1)
        else response.end(() => socket.end())
      })
    }
    write(3)
  })
  const text = await exchange(await listen(t, server), requestBytes('GET /', handshake([])))
  t.equal(text.length - text.indexOf('\r\n\r\n') - 4, 3_000_000)
  t.equal(drained, 3)
})

t.test('the parser can be stopped in the middle of a read', async (t) => {
  for (const isStopped of [false, true]) {
    let parsed = 0
    class CountedMessage extends IncomingMessage {
      constructor(socket: Socket) {
        super(socket)
        parsed++
      }
    }
    let requests = 0
    const over = Promise.withResolvers<void>()
    const server = createServer({ IncomingMessage: CountedMessage }, ({ socket }) => {
      requests++
      if (requests > 1) return
      if (isStopped) stopParsing(socket)
      socket.once('close', () => over.resolve())
      socket.destroy() // does not stop the parser
    })
    const client = await open(await listen(t, server))
    client.write(GET.repeat(100))
    await over.promise
    t.equal(requests, isStopped ? 1 : 100)
    t.equal(parsed, isStopped ? 2 : 100, 'the next request is the last that is parsed')
    client.destroy()
  }
})

t.test('the packet in which the parser failed is known, and a timeout has none', async (t) => {
  const server = createServer({ connectionsCheckingInterval: 5, headersTimeout: 50 })
  const failed = async () => {
    const [error, socket] = (await once(server, 'clientError')) as [Error, Socket]
    socket.destroy()
    return error
  }
  const port = await listen(t, server)
  for (const bytes of [
    'gar\xe9bage\r\n\r\n',
    `${GET}\0`,
    `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n`,
  ]) {
    const client = await open(port)
    const error = failed()
    client.write(bytes, 'latin1')
    const packet = packetOf(await error)
    t.ok(packet !== '' && bytes.includes(packet), `${packet.length} of ${bytes.length} bytes`)
    client.destroy()
  }
  const client = await open(port)
  const error = failed()
  client.write('GET / HTTP/1.1\r\nHo')
  t.equal(packetOf(await error), '')
  client.destroy()
})

t.test(
  'a client that has ended its side gets the response only where that is allowed',
  async (t) => {
    for (const isAllowed of [true, false]) {
      const server = createServer(({ socket }, response) => {
        socket.once('end', () => setImmediate(() => response.end('here')))
      })
      if (isAllowed) allowHalfOpen(server)
      const client = await open(await listen(t, server))
      const received = gather(client)
      client.end(LAST)
      const { text } = await received.over
      t.equal(text.endsWith('here'), isAllowed)
    }
  },
)

t.test('a server that accepts no more leaves its idle connections alone', async (t) => {
  const server = createServer((_request, response) => response.end('here'))
  const port = await listen(t, server)
  const client = await open(port)
  const received = gather(client)
  client.write(GET)
  await received.until((text) => text.endsWith('here'))
  let isClosed = false
  stopAccepting(server, () => (isClosed = true))
  const [refused] = (await once(connect(port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException]
  t.equal(refused.code, 'ECONNREFUSED')
  t.notOk(isClosed)
  const closed = once(server, 'close')
  client.write(LAST)
  t.equal((await received.over).text.split('here').length, 3, 'the second request is answered')
  await closed
  t.ok(isClosed)
})

/** The buffers that a request has. */
function views(request: IncomingMessage): Buffer[] {
  return Reflect.ownKeys(request)
    .map((key): unknown => Reflect.get(request, key))
    .filter((value) => Buffer.isBuffer(value))
}

t.test('an upgrade is accepted by the function that replaced the one of ws', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(websocket)
  let handled = 0
  app.get('/', { websocket: true }, () => handled++)
  const requests: IncomingMessage[] = []
  replaceHandleUpgrade(app.websocketServer, (request, socket, head) => {
    requests.push(request)
    t.ok(views(request).length > 0, 'the request has the head')
    t.equal(request.url, '/')
    t.equal(head.toString(), 'head')
    socket.end('HTTP/1.1 101 Ours\r\n\r\n')
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  t.equal(
    await exchange(port, `${requestBytes('GET /', handshake([]))}head`),
    'HTTP/1.1 101 Ours\r\n\r\n',
  )
  t.equal(handled, 0, 'and ws opened no WebSocket')
  const [request] = requests
  t.equal(request?.headers.upgrade, 'websocket')
  t.same(request?.rawHeaders, [], 'the fields are kept once')
  t.same(request === undefined ? undefined : views(request), [], 'and no read is kept')
})

t.test('V8 knows the flags, and has the defaults that they are set to or from', async (t) => {
  const flags = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
  t.match(flags, / default: --maglev-destroy-on-background$/m)
  t.match(flags, / default: --semi-space-growth-factor=2$/m)
  t.doesNotThrow(freeCompilersAtOnce)
})

/** A program with a heap of its own: says by how many bytes its young generation grew while it must not, and then while it may. */
const GROWING = `
  import { getHeapSpaceStatistics } from 'node:v8'
  import { letYoungGenerationGrow } from ${JSON.stringify(new URL('../../src/http/node-internals.ts', import.meta.url).href)}
  const size = () =>
    getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space').space_size
  const kept = []
  const keepMuch = () => kept.push(Array.from({ length: 200_000 }, (_, i) => ({ i })))
  letYoungGenerationGrow(false)
  const before = size()
  for (let i = 0; i < 10; i++) keepMuch()
  const meanwhile = size()
  letYoungGenerationGrow(true)
  for (let i = 0; i < 40 && size() <= meanwhile; i++) keepMuch()
  console.log(JSON.stringify([meanwhile - before, size() - meanwhile]))
`

t.test(
  'the young generation grows by what survives in it only where that is allowed',
  async (t) => {
    const args = ['--input-type=module', '--eval', GROWING]
    const stdout = execFileSync(process.execPath, args, { env: {}, encoding: 'utf8' })
    const [forbidden = 0, allowed = 0] = JSON.parse(stdout) as number[]
    t.ok(forbidden <= 0, `not allowed: ${forbidden}`)
    t.ok(allowed > 0, `allowed: ${allowed}`)
  },
)
