/** Do probes tell a supervisor the truth, at once and as often as it asks, and a stranger nothing? */
import t from 'tap'
import { ADDRESS_SETTINGS, PROBED_SERVICES } from '../../src/rules/services.ts'
import { assertRefused, client, cookie, HTTPS, NAVIGATION } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { closedPort, startDeafUpstream, startUpstream } from '../helpers/upstream.ts'
import { send } from '../helpers/wire.ts'

const PROBES = ['/_gateway/live', '/_gateway/ready'] as const

t.test('everybody gets the verdict, and no service is dialled for it', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://login.example.com/' })
  const foreign = await token({ secret: 'another-key-that-is-not-houstons-own' })
  for (const target of PROBES)
    for (const headers of [
      [],
      NAVIGATION,
      ['Host: 127.0.0.1:8080'],
      ['Host: [fdaa::3]'],
      [`Authorization: Bearer ${foreign}`],
      ['Authorization: Basic eDp5'],
      [cookie('garbage'), HTTPS],
    ]) {
      const answer = await send(workspace.port, `GET ${target}`, headers)
      t.equal(answer.status, 200)
      t.equal(answer.headers['content-type'], 'application/json')
      t.equal(answer.headers['cache-control'], 'no-store')
      t.same(JSON.parse(answer.body), { status: target.endsWith('live') ? 'live' : 'ready' })
      const head = await send(workspace.port, `HEAD ${target}`, headers)
      t.equal(head.status, 200)
      t.equal(head.headers['content-length'], String(answer.body.length))
      t.equal(head.body, '')
    }
  t.equal(workspace.dials(), 0)
})

t.test('a signed-in user gets the state of each service', async (t) => {
  const up = await startUpstream(t)
  const nobody = `http://127.0.0.1:${await closedPort()}`
  const workspace = await startTestGateway(t, {
    ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, nobody])),
    GATEWAY_DASHBOARD_URL: up.url,
    GATEWAY_TERMINAL_URL: (await startDeafUpstream(t)).url,
    GATEWAY_HEALTH_URL: 'unix:/nonexistent/stats.sock',
  })
  const good = await token()
  const expected = {
    status: 'ready',
    state: { health: 'ok' },
    services: {
      ...Object.fromEntries(PROBED_SERVICES.map((name) => [name, 'down'])),
      dashboard: 'up',
    },
  }
  for (const headers of [[`Authorization: Bearer ${good}`], [cookie(good), HTTPS]]) {
    const startedAt = performance.now()
    const answer = await send(workspace.port, 'GET /_gateway/ready', headers)
    t.ok(
      performance.now() - startedAt < 2900,
      'before the three seconds of a connection’s time limit',
    )
    t.equal(answer.status, 200, 'the verdict is about the gateway')
    t.same(JSON.parse(answer.body), expected)
    t.match(await workspace.logLine(({ id }) => id === answer.headers['x-request-id']), {
      stage: 'probe',
      user: 'alice',
    })
  }
  const live = await send(workspace.port, 'GET /_gateway/live', [`Authorization: Bearer ${good}`])
  t.same(JSON.parse(live.body), { status: 'live' })
})

t.test('the services are dialled once a second at most, however many requests ask', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  await Promise.all(
    Array.from({ length: 20 }, () => send(workspace.port, 'GET /_gateway/ready', [bearer])),
  )
  t.ok(workspace.services.dashboard.dials() <= 2, 'one look, two if the second ended meanwhile')
  t.equal(workspace.services.dashboard.requests.length, 0, 'nothing is asked of a service')
})

t.test('a draining gateway is live, but not ready', async (t) => {
  const { port, running, logLine } = await startTestGateway(t)
  const bearer = `Authorization: Bearer ${await token()}`
  running.parts.drain.begin()
  for (const headers of [[], [bearer]]) {
    const answer = await send(port, 'GET /_gateway/ready', headers)
    t.equal(answer.status, 503)
    t.equal(answer.headers['x-gateway-error'], 'draining')
    t.equal(answer.headers['retry-after'], '2')
    t.equal(answer.headers['connection'], 'close')
    t.match(JSON.parse(answer.body), { code: 'draining', status: 503 })
    t.match(await logLine(({ id }) => id === answer.headers['x-request-id']), { stage: 'probe' })
    t.equal((await send(port, 'GET /_gateway/live', headers)).status, 200)
  }
})

t.test('a gateway that does not listen is not ready', async (t) => {
  const { running } = await startTestGateway(t)
  t.equal((await running.app.inject('/_gateway/ready')).statusCode, 200)
  running.app.server.close()
  t.equal((await running.app.inject('/_gateway/ready')).statusCode, 503)
  t.equal((await running.app.inject('/_gateway/live')).statusCode, 200)
})

t.test(
  'a supervisor may ask as often as it likes; whoever brings a credential is counted',
  async (t) => {
    const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '2' })
    const good = await token()
    const supervisor = [client('203.0.113.1')]
    for (let i = 0; i < 5; i++)
      for (const target of PROBES) {
        const answer = await send(port, `GET ${target}`, supervisor)
        t.equal(answer.status, 200)
        t.notOk('ratelimit' in answer.headers)
      }
    const budget = (await send(port, 'GET /', supervisor)).headers['ratelimit'] ?? ''
    t.match(budget, /^"address";r=1;/, 'nothing was spent')
    const credentials = [
      `Authorization: Bearer ${good}`,
      'Authorization: Bearer hub_guess',
      `X-Workspace-Token: ${good}`,
      'X-Workspace-Token: guess',
    ]
    let i = 10
    for (const target of PROBES)
      for (const credential of credentials) {
        const headers = [client(`203.0.113.${i++}`), credential]
        const statuses = []
        for (let n = 0; n < 3; n++)
          statuses.push((await send(port, `GET ${target}`, headers)).status)
        t.same(statuses, [200, 200, 429], `${target} ${credential.slice(0, 24)}`)
      }
    const drained = [client('203.0.113.99')]
    const guesses = []
    for (let n = 0; n < 2; n++)
      guesses.push((await send(port, 'GET /_gateway/live?file=.env', drained)).status)
    t.same(guesses, [403, 403], 'refusals are counted as everywhere')
    t.equal((await send(port, 'GET /', drained)).status, 429)
  },
)

t.test('other methods and hosts are refused', async (t) => {
  const workspace = await startWorkspace(t)
  for (const target of PROBES) {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const headers = ['Content-Type: application/json', 'Content-Length: 1']
      const answer = await send(workspace.port, `${method} ${target}`, headers, '{')
      await assertRefused(t, workspace, answer, {
        code: 'method-not-allowed',
        stage: 'authentication',
      })
      t.equal(answer.headers['allow'], 'GET, HEAD')
    }
    const answer = await send(workspace.port, `GET ${target}`, ['Host: evil.example'])
    await assertRefused(t, workspace, answer, { code: 'host-not-served', stage: 'host' })
    const below = await send(workspace.port, `GET ${target}/x`)
    t.equal(below.status, 401)
  }
})
