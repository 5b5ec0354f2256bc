/** Do the gateway's own lines reach a terminal between two messages of ttyd, and no other WebSocket? */
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { once } from 'node:events'
import { signInPage } from '../helpers/door.ts'
import { startBefore, token, type TestGateway } from '../helpers/gateway.ts'
import { startPairs } from '../helpers/socket-pairs.ts'
import { startUpstream } from '../helpers/upstream.ts'
import type { Session } from '../../src/identity/session.ts'
import { SESSION_ENDED, RESTARTING } from '../../src/answers/close-reasons.ts'
import { serverFrame, type Upgraded } from '../helpers/wire.ts'
import { eventually } from '../helpers/waiting.ts'

const ENDED =
  '0\r\nYour session has ended. Sign in again at http://houston.hubify.com/_gateway/sign-in\r\n'

/** A frame of a server as it was received. */
interface Frame {
  readonly fin: boolean
  readonly opcode: number
  readonly payload: Buffer
}

/** The frames that a client has received. */
function framesOf({ received }: Upgraded): Frame[] {
  const bytes = received()
  const frames: Frame[] = []
  for (let at = 0; at < bytes.length;) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const head = short === 126 ? 4 : short === 127 ? 10 : 2
    const length =
      short === 126
        ? bytes.readUInt16BE(at + 2)
        : short === 127
          ? Number(bytes.readBigUInt64BE(at + 2))
          : short
    const payload = bytes.subarray(at + head, at + head + length)
    frames.push({ fin: (bytes[at] ?? 0) >= 0x80, opcode: (bytes[at] ?? 0) & 0x0f, payload })
    at += head + length
  }
  return frames
}

/** The frames in short: opcode, a plus for a message that goes on, the text or the close code. */
function shortOf(client: Upgraded): string[] {
  return framesOf(client).map(({ fin, opcode, payload }) => {
    const text = opcode === 8 ? String(payload.readUInt16BE(0)) : payload.toString()
    return `${opcode}${fin ? '' : '+'} ${text.length > 200 ? text.length : text}`
  })
}

/** The session of the only browser that is signed in. */
function onlySession({ running }: TestGateway): Session {
  const [browser] = running.parts.sessions.browsers()
  if (browser === undefined) throw new Error('nobody is signed in')
  return browser.session
}

/** Waits until the watchdog has checked everything so many times. */
async function checked({ running }: TestGateway, times: number): Promise<void> {
  let checks = 0
  running.parts.watchdog.add({ place: -1, check: () => checks++ })
  await eventually(() => checks >= times, `${times} checks`)
}

/** Ends everything once both sides of a client's connection are closed. */
async function over({ socket, closed }: Upgraded): Promise<void> {
  socket.on('end', () => socket.end())
  await closed
}

t.test('a terminal is told why it closes; other WebSockets are not', async (t) => {
  const gateway = await startPairs(t)
  const { openSockets } = gateway.running.parts
  for (const [path, reason, expected] of [
    ['/terminal/ws', SESSION_ENDED, [`2 ${ENDED}`, '8 4401']],
    ['/api/ws', SESSION_ENDED, ['8 4401']],
    [
      '/terminal/ws',
      RESTARTING,
      ["2 0\r\nThe workspace's door restarts. Reconnect in a few seconds.\r\n", '8 1012'],
    ],
    ['/api/ws', RESTARTING, ['8 1012']],
  ] as const) {
    const { client, service } = await gateway.connect(gateway.auth, path)
    service.write(serverFrame(2, '0hello'))
    await client.until(8)
    openSockets.close(reason)
    await over(client)
    t.same(shortOf(client), ['2 0hello', ...expected])
    await gateway.settled()
  }
})

t.test('the line waits for the end of the current message, not of its fragment', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect()
  const first = serverFrame(2, Buffer.alloc(100_000, 'f'), false)
  service.write(first.subarray(0, 50_000))
  await client.until(50_000)
  gateway.running.parts.openSockets.close(SESSION_ENDED)
  service.write(
    Buffer.concat([
      first.subarray(50_000),
      serverFrame(9, 'ping'),
      serverFrame(0, 'middle', false),
      serverFrame(0, 'last'),
      serverFrame(2, '0too late'),
    ]),
  )
  await over(client)
  t.same(shortOf(client), ['2+ 100000', '9 ping', '0+ middle', '0 last', `2 ${ENDED}`, '8 4401'])
  await gateway.settled()
})

t.test('a message that does not end is not waited for: there is no line then', async (t) => {
  const gateway = await startPairs(t)
  for (const how of ['silent', 'ending', 'reset'] as const) {
    const { client, service } = await gateway.connect()
    if (how === 'silent') service.removeAllListeners('end') // it also hears the gateway's close frame, and goes on
    service.write(serverFrame(2, '0begun', false))
    await client.until(8)
    gateway.running.parts.openSockets.close(SESSION_ENDED)
    if (how === 'reset') service.resetAndDestroy()
    await over(client)
    t.same(shortOf(client), ['2+ 0begun', '8 4401'], how)
    service.destroy()
    await gateway.settled()
  }
})

t.test(
  'a service that closes within its message does not hide the gateway’s close code',
  async (t) => {
    const gateway = await startPairs(t)
    const { client, service } = await gateway.connect()
    service.write(serverFrame(2, '0begun', false))
    await client.until(8)
    gateway.running.parts.openSockets.close(SESSION_ENDED)
    service.write(serverFrame(8, Buffer.from([0x03, 0xe9])))
    await over(client)
    t.same(shortOf(client), ['2+ 0begun', '8 4401'])
    await gateway.settled()
  },
)

t.test('no line follows the close frame of a service', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect()
  service.write(serverFrame(8, Buffer.from([0x03, 0xe8])))
  await client.until(4)
  gateway.running.parts.openSockets.close(SESSION_ENDED)
  await over(client)
  t.match(shortOf(client), ['8 1000'])
  t.notOk(shortOf(client).some((frame) => frame.startsWith('2')))
  await gateway.settled()
})

t.test('an illegal frame while a line waits ends in a close frame too', async (t) => {
  const gateway = await startPairs(t)
  const { client, service } = await gateway.connect()
  service.write(serverFrame(2, '0begun', false))
  await client.until(8)
  gateway.running.parts.openSockets.close(SESSION_ENDED)
  service.write('HTTP/1.1 200 OK\r\n\r\n')
  await over(client)
  t.same(shortOf(client), ['2+ 0begun', '8 4401'])
  await gateway.settled()
})

t.test('ws takes the line between compressed messages of a real server', async (t) => {
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } })
  const service = await startUpstream(t, undefined, (request, socket, head) => {
    server.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('message', (data: Buffer) => webSocket.send(data, { binary: true }))
    })
  })
  const gateway = await startBefore(t, service)
  const [, jwt = ''] = gateway.auth.split('Bearer ')
  const client = new WebSocket(`ws://127.0.0.1:${gateway.port}/terminal/ws`, ['tty'], {
    headers: { host: 'houston.hubify.com', authorization: `Bearer ${jwt}` },
  })
  const heard: string[] = []
  client.on('message', (data: Buffer) => heard.push(data.toString()))
  const closed = once(client, 'close')
  await once(client, 'open')
  t.match(client.extensions, 'permessage-deflate')
  for (const text of ['0one one one', '0two two two']) client.send(text)
  await eventually(() => heard.length === 2, 'both echoes')
  gateway.running.parts.openSockets.close(SESSION_ENDED)
  const [code] = (await closed) as [number]
  t.same(heard, ['0one one one', '0two two two', ENDED])
  t.equal(code, 4401)
  await gateway.settled()
})

t.test(
  'a browser’s terminal is reminded between two messages, and again after a renewal',
  async (t) => {
    const gateway = await startPairs(t)
    const fields = await signInPage(gateway.port, await token())
    const session = onlySession(gateway)
    const { client, service } = await gateway.connect(fields)
    const other = await gateway.connect()
    const plain = await gateway.connect(fields, '/api/ws')
    service.write(serverFrame(2, '0begun', false))
    await client.until(8)
    const lines = () => shortOf(client).filter((frame) => frame.includes('Your session ends'))
    session.endsAt = Date.now() + 299_000
    await checked(gateway, 4)
    service.write(serverFrame(0, 'last'))
    await eventually(() => lines().length === 1, 'the reminder')
    t.same(shortOf(client), [
      '2+ 0begun',
      '0 last',
      '2 0\r\nYour session ends in 5 minutes. Stay signed in: https://houston.hubify.com/_gateway/renew\r\n',
    ])
    session.endsAt += 1000
    service.write(serverFrame(2, '0more'))
    await eventually(() => lines().length === 2, 'the reminder of the new end')
    t.same(shortOf(other.client), [], 'a program is not reminded')
    t.same(shortOf(plain.client), [], 'nor is another WebSocket of the session')
    for (const { client: one } of [{ client }, other, plain]) one.socket.destroy()
    await gateway.settled()
  },
)

t.test(
  'a reminder that waits within a message does not stop the service from closing',
  async (t) => {
    const gateway = await startPairs(t)
    const fields = await signInPage(gateway.port, await token())
    const session = onlySession(gateway)
    const { client, service } = await gateway.connect(fields)
    service.write(serverFrame(2, '0begun', false))
    await client.until(8)
    session.endsAt = Date.now() + 299_000
    await checked(gateway, 4)
    service.write(serverFrame(8, Buffer.from([0x03, 0xe8])))
    service.end()
    await over(client)
    t.same(shortOf(client), ['2+ 0begun', '8 1000'])
    await gateway.settled()
  },
)
