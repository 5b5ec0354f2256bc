/** Does the end of one side end the other, however it comes, and is everything given back? */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { startPairs, TTY } from '../helpers/socket-pairs.ts'
import { startBefore, token } from '../helpers/gateway.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import {
  elapse,
  eventually,
  later,
  openFiles,
  SOON_MS,
  standsStill,
  type TcpConnection,
  tcpConnections,
  watchForCrashes,
} from '../helpers/waiting.ts'
import {
  clientFrame,
  handshake,
  open,
  requestBytes,
  send,
  serverFrame,
  upgrade,
  type Upgraded,
} from '../helpers/wire.ts'

const crashes = watchForCrashes()

/** After hundreds of connections a busy machine is behind with what it closes, in milliseconds. */
const PATIENCE_MS = 30_000

t.test('a service that ends takes the client’s socket with it at once', async (t) => {
  const gateway = await startPairs(t)
  for (const how of ['end', 'destroy', 'resetAndDestroy', 'destroySoon'] as const) {
    const { client, service } = await gateway.connect()
    const goodbye = serverFrame(2, Buffer.alloc(100_000, how))
    if (how !== 'resetAndDestroy') service.write(goodbye)
    client.socket.on('end', () => client.socket.end())
    const begun = performance.now()
    service[how]()
    await client.closed
    t.ok(performance.now() - begun < SOON_MS, how)
    if (how === 'end' || how === 'destroySoon')
      t.ok(client.received().equals(goodbye), 'its last words arrive')
    await gateway.settled()
  }
})

t.test('a client that ends takes the service’s socket with it at once', async (t) => {
  const gateway = await startPairs(t)
  for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const { client, service } = await gateway.connect()
    let heard = 0
    service.on('data', (chunk: Buffer) => (heard += chunk.length))
    const goodbye = clientFrame(2, Buffer.alloc(100_000))
    if (how === 'end') client.socket.write(goodbye)
    const begun = performance.now()
    const gone = new Promise((resolve) => service.on('close', resolve))
    client.socket[how]()
    await gone
    t.ok(performance.now() - begun < SOON_MS, how)
    if (how === 'end') t.equal(heard, goodbye.length)
    await gateway.settled()
  }
})

/** Sends more than the kernel and the gateway take for a client that does not read, until nothing flows any more. */
async function flood({ socket }: Upgraded, service: Socket): Promise<void> {
  socket.removeAllListeners('data')
  socket.pause()
  for (let i = 0; i < 100; i++) service.write(serverFrame(2, Buffer.alloc(100_000)))
  await standsStill(() => service.writableLength, 'what waits for the client')
}

t.test(
  'a service that goes while the client does not read is noticed when it reads again',
  async (t) => {
    const gateway = await startPairs(t)
    const { client, service } = await gateway.connect()
    await flood(client, service)
    service.resetAndDestroy()
    client.socket.resume()
    await client.closed
    await gateway.settled()
  },
)

t.test('a service that goes on and on is cut soon after its client has gone', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect()
  const block = serverFrame(2, Buffer.alloc(64 * 1024))
  const pour = () => {
    while (!service.destroyed && service.write(block));
  }
  service.on('drain', pour)
  service.on('error', () => service.destroy())
  service.removeAllListeners('end') // it goes on, whatever it hears
  pour()
  await client.until(10 * block.length)
  client.socket.destroy()
  await client.closed
  const before = service.bytesWritten
  await eventually(() => service.destroyed, 'the end of the service’s socket')
  const after = (service.bytesWritten - before) / 1e6
  t.ok(after < 60, `${after} MB more were taken`)
  await gateway.settled()
})

t.test('a client that goes while nobody reads is noticed at once', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect()
  await flood(client, service)
  const begun = performance.now()
  client.socket.resetAndDestroy()
  await gateway.settled()
  t.ok(performance.now() - begun < SOON_MS)
})

t.test('half a connection is not kept', async (t) => {
  const sockets: Duplex[] = []
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.removeAllListeners('end')
    sockets.push(socket)
    socket.on('data', () => {})
    socket.write(switchingProtocols(request))
  })
  const gateway = await startBefore(t, service)
  for (const how of ['end', 'resetAndDestroy'] as const) {
    const client = await upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
    client.socket[how]()
    await eventually(() => gateway.underWay() === 0, `the other half is ended after ${how}`, 15_000)
  }
  t.equal(sockets.length, 2)
})

/** Opens many connections, 40 at once, each of which is reset or closed a moment later. */
async function comeAndGo(count: number, come: (i: number) => Promise<Socket>): Promise<void> {
  let running = 0
  const run = async (i: number) => {
    const socket = await come(i)
    socket.on('data', () => {})
    await elapse(Math.random() * 25, 'a client may go at any moment')
    if (Math.random() < 0.7) socket.resetAndDestroy()
    else socket.destroy()
  }
  for (let i = 0; i < count; i++) {
    await eventually(() => running < 40, 'room for one more')
    running++
    void run(i).finally(() => running--)
  }
  await eventually(() => running === 0, 'all done', PATIENCE_MS)
}

t.test('resets at any moment end nothing but themselves', async (t) => {
  const service = await startUpstream(t, undefined, (request, socket, head) => {
    const delay = Math.random() * 8
    later(delay, () => {
      if (Math.random() < 0.15) {
        ;(socket as Socket).resetAndDestroy()
        return
      }
      socket.write(
        Math.random() < 0.1
          ? 'HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!'
          : switchingProtocols(request),
      )
      socket.write(serverFrame(2, Buffer.alloc(Math.random() * 200_000)))
      if (head.length > 0) socket.write(serverFrame(1, 'early'))
      socket.on('data', (chunk: Buffer) => socket.write(serverFrame(2, chunk)))
      later(Math.random() * 20, () => {
        if (Math.random() < 0.3) (socket as Socket).resetAndDestroy()
      })
    })
  })
  const gateway = await startBefore(t, service)
  await send(gateway.port, 'GET /', [gateway.auth])
  await gateway.settled()
  const before = openFiles()
  await comeAndGo(900, async (i) => {
    const socket = await open(gateway.port)
    const auth =
      i % 5 === 0 ? [`Authorization: Bearer ${await token()}`] : i % 17 === 0 ? [] : [gateway.auth]
    const bytes = requestBytes('GET /terminal/ws', handshake([...auth, TTY]))
    const cut = Math.random() < 0.2 ? Math.floor(Math.random() * bytes.length) : bytes.length
    socket.write(bytes.slice(0, cut))
    if (Math.random() < 0.5) socket.write(clientFrame(2, Buffer.alloc(Math.random() * 100_000)))
    return socket
  })
  await eventually(() => gateway.underWay() === 0, 'nothing under way', PATIENCE_MS)
  await eventually(() => openFiles() <= before + 2, 'files closed', PATIENCE_MS)
  t.equal(gateway.running.parts.openSockets.size, 0)
  t.ok(gateway.running.parts.openSockets.hasRoom('any', '127.0.0.1'))
  const { answer, socket } = await upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
  t.ok([101, 403, 502].includes(answer.status))
  socket.destroy()
  t.same(crashes, [])
})

t.test('resets of plain requests at any moment do no harm either', async (t) => {
  const service = await startUpstream(t, (request, response) => {
    request.on('error', () => {})
    later(Math.random() * 5, () => {
      if (Math.random() < 0.2) {
        request.socket.resetAndDestroy()
        return
      }
      response.writeHead(200)
      response.write(Buffer.alloc(Math.random() * 300_000))
      later(Math.random() * 10, () => {
        if (Math.random() < 0.3) request.socket.resetAndDestroy()
        else response.end()
      })
    })
    request.resume()
  })
  service.server.on('clientError', (_error, socket) => socket.destroy())
  const gateway = await startBefore(t, service)
  const before = openFiles()
  await comeAndGo(700, async (i) => {
    const socket = await open(gateway.port)
    const isPost = i % 2 === 0
    socket.write(
      requestBytes(isPost ? 'POST /' : 'GET /', [
        gateway.auth,
        ...(isPost ? ['Content-Length: 200000'] : []),
        ...(i % 6 === 0 ? ['Expect: 100-continue'] : []),
      ]),
    )
    if (isPost) socket.write(Buffer.alloc(Math.random() * 200_000))
    else if (i % 3 === 0) socket.write(requestBytes('GET /next', [gateway.auth]))
    return socket
  })
  await gateway.settled()
  // Connections to the service are kept for four seconds.
  await eventually(() => openFiles() <= before + 2, 'files closed', PATIENCE_MS)
  t.same(crashes, [])
})

t.test('the kernel asks both sides of an idle socket whether they are there', async (t) => {
  const gateway = await startPairs(t)
  const { client } = await gateway.connect()
  const keepAliveSeconds = (isIt: (one: TcpConnection) => boolean) =>
    tcpConnections().find((one) => isIt(one) && one.keepAliveSeconds !== undefined)
      ?.keepAliveSeconds
  const sides = () => [
    keepAliveSeconds(
      ({ local, remote }) => local === gateway.port && remote === client.socket.localPort,
    ),
    keepAliveSeconds(({ remote }) => remote === gateway.service.port),
  ]
  await eventually(() => !sides().includes(undefined), 'both timers run')
  for (const seconds of sides()) t.ok((seconds ?? 99) <= 30, `${seconds} s`)
  client.socket.destroy()
  await gateway.settled()
})
