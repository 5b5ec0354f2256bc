/** Does a client that disconnects during its handshake leave a socket at the service, or a used place, behind? */
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { SOCKETS_PER_SESSION } from '../../src/sockets/open-sockets.ts'
import { startBefore, token } from '../helpers/gateway.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { clientFrame, handshake, open, requestBytes } from '../helpers/wire.ts'

const crashes = watchForCrashes()

const CLIENTS = 40

/** How a client disconnects: with FIN, as a program does that ends after all its data was sent, or with RST. */
const WAYS: Readonly<Record<string, (socket: Socket) => void>> = {
  FIN: (socket) => socket.end(),
  RST: (socket) => socket.resetAndDestroy(),
  'FIN behind frames': (socket) => socket.end(clientFrame(1, 'hello')),
}

/** A gateway, a service that closes a socket only after the gateway did, and 40 clients with a new session. */
async function startClients(t: Test, onHandshake: (accept: () => void) => void) {
  const atService = new Set<Socket>()
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.resume()
    onHandshake(() => socket.write(switchingProtocols(request)))
  })
  service.server.on('connection', (socket) => {
    atService.add(socket)
    socket.on('close', () => atService.delete(socket))
  })
  const gateway = await startBefore(t, service)
  const jwt = await token()
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => open(gateway.port)))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const head = () =>
    Buffer.from(requestBytes('GET /api/ws', handshake([`Authorization: Bearer ${jwt}`])))
  return {
    ...gateway,
    sockets,
    ask: (which = sockets) => which.forEach((socket) => socket.write(head())),
    /** The client's FIN is in the packet of its handshake, so Node reads it before any listener is added. */
    askAndLeave: (which = sockets) => which.forEach((socket) => socket.end(head())),
    /** Waits until all their sockets and places are released. */
    async assertGone(t: Test) {
      await gateway.settled()
      await eventually(() => atService.size === 0, 'no ghost at the service')
      const { openSockets, verifier } = gateway.running.parts
      const { session } = await verifier.verify(jwt)
      await eventually(
        () => freePlaces(openSockets, session.id) === SOCKETS_PER_SESSION,
        'places are free',
      )
      await gateway.settled()
      t.equal(openSockets.size, 0)
      const blamed = gateway.logLines().filter(({ code }) => code === 'upstream-unreachable')
      t.same(blamed, [], 'the log does not blame the service')
    },
  }
}

/** The number of WebSockets that the session can still open. */
function freePlaces(
  openSockets: Awaited<ReturnType<typeof startBefore>>['running']['parts']['openSockets'],
  sessionId: string,
): number {
  const taken: Array<() => void> = []
  while (openSockets.hasRoom(sessionId, '127.0.0.1'))
    taken.push(openSockets.reserve(sessionId, '127.0.0.1'))
  for (const release of taken) release()
  return taken.length
}

/** Waits until the system has sent a client's data. */
async function haveLeft(sockets: readonly Socket[]): Promise<void> {
  await eventually(
    () => sockets.every((socket) => socket.destroyed || socket.writableFinished),
    'all have left',
  )
}

for (const [way, leave] of Object.entries(WAYS)) {
  t.test(
    `a client that sends ${way} while its token is checked leaves nothing behind`,
    async (t) => {
      const gate = holdVerification(t)
      const clients = await startClients(t, (accept) => accept())
      clients.ask()
      await eventually(() => gate.held() === CLIENTS, 'all tokens are being checked')
      clients.sockets.forEach(leave)
      await haveLeft(clients.sockets)
      gate.open()
      await clients.assertGone(t)
      t.equal(clients.service.requests.length, 0, 'the service never heard of them')
    },
  )

  t.test(`a client that sends ${way} in the waiting room leaves nothing behind`, async (t) => {
    const clients = await startClients(t, (accept) => accept())
    const { waitingRoom } = clients.running.parts
    const jobs: Array<() => void> = []
    const add = waitingRoom.add.bind(waitingRoom)
    waitingRoom.add = (job) => void jobs.push(job)
    clients.ask()
    await eventually(() => jobs.length === CLIENTS, 'all of them wait')
    clients.sockets.forEach(leave)
    await haveLeft(clients.sockets)
    waitingRoom.add = add
    for (const job of jobs) add(job)
    await clients.assertGone(t)
  })

  t.test(
    `a client that sends ${way} while the service handles its handshake leaves nothing behind`,
    async (t) => {
      let asked = 0
      const clients = await startClients(t, () => asked++)
      clients.ask()
      await eventually(() => asked === CLIENTS, 'all asked')
      clients.sockets.forEach(leave)
      await clients.assertGone(t)
    },
  )

  t.test(
    `a client that sends ${way} at the moment at which the service accepts leaves nothing behind`,
    async (t) => {
      const accepts: Array<() => void> = []
      const clients = await startClients(t, (accept) => accepts.push(accept))
      clients.ask()
      await eventually(() => accepts.length === CLIENTS, 'all asked')
      // For some clients the gateway first notices the disconnect, for others the service's response.
      clients.sockets.forEach((socket, i) => {
        if (i % 2 === 0) leave(socket)
        accepts[i]?.()
        if (i % 2 === 1) leave(socket)
      })
      await clients.assertGone(t)
    },
  )
}

t.test(
  'a client whose handshake has a FIN leaves nothing behind, before its token is checked',
  async (t) => {
    const clients = await startClients(t, (accept) => accept())
    clients.askAndLeave()
    const lines = () => clients.logLines().filter(({ reason }) => reason === 'client left')
    await eventually(() => lines().length === CLIENTS, 'the log says that they left')
    await clients.assertGone(t)
  },
)

t.test(
  'a client whose handshake has a FIN leaves nothing behind, with a known session',
  async (t) => {
    const clients = await startClients(t, (accept) => accept())
    const [first, ...others] = clients.sockets
    clients.ask(first === undefined ? [] : [first])
    await eventually(() => clients.running.parts.openSockets.size === 1, 'the first one is open')
    first?.destroy()
    clients.askAndLeave(others)
    await clients.assertGone(t)
  },
)

/** Blocks every check of a signature until the test opens the gate. */
function holdVerification(t: Test) {
  const { subtle } = crypto
  const verify = subtle.verify.bind(subtle)
  const { promise, resolve } = Promise.withResolvers<void>()
  let held = 0
  subtle.verify = async (...args: Parameters<typeof verify>) => {
    held++
    await promise
    return verify(...args)
  }
  t.teardown(() => {
    Reflect.deleteProperty(subtle, 'verify')
    resolve()
  })
  return { held: () => held, open: resolve }
}

t.test('no error was uncaught', async (t) => {
  t.same(crashes, [])
})
