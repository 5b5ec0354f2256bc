/** Who waits when hundreds must be refused in the same moment? Those who are refused, and not who may pass. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { MAX_UNDER_WAY, MAX_WAITING_WHEN_FULL } from '../../src/http/client-connection.ts'
import { Key } from '../../src/identity/key-ring.ts'
import { MAX_WAITING_IN_ALL } from '../../src/limits/waiting-requests.ts'
import { cookie, HTTPS, ORIGIN } from '../helpers/door.ts'
import type { RunningGateway } from '../../src/process/lifecycle.ts'
import { startBefore, startWorkspace, token, type TestGateway } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, handshake, open, requestBytes, send, type Received } from '../helpers/wire.ts'

const FLOOD = 300

/** For conditions on a machine that is busy, in milliseconds. */
const PATIENCE_MS = 30_000

/** Connections that the gateway has accepted, for requests that come all at once: a flood, and one for a user. */
async function openMany(t: Test, { port, running }: Pick<TestGateway, 'port' | 'running'>) {
  const lines = await Promise.all(
    Array.from({ length: FLOOD + 1 }, async () => {
      const socket = await open(port)
      t.teardown(() => socket.destroy())
      return { socket, received: gather(socket) }
    }),
  )
  const { server } = running.app
  let accepted = 0
  while (accepted <= FLOOD) {
    await nextTurn() // Node accepts one connection a turn
    accepted = await promisify<number>((done) => server.getConnections(done))()
  }
  const [user, ...flood] = lines
  if (user === undefined) throw new Error('no connection')
  return { user, flood }
}

/** Turns of the event loop until refusals wait: they do so for a few of them. */
async function someoneWaits({ waitingRoom }: RunningGateway['parts']): Promise<void> {
  while (waitingRoom.size === 0) await nextTurn()
}

/** Waits for whole answers and gives their statuses. */
function statuses(answers: ReadonlyArray<{ received: Received }>): Promise<number[]> {
  return Promise.all(
    answers.map(async ({ received }) => {
      const text = await received.until((one) => one.includes('\r\n\r\n'))
      return Number(text.split(' ')[1])
    }),
  )
}

/** A gateway whose service notes how many refusals the log has when a request arrives there. */
async function startCounting(t: Test) {
  const countAt: number[] = []
  const counting = { refused: () => 0 }
  const service = await startUpstream(
    t,
    (_request, response) => {
      countAt.push(counting.refused())
      response.end('ok')
    },
    (_request, socket) => {
      countAt.push(counting.refused())
      socket.destroy()
    },
  )
  const gateway = await startBefore(t, service)
  counting.refused = () =>
    gateway.logLines().filter(({ msg, code }) => msg === 'request' && code !== undefined).length
  await send(gateway.port, 'GET /', [gateway.auth]) // connected to the service, and the token is known
  countAt.length = 0
  return { ...gateway, countAt, refused: counting.refused }
}

t.test('a signed-in request passes hundreds of refusals that were there before', async (t) => {
  const gateway = await startCounting(t)
  const { flood, user } = await openMany(t, gateway)
  const kinds = ['GET /api/.env', 'GET /', 'GET /a//../b', 'HEAD /openclaw.json']
  flood.forEach(({ socket }, i) => socket.write(requestBytes(kinds[i % kinds.length] ?? '')))
  user.socket.write(requestBytes('GET /', [gateway.auth]))
  await user.received.until((text) => text.includes('ok'))
  t.ok((gateway.countAt[0] ?? FLOOD) < FLOOD / 2, `${gateway.countAt[0]} were refused before it`)
  t.same(
    await statuses(flood),
    flood.map((_, i) => [403, 401, 400, 403][i % kinds.length]),
  )
})

t.test('so does a signed-in WebSocket', async (t) => {
  const gateway = await startCounting(t)
  const { flood, user } = await openMany(t, gateway)
  for (const { socket } of flood) socket.write(requestBytes('GET /api/x', handshake()))
  user.socket.write(requestBytes('GET /api/x', handshake([gateway.auth])))
  await eventually(() => gateway.countAt.length > 0, 'the service is dialled', PATIENCE_MS)
  t.ok((gateway.countAt[0] ?? FLOOD) < FLOOD / 2, `${gateway.countAt[0]} were refused before it`)
  t.same(
    await statuses(flood),
    flood.map(() => 401),
  )
  await eventually(() => flood.every(({ socket }) => socket.destroyed), 'all are closed')
})

const FORGERIES = {
  'as a credential': (forged: string) => requestBytes('GET /', [`Authorization: Bearer ${forged}`]),
  'at sign-in': (forged: string) => requestBytes(`GET /_gateway/sign-in?token=${forged}`),
}

for (const [name, requestOf] of Object.entries(FORGERIES))
  t.test(`checking forged tokens ${name} waits for who is known`, async (t) => {
    const gateway = await startCounting(t)
    const { flood, user } = await openMany(t, gateway)
    const forged = (await token({ subject: 'mallory' })).slice(0, -8)
    let checked = 0
    const mayHaveSigned = Reflect.get(Key.prototype, 'mayHaveSigned')
    t.intercept(Key.prototype, 'mayHaveSigned', {
      configurable: true,
      value(this: Key, given: string) {
        checked++
        return mayHaveSigned.call(this, given)
      },
    })
    const jose = t.capture(crypto.subtle, 'verify')
    let checkedBefore: number | undefined
    gateway.service.server.prependListener('request', () => (checkedBefore = checked))
    flood.forEach(({ socket }, i) => {
      socket.write(requestOf(`${forged}${String(i).padStart(7, 'A')}A`))
    })
    user.socket.write(requestBytes('GET /', [gateway.auth]))
    await user.received.until((text) => text.includes('ok'))
    t.ok((checkedBefore ?? FLOOD) < FLOOD / 2, `${checkedBefore} were checked before it`)
    t.same(
      await statuses(flood),
      flood.map(() => 401),
    )
    t.equal(checked, FLOOD)
    t.same(jose(), [], 'and none of them took a turn of the thread pool')
  })

t.test('who is signed in does not wait to hear of a failure', async (t) => {
  const gateway = await startWorkspace(t)
  const headers = [cookie(await token()), HTTPS]
  await send(gateway.port, 'GET /', headers)
  const { flood, user } = await openMany(t, gateway)
  for (const { socket } of flood) socket.write(requestBytes('GET /.env'))
  user.socket.write(
    requestBytes('POST /', [...headers, `Origin: ${ORIGIN}.evil`, 'Content-Length: 0']),
  )
  await user.received.until((text) => text.includes('\r\n\r\n'))
  t.match(user.received.text(), /^HTTP\/1\.1 403 [^]*X-Gateway-Error: origin-not-allowed/)
  t.ok(gateway.running.parts.waitingRoom.size > 0, 'others are still waiting')
  await statuses(flood)
})

t.test('a client that sends 20,000 requests at once gets 20,000 answers, in order', async (t) => {
  const gateway = await startWorkspace(t)
  const { waitingRoom } = gateway.running.parts
  const socket = await open(gateway.port)
  const lines = [
    ['GET /.env', 403],
    ['GET /x', 401],
    ['GET //x', 400],
    ['GET /health', 200],
  ] as const
  const requests = Array.from({ length: 20_000 }, (_, i) => lines[((i * i) % 7) % lines.length])
  const seen: number[] = []
  let rest = ''
  socket.on('data', (chunk: Buffer) => {
    const text = rest + chunk.toString('latin1')
    for (const [, status] of text.matchAll(/HTTP\/1\.1 ([0-9]{3}) [^\r]*\r\n/g))
      seen.push(Number(status))
    const end = text.lastIndexOf('\r\n')
    rest = text.slice(end < 0 ? 0 : end + 2)
  })
  socket.write(requests.map((line) => requestBytes(line?.[0] ?? '')).join(''))
  let most = 0
  const deadline = performance.now() + PATIENCE_MS
  while (seen.length < requests.length && performance.now() < deadline && !socket.destroyed) {
    most = Math.max(most, waitingRoom.size)
    await nextTurn()
  }
  t.ok(most > 0 && most <= 1024, `${most} waited at most`)
  t.same(
    seen,
    requests.map((line) => line?.[1]),
  )
  socket.destroy()
})

t.test('a client that leaves while it waits is logged with what it was refused for', async (t) => {
  const gateway = await startWorkspace(t)
  const { flood } = await openMany(t, gateway)
  for (const { socket } of flood) socket.write(requestBytes('GET /.env', ['Host: localhost']))
  await someoneWaits(gateway.running.parts)
  for (const { socket } of flood) socket.resetAndDestroy()
  const requests = () => gateway.logLines().filter(({ msg }) => msg === 'request')
  await eventually(() => requests().length === FLOOD, 'a line for each', PATIENCE_MS)
  for (const line of requests())
    t.match(line, { stage: 'sensitive-files', code: 'sensitive-file', path: '/.env' })
  t.ok(
    requests().some(({ status, bytes }) => status === 0 && bytes === 0),
    'some were gone',
  )
  await eventually(() => gateway.running.parts.waitingRoom.size === 0, 'nobody waits')
  t.equal((await send(gateway.port, 'GET /.env')).status, 403)
})

t.test('bodies, Expect and HEAD are answered in their turn as ever', async (t) => {
  const gateway = await startWorkspace(t)
  const { flood } = await openMany(t, gateway)
  const requests = [
    requestBytes('POST /.env', ['Content-Length: 5'], 'hello'),
    requestBytes('POST /.env', ['Content-Length: 5', 'Expect: 100-continue']),
    requestBytes('PUT /.env', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\n\r\n'),
    requestBytes('HEAD /.env'),
  ]
  flood.forEach(({ socket }, i) => socket.write(requests[i % requests.length] ?? ''))
  const texts = await Promise.all(
    flood.map(({ received }, i) =>
      received.until((text) => text.includes(i % 4 === 3 ? '\r\n\r\n' : '}\n')),
    ),
  )
  texts.forEach((text, i) => {
    t.match(text, /^HTTP\/1\.1 403 /)
    t.equal(/^Connection: close\r$/m.test(text), i % 4 === 1)
    t.equal(text.endsWith('}\n'), i % 4 !== 3)
  })
  // Those that may go on do.
  const again = flood.filter((_, i) => i % 4 !== 1)
  for (const { socket } of again) socket.write(requestBytes('GET /.env', ['Connection: close']))
  for (const { received } of again) t.match((await received.over).text, /403[^]*HTTP\/1\.1 403 /)
})

t.test('what waits when the gateway is told to stop is still answered', async (t) => {
  const gateway = await startWorkspace(t, { GATEWAY_DRAIN_SECONDS: '60' })
  const { flood } = await openMany(t, gateway)
  const closed = flood.map(({ socket }: { socket: Socket }) => once(socket, 'close'))
  // All of them wait, since a connection of which nothing has been read would be cut when the gateway stops.
  const { waitingRoom } = gateway.running.parts
  const add = waitingRoom.add.bind(waitingRoom)
  const jobs: Array<() => void> = []
  waitingRoom.add = (job) => jobs.push(job)
  for (const { socket } of flood) socket.write(requestBytes('GET /.env'))
  await eventually(() => jobs.length === flood.length, 'all refusals wait', PATIENCE_MS)
  for (const job of jobs) add(job)
  await gateway.running.close()
  await Promise.all(closed)
  t.same(
    flood.map(({ received }) => received.text().slice(9, 12)),
    flood.map(() => '403'),
  )
})

t.test('requests that wait behind others are bounded for all connections together', async (t) => {
  const held: ServerResponse[] = []
  const service = await startUpstream(t, (request, response) => {
    if (request.url === '/held') held.push(response)
    else response.end('here')
  })
  const gateway = await startBefore(t, service)
  await send(gateway.port, 'GET /known', [gateway.auth])
  let read = 0
  gateway.running.app.server.on('request', () => read++)
  // One read brings thousands of the shortest request, all of which wait behind those that the service holds.
  const flood =
    requestBytes('GET /held', [gateway.auth]).repeat(MAX_UNDER_WAY) +
    'GET / HTTP/1.1\r\n\r\n'.repeat(3600)
  const sockets: Socket[] = []
  const isCut = () => sockets.some((socket) => socket.destroyed)
  while (!isCut()) {
    t.ok(sockets.length < 100, `${sockets.length} connections`)
    if (sockets.length >= 100) break
    const socket = await open(gateway.port)
    t.teardown(() => socket.destroy())
    sockets.push(socket)
    const before = held.length
    socket.write(flood)
    await eventually(
      () => held.length === before + MAX_UNDER_WAY || isCut(),
      'at the service, or cut',
      PATIENCE_MS,
    )
  }
  // What one connection brings to a full house is not even parsed to its end.
  t.ok(
    read <= MAX_WAITING_IN_ALL + 1 + MAX_WAITING_WHEN_FULL + sockets.length * MAX_UNDER_WAY,
    `${read} were read`,
  )
  t.equal(sockets.filter((socket) => !socket.destroyed).length, sockets.length - 1, 'one was cut')
  const user = await open(gateway.port)
  const received = gather(user)
  const few = requestBytes('GET /few', [gateway.auth])
  user.write(few.repeat(MAX_WAITING_WHEN_FULL))
  await received.until((text) => text.split('here').length === MAX_WAITING_WHEN_FULL + 1)
  t.notOk(user.destroyed, 'who sends a few is served')
  user.destroy()
  // Requests that were parsed in vain count for a second, which stands still until this test has looked.
  const frozenAt = performance.now()
  const { restore } = t.intercept(performance, 'now', { value: () => frozenAt })
  for (const socket of sockets) socket.destroy()
  for (const response of held) response.end() // the gateway does not read there, and learns only now that they have left
  await gateway.settled()
  // What they had parsed for nothing still counts for a moment: who comes again has no more of it done.
  const again = await open(gateway.port)
  const before = read
  const end = gather(again).over
  again.write(flood)
  await end
  t.ok(
    read - before <= MAX_UNDER_WAY + MAX_WAITING_WHEN_FULL + 2,
    `${read - before} more were read`,
  )
  restore()
  for (const response of held) response.end()
  // Then the places are free: a long pipeline of one client passes as a whole.
  let answered = 0
  while (answered < 1000) {
    const one = await open(gateway.port)
    const answers = gather(one)
    one.write(few.repeat(1000))
    const text = await answers.until((soFar) => soFar.split('here').length === 1001)
    answered = text.split('here').length - 1
    one.destroy()
  }
  t.equal(answered, 1000)
  await gateway.settled()
})
