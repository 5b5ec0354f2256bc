/** After a burst of failures of any kind, are all resources released, and is the next request served? */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { startTestGateway, token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { closedPort, startUpstream } from '../helpers/upstream.ts'
import { eventually, openFiles, watchForCrashes } from '../helpers/waiting.ts'
import {
  clientFrame,
  exchange,
  gather,
  open,
  requestBytes,
  send,
  upgrade,
} from '../helpers/wire.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const MIB = 1024 * 1024

/** The number of connections that a burst has open at once. A session may have 64 WebSockets. */
const AT_ONCE = 50

/** Byte sequences that are not requests, each refused in another way. */
const MALFORMED = [
  'garbage\r\n\r\n',
  'GET / HTTP/9.9\r\n\r\n',
  'GET /\r\n\r\n',
  'GET //x HTTP/1.1\r\nHost: houston.hubify.com\r\nConnection: close\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nX A: 1\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n',
  'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
  `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`,
  '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n', // TLS
]

interface Burst {
  readonly name: string
  readonly count: number
  /** Runs the action once. */
  readonly once: (port: number, auth: string, i: number) => Promise<void>
}

const BURSTS: readonly Burst[] = [
  {
    name: 'refused upgrades',
    count: 500,
    async once(port, _auth, i) {
      const { socket, closed } = await upgrade(
        port,
        ['/', '/terminal/ws', '/api/', '//x'][i % 4] ?? '/',
      )
      socket.destroy()
      await closed
    },
  },
  {
    name: 'WebSockets opened and closed',
    count: 300,
    async once(port, auth, i) {
      const { socket, until, closed } = await upgrade(port, '/', [auth])
      socket.write(clientFrame(1, 'hello'))
      await until(7)
      if (i % 3 === 0) socket.resetAndDestroy()
      else if (i % 3 === 1) socket.end()
      else {
        socket.once('data', () => socket.end())
        socket.write(clientFrame(8, ''))
      }
      await closed
    },
  },
  {
    name: 'requests that the client aborts',
    count: 500,
    async once(port, auth, i) {
      const socket = await open(port)
      const received = gather(socket)
      const isUpload = i % 2 === 0
      const target = `${isUpload ? 'POST' : 'GET'} /${i % 4 < 2 ? 'hang' : 'drip'}`
      socket.write(
        requestBytes(
          target,
          [auth, ...(isUpload ? ['Content-Length: 100000'] : [])],
          isUpload ? 'x'.repeat(500) : '',
        ),
      )
      if (i % 4 >= 2) await received.until((soFar) => soFar.includes('drip'))
      else await new Promise(setImmediate)
      socket.resetAndDestroy()
      await received.over
    },
  },
  {
    name: 'requests to a dead service',
    count: 300,
    async once(port, auth, i) {
      if (i % 3 === 0) {
        const { closed } = await upgrade(port, '/terminal/ws', [
          auth,
          'Sec-WebSocket-Protocol: tty',
        ])
        await closed
      } else
        await send(
          port,
          `${i % 3 === 1 ? 'GET' : 'POST'} /terminal/`,
          [auth, ...(i % 3 === 1 ? [] : ['Content-Length: 4'])],
          i % 3 === 1 ? '' : 'body',
        )
    },
  },
  {
    name: 'malformed requests',
    count: 200,
    async once(port, _auth, i) {
      await exchange(port, MALFORMED[i % MALFORMED.length] ?? '')
    },
  },
]

async function run({ once }: Burst, count: number, port: number, auth: string): Promise<void> {
  let i = 0
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (i < count) await once(port, auth, i++)
    }),
  )
}

/** Services that respond, hang, respond slowly or are down. */
async function startServices(t: Test) {
  const service = await startUpstream(t, (request, response) => {
    request.resume()
    if (request.url === '/drip') response.write('drip')
    else if (request.url !== '/hang') response.end('served')
  })
  const settings = {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_API_URL: service.url,
    GATEWAY_TERMINAL_URL: `http://127.0.0.1:${await closedPort()}`,
    GATEWAY_HEALTH_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '0',
  }
  return { service, settings, auth: `Authorization: Bearer ${await token()}` }
}

t.test('files, memory and listeners are released after every burst', async (t) => {
  const { service, settings, auth } = await startServices(t)
  const { port, running } = await startTestGateway(t, {
    ...settings,
    GATEWAY_LOG_LEVEL: 'silent',
  })
  const crashes = watchForCrashes()
  const warnings: Error[] = []
  process.on('warning', (warning) => warnings.push(warning))
  const { openSockets, services } = running.parts
  const isQuiet = () =>
    openSockets.size === 0 && Object.values(services).every(({ inFlight }) => inFlight === 0)
  const heap = async () => {
    service.requests.length = 0
    for (let i = 0; i < 3; i++) {
      await new Promise(setImmediate)
      collectGarbage()
    }
    return process.memoryUsage().heapUsed
  }
  for (const burst of BURSTS) {
    await t.test(burst.name, async (t) => {
      const before = openFiles()
      await run(burst, 2 * AT_ONCE, port, auth) // fills pools and caches, which are not leaks
      await eventually(isQuiet, 'nothing under way')
      const baseline = await heap()
      await run(burst, burst.count, port, auth)
      await eventually(isQuiet, 'nothing under way')
      await eventually(() => openFiles() <= before + 2, 'files are closed', 10_000)
      const grown = (await heap()) - baseline
      t.ok(grown < MIB, `${grown} bytes more than before`)
      t.equal((await send(port, 'GET /', [auth])).body, 'served')
      const next = await upgrade(port, '/', [auth])
      t.equal(next.answer.status, 101)
      next.socket.destroy()
      await next.closed
    })
  }
  t.same(warnings, [], 'no listeners pile up')
  t.same(crashes, [])
})

t.test('a real process releases its files and writes nothing to standard error', async (t) => {
  const { settings, auth } = await startServices(t)
  const program = await serve(t, settings)
  await send(program.port, 'GET /', [auth])
  for (const burst of BURSTS) {
    const before = program.openFiles()
    await run(burst, burst.count, program.port, auth)
    await eventually(() => program.openFiles() <= before + 2, burst.name, 10_000)
    t.equal((await send(program.port, 'GET /', [auth])).status, 200, burst.name)
  }
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.equal(program.stderr(), '')
})
