/**
 * Is a new service one row? A copy of the tree gets two rows more; it is compiled, and a gateway is started from it. Nothing
 * else in the copy is changed.
 */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type * as settingsModule from '../src/config/settings.ts'
import type * as configurationModule from './helpers/configuration.ts'
import type * as operationsModule from './helpers/operations.ts'
import type * as gatewayModule from './helpers/gateway.ts'
import type * as helpModule from '../src/commands/help.ts'
import type * as generateModule from '../docs/generate.ts'
import type * as doctorModule from '../src/commands/doctor.ts'
import { SETTINGS as TREE } from '../src/config/settings.ts'
import { ADDRESS_SETTINGS } from '../src/rules/services.ts'
import { runCommand } from './helpers/command.ts'
import { cookie, HTTPS, NAVIGATION } from './helpers/door.ts'
import { copyOfProject, temporaryFolder } from './helpers/process.ts'
import { closedPort, startUpstream } from './helpers/upstream.ts'
import { send, upgrade } from './helpers/wire.ts'

const ROOT = resolve(import.meta.dirname, '..')
const LIST = 'src/rules/services.ts'
const END_OF_ROWS = '} as const satisfies Record<string, ServiceRow>'

/** A made-up page for those who are signed in; and a notebook, with WebSockets, that may be talked into any HTML. */
const MADE_UP = `
  'made-up': {
    words: 'The made-up page',
    path: '/made-up',
    claims: 'prefix',
    stripsPath: false,
    address: {
      key: 'madeUpUrl',
      env: 'GATEWAY_MADE_UP_URL',
      default: 'http://127.0.0.1:6500',
      description: 'Where the made-up page listens.',
    },
    answeredBy: 'service',
    forwarding: 'full',
    isolated: false,
    serviceWorkers: true,
    upgrades: 'none',
    budget: 'session',
    doctor: { name: 'made-up', start: 'start the made-up page', bind: 'bind it to 127.0.0.1' },
  },
  'made-up-notes': {
    words: 'The notebook',
    path: '/made-up-notes',
    claims: 'prefix',
    stripsPath: true,
    address: {
      key: 'madeUpNotesUrl',
      env: 'GATEWAY_MADE_UP_NOTES_URL',
      default: 'http://127.0.0.1:6501',
      description: 'Where the notebook listens.',
    },
    answeredBy: 'service',
    forwarding: 'none',
    isolated: true,
    serviceWorkers: false,
    upgrades: 'signed-in',
    budget: 'address',
    doctor: { name: 'made-up-notes', start: 'start the notebook', bind: 'bind it to 127.0.0.1' },
  },
`

/** The whole tree with the rows in it, in a folder of its own. */
function copyWithRows(t: Test): string {
  const folders = ['src', 'plugins', 'routes', 'embedded', 'build', 'test/helpers']
  const files = ['docs/generate.ts', 'package.json', 'tsconfig.json']
  const copy = copyOfProject(t, [...folders, ...files])
  const list = readFileSync(join(copy, LIST), 'utf8')
  const changed = list.replace(END_OF_ROWS, () => MADE_UP + END_OF_ROWS)
  if (changed === list) throw new Error(`${LIST} does not have ${END_OF_ROWS}`)
  writeFileSync(join(copy, LIST), changed)
  return copy
}

const copy = copyWithRows(t)

/** The modules of the copy; their types are those of the tree, which knows nothing of the rows. */
const load = async <Module>(path: string) => (await import(join(copy, path))) as Module

const { SETTINGS } = await load<typeof settingsModule>('src/config/settings.ts')
const { problemsOf } = await load<typeof configurationModule>('test/helpers/configuration.ts')
const { startOperated } = await load<typeof operationsModule>('test/helpers/operations.ts')
const { testSettings, token } = await load<typeof gatewayModule>('test/helpers/gateway.ts')

/** What the compiler says about the copy; nothing when it takes it. */
async function compile(): Promise<string> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  try {
    // Without tap's loaders, which cannot load it.
    const command = ['-u', 'NODE_OPTIONS', process.execPath, tsc, '-p', copy, '--incremental']
    const { stdout, stderr } = await promisify(execFile)('env', command)
    return stdout + stderr
  } catch (error) {
    const { stdout, stderr, message } = error as { stdout: string; stderr: string; message: string }
    return stdout + stderr || message
  }
}

t.test('the compiler takes the rows, and no list that lacks them', async (t) => {
  t.equal(await compile(), '')
  const path = join(copy, 'src/observe/metrics.ts')
  const code = readFileSync(path, 'utf8')
  const labels = "['dashboard', 'chat', 'terminal', 'api', 'health', 'gateway', 'none'] as const"
  writeFileSync(path, code.replace("[...keysOf(ROUTE_WORDS), 'none'] as const", labels))
  const complaint = await compile()
  writeFileSync(path, code)
  t.match(
    complaint,
    /metrics\.ts.* error TS7053: .*RouteName/s,
    'its requests would be counted under NaN',
  )
})

t.test('the settings are read, checked and listed', async (t) => {
  t.same(problemsOf({ GATEWAY_MADE_UP_URL: 'http://127.0.0.1:6505' }), [])
  t.match(problemsOf({ GATEWAY_MADE_UP_URL: 'ftp://x' }), [/^GATEWAY_MADE_UP_URL .*not an/])
  t.match(problemsOf({ GATEWAY_MADE_UP_URL: '' }), [/^GATEWAY_MADE_UP_URL is empty/])
  t.match(problemsOf({ GATEWAY_MAD_UP_URL: 'http://x' }), [/mean GATEWAY_MADE_UP_URL/])
  t.match(problemsOf({ GATEWAY_PORT: '6500' }), [/default port of GATEWAY_MADE_UP_URL/])
  t.match(problemsOf({ GATEWAY_MADE_UP_NOTES_URL: 'http://localhost' }), [/own address/])
  t.match(problemsOf({ GATEWAY_CONTROL_UI: '/made-up/x' }), [/is below \/made-up/])
  t.same(problemsOf({ GATEWAY_SESSION_ROUTES: 'made-up,made-up-notes' }), [])
  t.equal(SETTINGS.sessionRoutes.default, `${TREE.sessionRoutes.default},made-up`)
  t.match(SETTINGS.programRoutes.accepts, /, made-up and made-up-notes;/)
})

t.test('help and the documents name them', async (t) => {
  const { helpText } = await load<typeof helpModule>('src/commands/help.ts')
  t.match(helpText(), 'GATEWAY_MADE_UP_URL [default http://127.0.0.1:6500]')
  const { PAGES } = await load<typeof generateModule>('docs/generate.ts')
  t.match(
    PAGES['docs/configuration.md']?.(),
    '| `GATEWAY_MADE_UP_NOTES_URL` | `http://127.0.0.1:6501` |',
  )
  t.match(
    PAGES['docs/services.md']?.(),
    /^\| `made-up-notes` \|.*`\/made-up-notes`, `\/made-up-notes\/\*`, taken off/m,
  )
})

/** A gateway of the copy before stand-ins for all services, and its operator's side. */
async function startCopy(t: Test, settings = {}) {
  const [madeUp, notes] = await Promise.all([
    startUpstream(t),
    startUpstream(t, (_request, response) => {
      response.setHeader('Content-Type', 'text/html')
      response.setHeader('Set-Cookie', 'a=b; Path=/')
      response.setHeader('Clear-Site-Data', '"*"')
      response.end('<script>')
    }),
  ])
  const gateway = await startOperated(t, {
    GATEWAY_MADE_UP_URL: madeUp.url,
    GATEWAY_MADE_UP_NOTES_URL: notes.url,
    ...settings,
  })
  return { ...gateway, madeUp, notes, bearer: `Authorization: Bearer ${await token()}` }
}

t.test('a request reaches its service, and nobody reaches it without a credential', async (t) => {
  const { port, madeUp, notes, dials, bearer, logLine } = await startCopy(t)
  for (const path of ['/made-up', '/made-up/x?y=1', '/made-up-notes/x']) {
    const refused = await send(port, `GET ${path}`)
    t.equal(refused.status, 401, path)
    t.equal(
      (await upgrade(port, path)).answer.status,
      path.startsWith('/made-up-notes') ? 401 : 400,
      path,
    )
  }
  t.equal((await send(port, 'GET /made-up/.env', [bearer])).status, 403)
  t.equal(madeUp.dials() + notes.dials(), 0)

  const answer = await send(port, 'POST /made-up/x?y=1', [bearer])
  t.equal(answer.status, 200)
  t.match(madeUp.requests[0], {
    method: 'POST',
    url: '/made-up/x?y=1',
    headers: { 'x-forwarded-user': 'alice', 'x-workspace': 'houston' },
  })
  const id = answer.headers['x-request-id']
  t.match(await logLine((line) => line['id'] === id), { route: 'made-up', stage: 'upstream' })
  t.equal((await send(port, 'GET /made-upx', [bearer])).status, 200)
  t.equal(madeUp.requests.length, 1, 'a look-alike is the dashboard’s')
  t.equal(dials(), 1)
})

t.test('the columns hold: path, forwarding, isolation, workers, budget', async (t) => {
  const { port, madeUp, notes, bearer } = await startCopy(t)
  const isolated = await send(port, 'GET /made-up-notes/x', [bearer])
  t.equal(notes.requests[0]?.url, '/x')
  t.equal(notes.requests[0]?.headers['x-forwarded-user'], undefined)
  t.match(isolated.headers['content-security-policy'], /sandbox/)
  t.match(isolated.headers['set-cookie'], /Path=\/made-up-notes/)
  t.equal(isolated.headers['clear-site-data'], undefined)

  const worker = [bearer, 'Service-Worker: script']
  t.equal((await send(port, 'GET /made-up-notes/sw.js', worker)).status, 404)
  t.equal((await send(port, 'GET /made-up/sw.js', worker)).status, 200)

  const browser = [cookie(await token()), HTTPS, ...NAVIGATION]
  t.match((await send(port, 'GET /made-up', browser)).headers['ratelimit'], /^"session"/)
  t.match((await send(port, 'GET /made-up-notes', browser)).headers['ratelimit'], /^"address"/)
  t.equal(madeUp.requests.length + notes.requests.length, 4)
})

t.test('WebSockets are as the column says', async (t) => {
  const { port, madeUp, notes, bearer } = await startCopy(t)
  const refused = await upgrade(port, '/made-up/ws', [bearer])
  t.equal(refused.answer.status, 400)
  await refused.closed
  t.equal(madeUp.dials(), 0)
  const taken = await upgrade(port, '/made-up-notes/ws', [bearer])
  t.equal(taken.answer.status, 101)
  t.equal(notes.requests[0]?.url, '/ws')
  taken.socket.destroy()
})

t.test('metrics, probes, status and explain know them', async (t) => {
  const { port, ask, bearer, logLine } = await startCopy(t, {
    GATEWAY_MADE_UP_NOTES_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  const answer = await send(port, 'GET /made-up/', [bearer])
  const id = answer.headers['x-request-id']
  await logLine((line) => line['id'] === id)
  const { body: metrics } = await ask('/metrics')
  const series = 'gateway_requests_total{route="made-up",stage="upstream",status="2xx"} 1'
  t.match(metrics, series)
  t.match(metrics, 'gateway_upstream_seconds_count{route="made-up"} 1')
  t.match(metrics, 'gateway_in_flight_requests{service="made-up-notes"} 0')
  t.notMatch(metrics, /NaN|undefined/)

  const ready = await send(port, 'GET /_gateway/ready', [bearer])
  const services = { 'made-up': 'up', 'made-up-notes': 'down', dashboard: 'up' }
  t.match(JSON.parse(ready.body), { status: 'ready', services })
  t.match(JSON.parse((await ask('/status')).body), {
    services: { 'made-up': { state: 'up', inFlight: 0 }, 'made-up-notes': { state: 'down' } },
  })
  t.match(JSON.parse((await ask(`/explain/${id}`)).body), { route: 'made-up', status: 200 })

  const down = await send(port, 'GET /made-up-notes/', [bearer])
  t.equal(down.status, 502)
  t.match(JSON.parse(down.body), { detail: /^The notebook does not answer/ })
})

t.test('doctor looks at them, and says what to do', async (t) => {
  const { doctor } = await load<typeof doctorModule>('src/commands/doctor.ts')
  const nobody = `http://127.0.0.1:${await closedPort()}`
  const { url } = await startUpstream(t)
  const settings = {
    ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, nobody])),
    GATEWAY_MADE_UP_URL: url,
    GATEWAY_MADE_UP_NOTES_URL: nobody,
    GATEWAY_PORT: String(await closedPort()),
    GATEWAY_STATE_DIR: temporaryFolder(t),
  }
  const options = { outerAddresses: ['127.0.0.2'] }
  const { out } = await runCommand(doctor, ['--json'], testSettings(settings), options)
  const { findings } = JSON.parse(out) as { findings: Array<{ check: string }> }
  const of = (name: string) => findings.find(({ check }) => check === name)
  t.match(of('made-up-answers'), {
    verdict: 'pass',
    detail: `${url} answered /made-up/ with 200`,
  })
  t.match(of('made-up-notes-answers'), {
    verdict: 'fail',
    detail: /people get 502 or 504 on \/made-up-notes$/,
    remedy: 'start the notebook, or set GATEWAY_MADE_UP_NOTES_URL to where it listens',
  })
  t.match(of('made-up-port-closed'), { verdict: 'pass' })
  t.match(of('made-up-notes-port-closed'), { verdict: 'pass' })
})
