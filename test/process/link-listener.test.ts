/** Do connections of the link reach the stages as those of their device, and is their socket opened, handed over and removed? */
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { MAX_LINK_LINE_BYTES, writeLinkLine } from '../../src/http/link-line.ts'
import { testSettings } from '../helpers/gateway.ts'
import {
  deviceId,
  deviceSession,
  linkedBytes,
  PHONE,
  sendLinked,
  startLinked,
  tellDevices,
} from '../helpers/linked.ts'
import { serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { run, serve, temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { exchange, gather, open, parseAnswer, requestBytes } from '../helpers/wire.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

t.test(
  'a line that arrives in pieces, and what follows it, are read as they were sent',
  async (t) => {
    const { linkSocket, services } = await startLinked(t)
    const { token } = await deviceSession(linkSocket)
    const auth = `Authorization: Bearer ${token}`
    const socket = await open(linkSocket)
    const received = gather(socket)
    const body = 'x'.repeat(100_000)
    const first = requestBytes('POST /api/one', [auth, `Content-Length: ${body.length}`], body)
    const bytes = Buffer.concat([
      linkedBytes(PHONE, 'GET /page', [auth, 'Connection: keep-alive']),
      Buffer.from(first),
      Buffer.from(requestBytes('GET /last', [auth, 'Connection: close'])),
    ])
    for (let at = 0; at < 300; at++) {
      socket.write(bytes.subarray(at, at + 1))
      await new Promise(setImmediate)
    }
    socket.write(bytes.subarray(300))
    const { text, how } = await received.over
    t.equal(how, 'ended')
    t.equal(text.match(/HTTP\/1\.1 200 /g)?.length, 3)
    t.equal(services.api.requests.at(-1)?.body.length, body.length)
  },
)

t.test('a connection that begins with anything else is closed, and says nothing', async (t) => {
  const { linkSocket, dials, logLine, logLines } = await startLinked(t)
  const begins = [
    requestBytes('GET /health'),
    'LINK/1 {"kind":"owner"}\n',
    `LINK/1 ${JSON.stringify({ ...PHONE, sub: 'al\nice' })}\n`,
    'LINK/1 '.padEnd(MAX_LINK_LINE_BYTES, 'x'),
  ]
  for (const begin of begins) t.equal(await exchange(linkSocket, begin), '')
  const half = await open(linkSocket)
  half.end('LINK/1 {')
  await once(half, 'close')
  const refused = () =>
    logLines().filter(({ msg }) => msg === 'a connection on GATEWAY_LINK_SOCKET was closed')
  await logLine(() => refused().length === begins.length)
  t.equal(dials(), 0)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /_gateway/live')).status, 200, 'it goes on')
})

t.test('bytes that are no request are answered, and recorded for their device', async (t) => {
  const { linkSocket, running } = await startLinked(t)
  const line = linkedBytes(PHONE, 'GET /')
  const prefix = line.subarray(0, line.indexOf(10) + 1)
  const answer = parseAnswer(
    await exchange(linkSocket, Buffer.concat([prefix, Buffer.from('\0\r\n')])),
  )
  t.equal(answer.status, 400)
  const id = answer.headers['x-request-id'] ?? ''
  t.match(running.parts.decisions.find(id), { client: `device:${PHONE.device}`, status: 400 })
})

t.test('explain names the device and its relay', async (t) => {
  const { linkSocket, running, logLine } = await startLinked(t)
  const answer = await sendLinked(linkSocket, PHONE, 'GET /page')
  const id = answer.headers['x-request-id'] ?? ''
  await logLine((line) => line['id'] === id)
  const { explainDecision } = await import('../../src/observe/explanation.ts')
  const decision = running.parts.decisions.find(id)
  t.ok(decision)
  if (decision === undefined) return
  const { chain, scheme } = explainDecision(decision)
  t.equal(scheme, 'https')
  t.equal(
    chain.find(({ stage }) => stage === 'client-address')?.detail,
    `device:${PHONE.device}, a paired device, by way of wss://relay.example.com`,
  )
})

t.test('the socket is for its owner alone, and gone at the end', async (t) => {
  const linkSocket = join(temporaryFolder(t), 'link.sock')
  const program = await serve(t, { GATEWAY_LINK_SOCKET: linkSocket })
  await program.logged('listening for the link')
  t.equal(modeOf(linkSocket), 0o600)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /_gateway/live')).status, 200)

  const other = { GATEWAY_STATE_DIR: temporaryFolder(t), GATEWAY_LINK_SOCKET: linkSocket }
  const second = run(t, ['serve'], testSettings(other))
  t.equal(await second.exited, 69)
  t.match(
    second.stderr(),
    `GATEWAY_LINK_SOCKET ${linkSocket} cannot be used: another process listens on the socket`,
  )
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /_gateway/live')).status, 200)

  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.equal(existsSync(linkSocket), false)
})

t.test('what cannot be opened ends the start, and names the setting', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'file')
  writeFileSync(file, 'mine')
  for (const [path, why] of [
    [join(folder, 'missing', 'link.sock'), '(its folder does not exist)'],
    [file, ': a file that is no socket has its name'],
  ] as const) {
    const settings = { GATEWAY_STATE_DIR: temporaryFolder(t), GATEWAY_LINK_SOCKET: path }
    const program = run(t, ['serve'], testSettings(settings))
    t.equal(await program.exited, 69)
    t.ok(program.stderr().includes(`GATEWAY_LINK_SOCKET ${path} cannot be used`), program.stderr())
    t.ok(program.stderr().includes(why))
  }
  t.ok(existsSync(file), 'the file is left alone')
})

t.test('a socket that a killed gateway has left is replaced', async (t) => {
  const settings = {
    GATEWAY_STATE_DIR: temporaryFolder(t),
    GATEWAY_LINK_SOCKET: join(temporaryFolder(t), 'link.sock'),
  }
  const killed = await serve(t, settings)
  await killed.logged('listening for the link')
  killed.child.kill('SIGKILL')
  await killed.exited
  t.ok(existsSync(settings.GATEWAY_LINK_SOCKET))
  const program = await serve(t, settings)
  await program.logged('listening for the link')
  const answer = await sendLinked(settings.GATEWAY_LINK_SOCKET, PHONE, 'GET /_gateway/live')
  t.equal(answer.status, 200)
})

t.test('when the gateway stops, a request of a device under way is answered first', async (t) => {
  const pending = Promise.withResolvers<ServerResponse>()
  const service = await startUpstream(t, (_, response) => pending.resolve(response))
  const linkSocket = join(temporaryFolder(t), 'link.sock')
  const program = await serve(t, {
    GATEWAY_LINK_SOCKET: linkSocket,
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '30',
  })
  await program.logged('listening for the link')
  const { token } = await deviceSession(linkSocket)
  const answer = sendLinked(linkSocket, PHONE, 'GET /slow', [`Authorization: Bearer ${token}`])
  const response = await pending.promise
  const silent = gather(await open(linkSocket)) // opened in advance, without a line
  program.child.kill('SIGTERM')
  await program.logged('draining')
  await silent.over
  response.end('answered')
  t.match(await answer, { status: 200, body: /answered/ })
  t.equal(await program.exited, 0)
  t.equal(existsSync(linkSocket), false)
})

t.test('when the gateway stops, it does not wait for a device that has sent nothing', async (t) => {
  const { linkSocket, running } = await startLinked(t, { GATEWAY_DRAIN_SECONDS: '3600' })
  const known = once(running.app.server, 'connection')
  const silent = await open(linkSocket)
  const received = gather(silent)
  silent.write(writeLinkLine(PHONE))
  await known
  await running.close()
  t.equal((await received.over).text, '')
})

t.test('a hot restart hands the socket over, with the sessions of devices', async (t) => {
  const pending = Promise.withResolvers<ServerResponse>()
  const service = await startUpstream(t, (request, response) =>
    request.url === '/slow' ? pending.resolve(response) : response.end('hello'),
  )
  const linkSocket = join(temporaryFolder(t), 'link.sock')
  const program = await serveWithPortKeeper(t, {
    GATEWAY_LINK_SOCKET: linkSocket,
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '60',
  })
  await program.said('listening for the link')
  t.equal(modeOf(linkSocket), 0o600)
  const { token } = await deviceSession(linkSocket)
  const auth = `Authorization: Bearer ${token}`
  const slow = sendLinked(linkSocket, PHONE, 'GET /slow', [auth])
  const response = await pending.promise
  const before = statSync(linkSocket).ino
  await program.replace()
  await program.said('listening for the link', 2)
  t.not(statSync(linkSocket).ino, before)
  t.equal(modeOf(linkSocket), 0o600)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [auth])).status, 200)
  response.end('late')
  t.match(await slow, { status: 200, body: /late/ }, 'what was under way is answered')
  await program.said('stopped')
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [auth])).status, 200, 'still there')
  t.equal((await tellDevices(linkSocket, [deviceId(9)])).status, 204)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [auth])).status, 401)
  t.equal(await program.stop(), 0)
  t.equal(existsSync(linkSocket), false)
})
