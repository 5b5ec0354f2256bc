/** Does the gateway work behind real Caddy with the configuration in examples/fly: addresses, probes, restarts, streams? */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { Agent } from 'node:https'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { startUpstream } from '../helpers/upstream.ts'
import * as caddy from './caddy.ts'
import { freePort, until } from './neighbour.ts'
import { startWorkspace, type WorkspaceOptions } from './workspace.ts'
import { elapse } from '../helpers/waiting.ts'

await caddy.install()

/** Starts a workspace behind Caddy. Both end with the test. */
async function startFront(
  t: Test,
  options: WorkspaceOptions,
  adapt?: (caddyfile: string) => string,
) {
  const workspace = await startWorkspace(options)
  t.teardown(() => workspace.stop())
  const front = await caddy.startCaddy({ [workspace.host]: workspace.port }, adapt)
  t.teardown(() => front.stop())
  return {
    workspace,
    front,
    bearer: { authorization: `Bearer ${await workspace.token()}` },
    ask: (path: string, request?: caddy.FrontRequest) =>
      caddy.ask(front, workspace.host, path, request),
  }
}

/**
 * Removes the retries of the shipped configuration, so that Caddy's view of the gateway is visible at once. Without retries, a
 * probe that a busy machine answers late would also count as a failure, so the probes get more time.
 */
const impatient = (caddyfile: string) =>
  caddyfile.replace(/^.*lb_try_\w+.*$/gm, '').replace('health_timeout 1s', 'health_timeout 30s')

/** A rate limit that no test reaches. */
const ROOMY = { GATEWAY_RATE_LIMIT: '1000000' }

t.test('the gateway knows the client’s address, and accepts it only from Caddy', async (t) => {
  const dashboard = await startUpstream(t)
  const { workspace, front, ask, bearer } = await startFront(t, {
    dashboard: dashboard.url,
    settings: ROOMY,
  })
  const forged = {
    'x-forwarded-for': '6.6.6.6',
    forwarded: 'for=6.6.6.6;host=evil.example;proto=http',
    'x-real-ip': '6.6.6.6',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-port': '1',
    'x-forwarded-user': 'root',
    'x-workspace': 'research',
  }
  // The addresses of this machine's network cards can be sources too, and unlike loopback they are not trusted proxies.
  const cards = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, scopeid }) => !internal && (scopeid ?? 0) === 0)
    .map(({ address, family }) => ({ from: address, to: family === 'IPv4' ? '127.0.0.1' : '::1' }))
  const clients = [
    { from: '127.0.0.1', to: '127.0.0.1' },
    { from: '127.0.0.77', to: '127.0.0.1' },
    { from: '::1', to: '::1' },
    ...cards,
  ] as const
  for (const { from, to } of clients) {
    for (const headers of [bearer, { ...bearer, ...forged }]) {
      const name = `/${from}/${headers === bearer ? 'honest' : 'forged'}`
      const { status } = await ask(name, { headers, localAddress: from, to: to as '::1' })
      t.equal(status, 200, name)
      await until('the log line', () => workspace.requests(name).length > 0)
      t.equal(workspace.requests(name)[0]?.['client'], from, `${name}: the log has the client`)
      const seen = dashboard.requests.find(({ url }) => url === name)?.headers ?? {}
      const told = Object.entries(seen).filter(([field]) =>
        /forwarded|real-ip|workspace/.test(field),
      )
      t.same(Object.fromEntries(told), {
        'x-forwarded-for': from,
        'x-forwarded-proto': 'https',
        'x-forwarded-host': `${workspace.host}:${front.httpsPort}`,
        'x-forwarded-port': String(front.httpsPort),
        'x-forwarded-user': 'alice',
        'x-workspace': 'houston',
      })
    }
  }
  t.comment(`addresses besides loopback: ${cards.map(({ from }) => from).join(', ') || 'none'}`)
})

t.test('the rate limit counts the client’s address, not Caddy’s', async (t) => {
  const { ask } = await startFront(t, { settings: { GATEWAY_RATE_LIMIT: '2' } })
  const statuses = async (localAddress: string) => [
    (await ask('/', { localAddress })).status,
    (await ask('/', { localAddress })).status,
    (await ask('/', { localAddress })).status,
  ]
  t.same(await statuses('127.0.0.7'), [401, 401, 429])
  t.same(await statuses('127.0.0.8'), [401, 401, 429], 'a neighbour has one of its own')
})

t.test('probes pass, and the workspace stays up while its stats server is down', async (t) => {
  const dashboard = await startUpstream(t)
  const { workspace, ask, bearer } = await startFront(
    t,
    { dashboard: dashboard.url, settings: { GATEWAY_RATE_LIMIT: '20' } },
    impatient,
  )
  await until('six probes', () => workspace.requests('/health').length >= 6)
  const probes = workspace.requests('/health')
  t.same([...new Set(probes.map(({ status }) => status))], [200], 'all good')
  t.match(probes[0], { code: 'upstream-unreachable' }, 'and degraded')
  t.equal((await ask('/', { headers: bearer })).status, 200, 'the dashboard is there')
})

t.test(
  'with GATEWAY_HEALTH_STRICT, Caddy removes the workspace when its stats server is down',
  async (t) => {
    const port = await freePort()
    const settings = { ...ROOMY, GATEWAY_HEALTH_STRICT: 'true' }
    const dashboard = await startUpstream(t)
    const options = { dashboard: dashboard.url, health: `http://127.0.0.1:${port}`, settings }
    const { ask, bearer } = await startFront(t, options, impatient)
    const becomes = (wanted: number) =>
      until(`the dashboard to answer ${wanted}`, async () => {
        const { status } = await ask('/', { headers: bearer })
        return status === wanted
      })
    await becomes(503)
    t.pass('down with it')
    const stats = await startUpstream(t)
    // The stats server starts on the configured port.
    stats.server.close()
    stats.server.listen(port, '127.0.0.1')
    await once(stats.server, 'listening')
    await becomes(200)
    t.pass('up with it')
  },
)

/** A service that keeps every response open as an event stream, and sends what the test gives it. */
async function startEvents(t: Test) {
  const streams: ServerResponse[] = []
  const service = await startUpstream(t, (request, response) => {
    request.resume()
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.flushHeaders()
    streams.push(response)
  })
  return { ...service, streams, tell: (event: string) => streams[0]?.write(`data: ${event}\n\n`) }
}

t.test('events and WebSocket messages pass one by one, unbuffered', async (t) => {
  const events = await startEvents(t)
  const { workspace, front, bearer } = await startFront(t, { api: events.url, settings: ROOMY })
  const answer = await caddy.send(front, workspace.host, '/api/events', { headers: bearer })
  t.equal(answer.headers['content-type'], 'text/event-stream')
  answer.setEncoding('utf8')
  for (let i = 0; i < 20; i++) {
    // The next event is sent only when this one has arrived, so a buffer anywhere would stop the test here.
    const arrived = once(answer, 'data')
    events.tell(String(i))
    t.same(await arrived, [`data: ${i}\n\n`])
  }
  answer.destroy()
  await until('the service to hear of it', () => events.streams[0]?.destroyed)

  const echo = await startUpstream(t)
  const { workspace: second, front: secondFront } = await startFront(t, {
    name: 'research',
    api: echo.url,
    settings: ROOMY,
  })
  const socket = openSocket(secondFront, second.host, await second.token())
  await once(socket, 'open')
  t.match(socket.extensions, 'permessage-deflate', 'compression is agreed end to end')
  for (const message of ['small', 'x'.repeat(1024 * 1024), 'last']) {
    const arrived = once(socket, 'message')
    socket.send(message)
    const [data] = (await arrived) as [Buffer]
    t.ok(data.toString() === message, `${message.length} bytes came back`)
  }
  const pong = once(socket, 'pong')
  socket.ping()
  await pong
  socket.close(4000)
  const [code] = (await once(socket, 'close')) as [number]
  t.equal(code, 4000)
})

function openSocket(front: caddy.Caddy, host: string, token: string): WebSocket {
  return new WebSocket(`wss://127.0.0.1:${front.httpsPort}/api/ws`, [], {
    agent: new Agent({ ca: front.authority, servername: host }),
    headers: { Host: `${host}:${front.httpsPort}`, Authorization: `Bearer ${token}` },
  })
}

t.test(
  'while the gateway drains, Caddy sends no new requests, and requests in flight continue',
  async (t) => {
    const events = await startEvents(t)
    const settings = { ...ROOMY, GATEWAY_DRAIN_SECONDS: '60' } // the drain ends earlier, with the stream
    const { workspace, front, ask, bearer } = await startFront(
      t,
      { api: events.url, settings },
      impatient,
    )
    const answer = await caddy.send(front, workspace.host, '/api/events', { headers: bearer })
    answer.setEncoding('utf8')
    const said = front.program.output().length
    workspace.program.signal('SIGTERM')
    await until('Caddy’s probe to fail', () => {
      const since = front.program.output().slice(said)
      return /health_checker\.active/.test(since)
    })
    const { status } = await ask('/', { headers: bearer })
    t.ok(status === 502 || status === 503, `somebody new is answered ${status}`)
    const arrived = once(answer, 'data')
    events.tell('still here')
    t.same(await arrived, ['data: still here\n\n'], 'the stream goes on')
    events.streams[0]?.end()
    t.equal(await workspace.program.exited, 0, 'and with its end the gateway has stopped')
  },
)

t.test('no client notices a restart under load', async (t) => {
  const received = new Map<string, number>()
  const service = await startUpstream(t, (request, response) => {
    const id = String(request.headers['x-id'])
    received.set(id, (received.get(id) ?? 0) + 1)
    request.resume().on('end', () => response.end(id))
  })
  const echo = await startUpstream(t)
  const stateDir = mkdtempSync(join(tmpdir(), 'workspace-gateway-restart-'))
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }))
  const options = {
    dashboard: service.url,
    api: echo.url,
    port: await freePort(),
    stateDir,
    settings: ROOMY,
  }
  // A busy machine starts programs more slowly than a workspace, so Caddy waits longer than the shipped 10 s.
  const patient = (caddyfile: string) =>
    caddyfile.replace('lb_try_duration 10s', 'lb_try_duration 60s')
  const { workspace, front, ask, bearer } = await startFront(t, options, patient)
  const socket = openSocket(front, workspace.host, await workspace.token())
  await once(socket, 'open')
  const closed = once(socket, 'close')

  const gets: number[] = []
  const posts = new Map<string, number[]>()
  const load = { isOver: false }
  const work = (headers: Record<string, string>, request: caddy.FrontRequest = {}) =>
    ask('/work', { ...request, headers: { ...bearer, ...headers } })
  const readers = Array.from({ length: 4 }, async () => {
    while (!load.isOver) gets.push((await work({})).status)
  })
  const writers = Array.from({ length: 4 }, async () => {
    while (!load.isOver) {
      const id = randomUUID()
      const statuses: number[] = []
      posts.set(id, statuses)
      while (statuses.at(-1) !== 200) {
        const { status } = await work({ 'x-id': id }, { method: 'POST', body: 'x'.repeat(1000) })
        statuses.push(status)
        if (status !== 200) await elapse(100, 'a client waits before it tries again')
      }
    }
  })
  const count = () => gets.length + posts.size
  let running = workspace
  for (let restart = 0; restart < 3; restart++) {
    const before = count()
    await until('work to be done', () => count() > before + 100)
    running.program.signal('SIGTERM')
    t.equal(await running.program.exited, 0, 'stopped')
    running = await startWorkspace(options)
    const successor = running
    t.teardown(() => successor.stop())
  }
  const before = count()
  await until('work to be done', () => count() > before + 100)
  load.isOver = true
  await Promise.all([...readers, ...writers])

  const again = [...posts.values()].flatMap((statuses) => statuses.slice(0, -1))
  t.comment(
    `3 restarts: ${gets.length} GETs, ${posts.size} POSTs, ${again.length} of them sent again`,
  )
  t.same([...new Set(gets)], [200], 'every GET was answered at the first attempt')
  // Caddy 2.6 cannot send a body a second time. When nothing listens it responds 502 at once, or 503 after a failed probe.
  t.ok(
    again.every((status) => status === 502 || status === 503),
    'a POST with a body may meet a 502',
  )
  const ran = [...posts.keys()].map((id) => received.get(id))
  t.same(
    [...new Set(ran)],
    [1],
    'which means that it did not run: sent until it is a 200, it ran once',
  )
  const [code] = (await closed) as [number]
  t.equal(code, 1012, 'a WebSocket was told that the service restarts')
})
