/** Is the gateway replaced by another process without refusing a connection or losing a request? */
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { token } from '../helpers/gateway.ts'
import { serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { startLoad } from '../helpers/load.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { closeCode, gather, open, requestBytes, send, upgrade } from '../helpers/wire.ts'

/** The number of replacements under load. TEST_ROUNDS changes it. */
const ROUNDS = Number(process.env['TEST_ROUNDS'] ?? 3)

const authorization = async () => `Authorization: Bearer ${await token()}`

t.test(
  'under load no request is refused or lost, and WebSockets are closed with 1012',
  async (t) => {
    const service = await startUpstream(t)
    const program = await serveWithPortKeeper(t, {
      GATEWAY_DASHBOARD_URL: service.url,
      GATEWAY_TERMINAL_URL: service.url,
      GATEWAY_DRAIN_SECONDS: '30', // keep-alive connections end by themselves
    })
    const auth = await authorization()
    const headers = {
      Host: 'houston.hubify.com',
      Authorization: auth.slice('Authorization: '.length),
    }
    const endLoad = startLoad({
      options: { host: '127.0.0.1', port: program.port, headers },
      fresh: 4,
      kept: 4,
    })
    for (let round = 1; round <= ROUNDS; round++) {
      const socket = await upgrade(program.port, '/terminal/ws', [
        auth,
        'Sec-WebSocket-Protocol: tty',
      ])
      socket.socket.on('end', () => socket.socket.end())
      await program.replace()
      await socket.closed
      t.equal(closeCode(socket), 1012)
      await program.said('stopped', round)
    }
    const tally = await endLoad()
    t.same(tally.failures, {})
    t.ok(tally.answered > 50, JSON.stringify(tally))
    t.equal(await program.stop(), 0)
  },
)

t.test('an open connection gets one more response, with Connection: close', async (t) => {
  const pending = Promise.withResolvers<ServerResponse>()
  const service = await startUpstream(t, (request, response) =>
    request.url === '/slow' ? pending.resolve(response) : response.end('hello'),
  )
  const program = await serveWithPortKeeper(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_TERMINAL_URL: service.url,
    GATEWAY_HEALTH_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '60',
  })
  const auth = await authorization()
  const [slow, idle, young, prober] = [
    await open(program.port),
    await open(program.port),
    await open(program.port),
    await open(program.port),
  ]
  for (const socket of [idle, prober]) {
    socket.write(requestBytes('GET /first', [auth]))
    await once(socket, 'data')
  }
  slow.write(requestBytes('GET /slow', [auth]))
  const response = await pending.promise
  await program.replace()
  await program.said('draining')
  const [slowly, idly, youngly, healthily] = [slow, idle, young, prober].map(gather)
  idle.write(requestBytes('GET /again', [auth]))
  young.write(requestBytes('GET /first', [auth]))
  prober.write(requestBytes('GET /health'))
  response.end('finished')
  for (const received of [idly, youngly])
    t.match((await received?.over)?.text, /^HTTP\/1\.1 200 .*Connection: close.*hello/is)
  t.match((await healthily?.over)?.text, /^HTTP\/1\.1 200 /, 'nobody is sent elsewhere')
  t.match(await slowly?.until((text) => text.includes('finished')), /^HTTP\/1\.1 200 /)
  slow.destroy()
  await program.said('stopped')
  t.equal((await send(program.port, 'GET /', [auth])).status, 200)
})

t.test('the file of a Unix socket stays the same', async (t) => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'gateway.sock')
  const service = await startUpstream(t)
  const program = await serveWithPortKeeper(t, {
    GATEWAY_PORT: undefined,
    GATEWAY_HOST: undefined,
    GATEWAY_SOCKET: path,
    GATEWAY_STATE_DIR: join(folder, 'state'),
    GATEWAY_DASHBOARD_URL: service.url,
  })
  const { ino, mode } = statSync(path)
  t.equal(mode & 0o777, 0o600)
  const auth = await authorization()
  const endLoad = startLoad({
    options: {
      socketPath: path,
      headers: { Host: 'houston.hubify.com', Authorization: auth.slice(15) },
    },
    fresh: 2,
    kept: 2,
  })
  await program.replace()
  await program.said('stopped')
  t.match(await endLoad(), { failures: {} })
  t.equal(statSync(path).ino, ino)
  t.equal(await program.stop(), 0)
  t.equal(existsSync(path), false)
})
