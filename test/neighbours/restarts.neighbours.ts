/** Does a client notice a restart of the gateway under load behind Caddy? */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { mintToken } from '../../src/identity/mint.ts'
import { startUpstream } from '../helpers/upstream.ts'
import * as caddy from './caddy.ts'
import { freePort, until } from './neighbour.ts'
import * as supervisors from './supervisors.ts'
import { elapse, later } from '../helpers/waiting.ts'

await Promise.all([caddy.install(), supervisors.install()])

const HOST = 'houston.hubify.localhost'
const SECRET = 'restarted-key-of-houston-6c1f0d9e27b84a35'
/** The number of restarts. TEST_ROUNDS can set more. */
const RESTARTS = Number(process.env['TEST_ROUNDS'] ?? 5)

/** The minimum number of requests of each kind that get a response before each restart. */
const WORK = 20

type Scene = Awaited<ReturnType<typeof startScene>>

/** A workspace behind Caddy whose gateway is supervised and restarted by runit. */
async function startScene(t: Test, overrides: Record<string, string> = {}) {
  const service = await startUpstream(t, (incoming, response) => {
    incoming.resume().on('end', () => later(20, () => response.end('answered')))
  })
  const folder = mkdtempSync(join(tmpdir(), 'workspace-gateway-restarts-'))
  const port = await freePort()
  const runit = supervisors.SUPERVISORS.find(({ name }) => name === 'runit')
  if (runit === undefined) throw new Error('runit is not among the supervisors')
  const supervised = await runit.start({
    folder,
    settings: {
      GATEWAY_WORKSPACE: 'houston',
      GATEWAY_DOMAIN: 'hubify.localhost',
      GATEWAY_JWT_SECRET: SECRET,
      GATEWAY_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      GATEWAY_STATE_DIR: join(folder, 'state'),
      GATEWAY_RATE_LIMIT: '1000000',
      GATEWAY_RATE_LIMIT_SECONDS: '3600',
      GATEWAY_SESSION_RATE_LIMIT: '3',
      GATEWAY_DASHBOARD_URL: service.url,
      GATEWAY_API_URL: service.url,
      GATEWAY_TERMINAL_URL: service.url,
      GATEWAY_HEALTH_URL: service.url,
      GATEWAY_LOG_LEVEL: 'info',
      ...overrides,
    },
  })
  t.teardown(async () => {
    await supervised.program.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  // Probes and starts get more time, because this test keeps the machine busy and does not check their speed.
  const front = await caddy.startCaddy({ [HOST]: port }, (caddyfile) =>
    caddyfile
      .replace('health_timeout 1s', 'health_timeout 30s')
      .replace('lb_try_duration 10s', 'lb_try_duration 60s'),
  )
  t.teardown(() => front.stop())
  const subject = { secret: SECRET, workspace: 'houston', subject: 'alice', ttlSeconds: 3600 }
  const token = await mintToken(subject)
  const authorization = `Bearer ${token}`
  const ask = (path: string, options: caddy.FrontRequest = {}) =>
    caddy.ask(front, HOST, path, { headers: { authorization }, ...options })
  await until('the gateway', async () => (await ask('/api/first')).status === 200)
  return {
    supervised,
    front,
    authorization,
    ask,
    /** Sends a request as a browser whose session has a limit of three requests. */
    browse: () => ask('/', { headers: { cookie: `__Host-workspace_session=${token}` } }),
  }
}
type Ask = () => ReturnType<typeof caddy.ask>

/** A client that sends requests without a pause, and repeats a request until it gets a response. */
async function askOn(ask: Ask, over: AbortSignal, onAnswer: () => void) {
  const tally = { answered: 0, again: [] as string[], slowestMs: 0 }
  while (!over.aborted) {
    const begun = performance.now()
    for (;;) {
      const outcome = await ask().then(
        ({ status, headers }) => [status, headers['x-gateway-error']].join(' ').trim(),
        (error: NodeJS.ErrnoException) => error.code ?? error.message,
      )
      if (outcome === '200') break
      tally.again.push(outcome)
      await elapse(100, 'a client that is not answered waits before it tries again')
    }
    tally.answered++
    onAnswer()
    tally.slowestMs = Math.max(tally.slowestMs, Math.round(performance.now() - begun))
  }
  return tally
}

/** Opens a terminal's WebSocket. @returns a promise for its close code */
async function openSocket({ front, authorization }: Scene): Promise<() => Promise<number>> {
  const socket = new WebSocket(`wss://127.0.0.1:${front.httpsPort}/terminal/ws`, 'tty', {
    agent: front.agent,
    headers: { host: `${HOST}:${front.httpsPort}`, authorization },
  })
  const closed = Promise.withResolvers<number>()
  socket.on('close', (code) => closed.resolve(code))
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  return () => closed.promise
}

/** Restarts the gateway under load. @returns the results of the clients, separately for readers and writers */
async function restartOften(t: Test, scene: Scene, restart: () => Promise<void>) {
  for (const status of [200, 200, 200, 429]) t.equal((await scene.browse()).status, status)
  const over = new AbortController()
  const done = { reads: 0, writes: 0 }
  const headers = { authorization: scene.authorization }
  const write = () => scene.ask('/api/write', { method: 'POST', body: 'x'.repeat(5000), headers })
  const clients = (ask: Ask, kind: keyof typeof done) =>
    Promise.all(Array.from({ length: 3 }, () => askOn(ask, over.signal, () => done[kind]++)))
  const readers = clients(() => scene.ask('/api/read'), 'reads')
  const writers = clients(write, 'writes')
  for (let round = 0; round < RESTARTS; round++) {
    const closed = await openSocket(scene)
    const { reads, writes } = done
    await until('reads', () => done.reads > reads + WORK)
    await until('writes', () => done.writes > writes + WORK)
    await restart()
    t.equal(await closed(), 1012)
    t.equal((await scene.browse()).status, 429, 'what is spent stays spent')
  }
  over.abort()
  const sum = (tallies: Awaited<typeof readers>) => ({
    answered: tallies.reduce((all, { answered }) => all + answered, 0),
    again: tallies.flatMap(({ again }) => again),
    slowestMs: Math.max(...tallies.map(({ slowestMs }) => slowestMs)),
  })
  const seen = { readers: sum(await readers), writers: sum(await writers) }
  t.comment(JSON.stringify(seen))
  return seen
}

t.test('during restarts behind Caddy, every request gets a response', async (t) => {
  const scene = await startScene(t)
  const { readers, writers } = await restartOften(t, scene, async () => {
    const pid = await scene.supervised.pid()
    await scene.supervised.ask('restart')
    await until('another process', async () => ![0, pid].includes(await scene.supervised.pid()))
  })
  t.ok(readers.answered > RESTARTS * WORK)
  t.same(readers.again, [], 'a GET waits in Caddy for the next gateway')
  // Caddy 2.6 cannot send a body a second time. When nothing listens it responds 502 at once, or 503 after a probe at the wrong
  // moment. A response with the gateway's error code would mean that the request had reached a gateway.
  t.ok(
    writers.again.every((answer) => answer === '502' || answer === '503'),
    'a POST may have to be sent again',
  )
})

t.test('during replacements (SIGUSR2), no client even waits', async (t) => {
  const scene = await startScene(t, { GATEWAY_HOT_RESTART: 'true' })
  const replaced = () => scene.supervised.output().split('"gateway replaced"').length
  const { readers, writers } = await restartOften(t, scene, async () => {
    const before = replaced()
    await scene.supervised.ask('replace')
    await until('another gateway', () => replaced() > before)
  })
  t.ok(readers.answered > RESTARTS * WORK)
  t.same(
    [...readers.again, ...writers.again],
    [],
    'every request was answered at the first attempt',
  )
})
