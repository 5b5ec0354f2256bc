/** Does an open socket end with its session, properly, and with nothing else? */
import t, { type Test } from 'tap'
import { startPairs, TTY } from '../helpers/socket-pairs.ts'
import { SECRET, startBefore, token } from '../helpers/gateway.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually, SOON_MS } from '../helpers/waiting.ts'
import {
  closeCode,
  handshake,
  open as openSocket,
  requestBytes,
  send,
  serverFrame,
  upgrade,
} from '../helpers/wire.ts'

/** A second key. */
const PREVIOUS = 'another-key-of-houston-81c0a7d6e5f4b392'

const bearer = (jwt: string) => `Authorization: Bearer ${jwt}`

t.test('a socket ends with 4401 soon after its token has', async (t) => {
  const gateway = await startPairs(t)
  const jwt = await token({ ttlSeconds: 2 })
  const exp =
    (JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as { exp: number })
      .exp * 1000
  const idle = await gateway.connect(bearer(jwt))
  const busy = await gateway.connect(bearer(jwt))
  const inFrame = await gateway.connect(bearer(jwt))
  const stuck = await gateway.connect(bearer(jwt))
  const lasting = await gateway.connect(bearer(await token()))
  const frame = serverFrame(2, Buffer.alloc(300_000, 'f'))
  const chatter = setInterval(() => {
    busy.service.write(serverFrame(1, 'tick'))
    inFrame.service.write(frame.subarray(100_000, 100_010))
  }, 20)
  inFrame.service.write(frame.subarray(0, 100_000)) // a frame that does not get done
  stuck.client.socket.removeAllListeners('data')
  stuck.client.socket.pause()
  stuck.service.write(Buffer.alloc(30_000_000, frame))
  const ends: number[] = []
  for (const { client } of [idle, busy, inFrame]) {
    client.socket.on('end', () => client.socket.end())
    void client.closed.then(() => ends.push(Date.now()))
  }
  await eventually(() => ends.length === 3, 'all ended')
  clearInterval(chatter)
  for (const end of ends) t.ok(end >= exp && end <= exp + SOON_MS, `${end - exp} ms after the end`)
  t.equal(closeCode(idle.client), 4401)
  t.equal((await gateway.logLine(({ msg }) => msg === 'request'))['reason'], 'session ended')
  t.equal(closeCode(busy.client), 4401)
  t.equal(closeCode(inFrame.client), undefined, 'no close frame in the middle of another: a cut')
  t.match(inFrame.client.received().toString('latin1').slice(-20), /^f+$/)
  t.match(idle.heard().toString('latin1'), /\x88/, 'the service is told too')
  await eventually(
    () => gateway.running.parts.openSockets.size === 1,
    'only the other session’s is left',
  )
  lasting.service.write(serverFrame(1, 'still here'))
  await lasting.client.until(12)
  t.match(lasting.client.received().toString('latin1'), 'still here')
  for (const { client } of [idle, busy, inFrame, stuck, lasting]) client.socket.destroy()
  await gateway.settled()
})

t.test('a frame under way is finished before the goodbye', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect(gateway.auth, '/api/ws')
  const frame = serverFrame(2, Buffer.alloc(200_000, 'f'))
  service.write(frame.subarray(0, 50_000))
  await client.until(50_000)
  gateway.running.parts.openSockets.close({ code: 4401, reason: 'session ended' })
  service.write(Buffer.concat([frame.subarray(50_000), serverFrame(1, 'too late')]))
  client.socket.on('end', () => client.socket.end())
  await client.closed
  t.ok(client.received().subarray(0, frame.length).equals(frame))
  t.equal(closeCode(client), 4401)
  t.equal(client.received().length, frame.length + 4 + 'session ended'.length)
  await gateway.settled()
})

t.test(
  'a token in its leeway still opens a socket, which lasts as long as the leeway',
  async (t) => {
    const gateway = await startPairs(t, { GATEWAY_JWT_LEEWAY_SECONDS: '8' })
    const jwt = await token({ ttlSeconds: -4 })
    const { client } = await gateway.connect(bearer(jwt))
    t.equal(client.answer.status, 101)
    const begun = performance.now()
    client.socket.on('end', () => client.socket.end())
    await client.closed
    t.ok(performance.now() - begun > 800, 'not thrown out at once')
    t.equal(closeCode(client), 4401)
    const again = await gateway.connect(bearer(jwt))
    t.equal(again.client.answer.status, 401, 'and then no more')
    await gateway.settled()
  },
)

t.test('signing out ends the sockets of that session and no other', async (t) => {
  const gateway = await startPairs(t)
  const mine = await token()
  const first = await gateway.connect(bearer(mine))
  const second = await gateway.connect(bearer(mine))
  const other = await gateway.connect(bearer(await token()))
  const answer = await send(gateway.port, 'POST /_gateway/sign-out', [
    bearer(mine),
    'Content-Length: 0',
  ])
  t.equal(answer.status, 303)
  for (const { client } of [first, second]) {
    client.socket.on('end', () => client.socket.end())
    await client.closed
    t.equal(closeCode(client), 4401)
  }
  await eventually(() => gateway.running.parts.openSockets.size === 1, 'one is left')
  t.equal(other.client.socket.destroyed, false)
  other.client.socket.destroy()
  await gateway.settled()
})

t.test('a key that goes takes its sockets along, a key that stays keeps them', async (t) => {
  const gateway = await startPairs(t, { GATEWAY_JWT_PREVIOUS_SECRETS: PREVIOUS })
  const old = await gateway.connect(bearer(await token({ secret: PREVIOUS })))
  const current = await gateway.connect(gateway.auth)
  gateway.running.setKeys([SECRET])
  old.client.socket.on('end', () => old.client.socket.end())
  await old.client.closed
  t.equal(closeCode(old.client), 4401)
  await eventually(() => gateway.running.parts.openSockets.size === 1, 'one is left')
  t.equal(
    (await gateway.connect(bearer(await token({ secret: PREVIOUS })))).client.answer.status,
    401,
  )
  current.client.socket.destroy()
  await gateway.settled()
})

t.test('a gateway that stops says 1012', async (t) => {
  const gateway = await startPairs(t, { GATEWAY_DRAIN_SECONDS: '2' })
  const { client } = await gateway.connect(gateway.auth)
  client.socket.on('end', () => client.socket.end())
  const begun = performance.now()
  await Promise.all([gateway.running.close(), client.closed])
  t.equal(closeCode(client), 1012)
  t.equal((await gateway.logLine(({ msg }) => msg === 'request'))['reason'], 'restarting')
  t.ok(performance.now() - begun < 10_000, 'and does not wait for ever')
})

t.test(
  'a session may hold 64 sockets, one more is a 503, and a place that is freed can be taken',
  async (t) => {
    const gateway = await startPairs(t)
    const open = await Promise.all(
      Array.from({ length: 64 }, () => upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])),
    )
    t.same([...new Set(open.map(({ answer }) => answer.status))], [101])
    const dials = gateway.service.dials()
    const { answer } = await upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
    t.equal(answer.status, 503)
    t.equal(answer.headers['x-gateway-error'], 'upstream-busy')
    t.equal(answer.headers['retry-after'], '5')
    t.equal(gateway.service.dials(), dials)
    const other = await upgrade(gateway.port, '/terminal/ws', [bearer(await token()), TTY])
    t.equal(other.answer.status, 101, 'another session has its own places')
    open.pop()?.socket.destroy()
    await eventually(() => gateway.running.parts.openSockets.size === 64, 'one place is free')
    const next = await upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
    t.equal(next.answer.status, 101)
    for (const { socket } of [...open, other, next]) socket.destroy()
    await gateway.settled()
  },
)

t.test('an address may hold 128 sockets of all its sessions, one more is a 503', async (t) => {
  const gateway = await startPairs(t)
  const from = async (address: string, jwt: string) =>
    upgrade(gateway.port, '/terminal/ws', [bearer(jwt), `X-Forwarded-For: ${address}`, TTY])
  const [first, second, third] = [await token(), await token(), await token()]
  const open = await Promise.all(
    Array.from({ length: 128 }, (_, i) => from('2001:db8::1', i % 2 === 0 ? first : second)),
  )
  t.same([...new Set(open.map(({ answer }) => answer.status))], [101])
  const refused = await from('2001:db8::ffff', third)
  t.match(refused.answer, { status: 503, headers: { 'x-gateway-error': 'upstream-busy' } })
  const elsewhere = await from('2001:db8:0:1::1', third)
  t.equal(elsewhere.answer.status, 101, 'another network has its own places')
  open.pop()?.socket.destroy()
  await eventually(() => gateway.running.parts.openSockets.size === 128, 'one place is free')
  const next = await from('2001:db8::1', third)
  t.equal(next.answer.status, 101)
  for (const { socket } of [...open, elsewhere, next]) socket.destroy()
  await gateway.settled()
})

t.test('a client that leaves while its token is checked takes no place', async (t) => {
  const service = await startUpstream(t)
  const gateway = await startBefore(t, service)
  const { server } = gateway.running.app
  const fresh = `Authorization: Bearer ${await token()}`
  const checked = Promise.withResolvers<void>()
  let waiting = 0
  const { subtle } = crypto
  const verify = subtle.verify.bind(subtle)
  t.teardown(() => Reflect.deleteProperty(subtle, 'verify'))
  Object.defineProperty(subtle, 'verify', {
    configurable: true,
    async value(...args: Parameters<typeof verify>) {
      waiting++
      await checked.promise
      return verify(...args)
    },
  })
  const sockets = await Promise.all(Array.from({ length: 64 }, () => openSocket(gateway.port)))
  for (const socket of sockets) socket.write(requestBytes('GET /api/ws', handshake([fresh])))
  await eventually(() => waiting === 64, 'all are being checked')
  for (const socket of sockets) socket.resetAndDestroy()
  let connections = 64
  await eventually(() => {
    server.getConnections((_error, count) => (connections = count))
    return connections === 0
  }, 'all have left')
  checked.resolve()
  const { answer, socket } = await upgrade(gateway.port, '/api/ws', [fresh])
  t.equal(answer.status, 101)
  t.equal(service.dials(), 1, 'nothing was dialled for those who had left')
  socket.destroy()
  await gateway.settled()
})

t.test('a burst of handshakes does not pass the cap', async (t) => {
  const gateway = await startPairs(t)
  const burst = await Promise.all(
    Array.from({ length: 100 }, () => upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])),
  )
  t.equal(burst.filter(({ answer }) => answer.status === 101).length, 64)
  t.equal(burst.filter(({ answer }) => answer.status === 503).length, 36)
  for (const { socket } of burst) socket.destroy()
  await gateway.settled()
})

/** A gateway with two keys before a service that holds every handshake until the test lets it answer. */
async function startHolding(t: Test, settings: Record<string, string> = {}) {
  const waiting: Array<() => void> = []
  const gone: Array<Promise<unknown>> = []
  const service = await startUpstream(t, undefined, (request, socket) => {
    gone.push(new Promise((resolve) => socket.once('close', resolve)))
    socket.resume()
    waiting.push(() => socket.write(switchingProtocols(request)))
  })
  const gateway = await startBefore(t, service, {
    GATEWAY_JWT_PREVIOUS_SECRETS: PREVIOUS,
    ...settings,
  })
  return { ...gateway, waiting, gone }
}

t.test(
  'a session that ends while the service thinks ends the handshake, not one of another session',
  async (t) => {
    type Gateway = Awaited<ReturnType<typeof startHolding>>
    const ends: Array<[what: string, end: (gateway: Gateway, jwt: string) => void]> = [
      [
        'signed out',
        ({ port }, jwt) =>
          void send(port, 'POST /_gateway/sign-out', [bearer(jwt), 'Content-Length: 0']),
      ],
      ['its key is gone', ({ running }) => running.setKeys([SECRET])],
    ]
    for (const [what, end] of ends) {
      const gateway = await startHolding(t)
      const jwt = await token({ secret: PREVIOUS })
      const handshakes = [
        upgrade(gateway.port, '/terminal/ws', [bearer(jwt), TTY]),
        upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY]),
      ] as const
      await eventually(() => gateway.waiting.length === 2, 'both handshakes have arrived')
      end(gateway, jwt)
      const ended = await handshakes[0]
      t.match(ended.answer, { status: 401, headers: { 'x-gateway-error': 'token-invalid' } }, what)
      await ended.closed
      await Promise.race(gateway.gone)
      t.match(await gateway.logLine(({ status }) => status === 401), {
        stage: 'upstream',
        reason: 'session ended',
      })
      for (const goOn of gateway.waiting) goOn()
      const other = await handshakes[1]
      t.equal(other.answer.status, 101, 'the other session goes on')
      t.equal(other.socket.destroyed, false)
      t.equal(gateway.running.parts.openSockets.size, 1)
      other.socket.destroy()
      await gateway.settled()
    }
  },
)

t.test('a gateway that stops while the service thinks ends the socket as it opens', async (t) => {
  const gateway = await startHolding(t, { GATEWAY_DRAIN_SECONDS: '5' })
  const dialling = upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
  await eventually(() => gateway.waiting.length === 1, 'the handshake has arrived')
  void gateway.running.close()
  await gateway.logLine(({ msg }) => msg === 'draining')
  for (const goOn of gateway.waiting) goOn()
  const client = await dialling
  t.equal(client.answer.status, 101)
  await client.closed
  t.equal(closeCode(client), 1012)
  await gateway.settled()
})

t.test('a session that ends as the service accepts ends the socket as it opens', async (t) => {
  const gateway = await startHolding(t)
  const jwt = await token()
  const { session } = await gateway.running.parts.verifier.verify(jwt)
  const dialling = upgrade(gateway.port, '/api/ws', [bearer(jwt)])
  await eventually(() => gateway.waiting.length === 1, 'the handshake has arrived')
  // Between the service's answer and the client's, for which no event of the gateway's exists.
  const isOver = session.isOver.bind(session)
  session.isOver = (...args) => gateway.running.parts.openSockets.size > 0 && isOver(...args)
  session.end('revoked')
  for (const goOn of gateway.waiting) goOn()
  const client = await dialling
  t.equal(client.answer.status, 101)
  await client.closed
  t.equal(closeCode(client), 4401)
  await gateway.settled()
})

t.test(
  'the response by which a service refuses a handshake ends with the session too',
  async (t) => {
    const service = await startUpstream(t, undefined, (_request, socket) => {
      socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nbegin')
    })
    const gateway = await startBefore(t, service)
    const jwt = await token()
    const client = await upgrade(gateway.port, '/api/ws', [bearer(jwt)])
    t.equal(client.answer.status, 403)
    const { sessions, verifier } = gateway.running.parts
    sessions.end([(await verifier.verify(jwt)).session], 'revoked')
    await client.closed
    t.equal(client.received().toString('latin1'), 'begin', 'cut before its announced length')
    t.match(await gateway.logLine(({ status }) => status === 403), { reason: 'session ended' })
    await gateway.settled()
  },
)
