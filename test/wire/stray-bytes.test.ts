/** A service announces 5 bytes and sends 6: is the sixth kept from every client, logged, and counted? */
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { token } from '../helpers/gateway.ts'
import { startOperated } from '../helpers/operations.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

const HELLO = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'
const MESSAGE = 'a service sent bytes that belong to no response'

/** A gateway whose dashboard handles each request like this. */
async function start(t: Test, respond: (socket: Socket) => void) {
  const sockets: Socket[] = []
  const service = await startRawUpstream(t, (socket) => {
    sockets.push(socket)
    socket.on('data', () => respond(socket))
  })
  const gateway = await startOperated(t, { GATEWAY_DASHBOARD_URL: service.url })
  const auth = `Authorization: Bearer ${await token()}`
  return {
    ...gateway,
    sockets,
    dials: service.dials,
    get: (path = '/') => send(gateway.port, `GET ${path}`, [auth]),
    /** Log lines about such bytes, without the time. */
    lines: () =>
      gateway
        .logLines()
        .filter(({ msg }) => msg === MESSAGE)
        .map(({ time: _time, ...line }) => line),
    /** The counter of each service. */
    counted: async () => {
      const { body } = await gateway.ask('/metrics')
      const samples = body.matchAll(/^gateway_stray_bytes_total\{service="([a-z]+)"\} (\d+)$/gm)
      return Object.fromEntries([...samples].map(([, name, bytes]) => [name, Number(bytes)]))
    },
  }
}

const NOTHING = { dashboard: 0, terminal: 0, api: 0, chat: 0, health: 0, vault: 0, code: 0 }

t.test('a sixth byte behind five reaches no client, and is logged and counted', async (t) => {
  const { get, lines, counted, dials, logLines } = await start(t, (socket) => {
    socket.write(`${HELLO}§`, 'latin1')
  })
  t.same(await counted(), NOTHING)
  const { status, body } = await get()
  t.equal(status, 200)
  t.equal(body, 'hello')
  t.same(await counted(), { ...NOTHING, dashboard: 1 })
  const line = { level: 'warn', service: 'dashboard', bytes: 1, connections: 1, msg: MESSAGE }
  t.same(lines(), [line])
  t.equal((await get()).body, 'hello')
  t.equal(dials(), 2, 'the connection was not used again')
  t.notMatch(JSON.stringify(logLines()), '§', 'the byte itself is in no line')
})

t.test('bytes on an idle connection are logged and counted as well', async (t) => {
  const { get, lines, counted, sockets } = await start(t, (socket) => socket.write(HELLO))
  await get()
  sockets[0]?.write('HTTP/1.1 408 Request Timeout\r\n\r\n')
  await eventually(() => lines().length > 0, 'the log line')
  t.match(lines(), [{ service: 'dashboard', bytes: 32, connections: 1 }])
  t.same(await counted(), { ...NOTHING, dashboard: 32 })
})

t.test(
  'a service that always does it gets one line, and the rest when the gateway stops',
  async (t) => {
    const { get, lines, counted, running } = await start(t, (socket) => socket.write(`${HELLO}??`))
    for (let i = 0; i < 20; i++) t.equal((await get()).body, 'hello')
    t.match(lines(), [{ bytes: 2, connections: 1 }])
    t.equal(lines().length, 1)
    t.same(await counted(), { ...NOTHING, dashboard: 40 })
    await running.close()
    t.match(lines().slice(1), [{ service: 'dashboard', bytes: 38, connections: 19 }])
  },
)

t.test('a response as announced is nothing to log', async (t) => {
  const { get, lines, counted, dials } = await start(t, (socket) => socket.write(HELLO))
  for (let i = 0; i < 3; i++) t.equal((await get()).body, 'hello')
  t.equal(dials(), 1)
  t.same(lines(), [])
  t.same(await counted(), NOTHING)
})
