/** Are files that hold secrets refused through every route, method and form, for everyone, before anything is dialled? */
import t from 'tap'
import { assertRefused, client, cookie, DOORS, HTTPS, knock } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const refusal = { code: 'sensitive-file', stage: 'sensitive-files' } as const

/** Every route, with a place for a path below it. */
const ROUTES = ['', '/api', '/terminal', '/chat', '/_gateway', '/health', '/api/files', '/a/b/c']

/** The built-in names, in disguises. */
const NAMES = [
  '.env',
  '.ENV',
  '.Env',
  'production.env',
  '.env.local',
  '.env.production',
  '.env.example.local',
  'openclaw.json',
  'OpenClaw.JSON',
  'main.vault.enc',
  'MAIN.VAULT.ENC',
  '.vault.enc',
  'server.key',
  'id.KEY',
  '.key',
  '.env.',
  '.env..',
  '.env%20',
  '.env%20%20.',
  '.env;x',
  '.env;.png',
  '.env:x',
  '.env::$DATA',
  '.env/',
  '.env/x',
  '.env%2f',
  '.env%2fx',
  '%2eenv',
  '%2e%65%6e%76',
  '%252eenv',
  '%25252eenv',
  '.e%6ev',
  '.e%256ev',
  'x%2fserver.key',
  'openclaw%2ejson',
  '.env%3f',
  '.env%23',
  '%EF%BC%8Eenv',
  '.en%EF%BD%96',
  '.env%E2%80%8B',
]

t.test(
  'a sensitive name is refused below every route, over HTTP and as an upgrade, signed in or not',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
    const good = await token()
    const callers = [[], [`Authorization: Bearer ${good}`], [cookie(good), HTTPS]]
    for (const route of ROUTES) {
      for (const [i, name] of NAMES.entries()) {
        const target = `${route}/${name}`
        for (const door of DOORS) {
          await t.test(`${door} ${target}`, async (t) => {
            const answer = await knock(workspace.port, door, target, callers[i % 3])
            await assertRefused(t, workspace, answer, refusal)
          })
        }
      }
    }
  },
)

t.test(
  'a sensitive name is refused at the end of a query value, and of a query name',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const query of [
      'path=.env',
      'path=/data/.env',
      'path=/data/.ENV',
      'path=%2Fdata%2F.env',
      'path=/data/%2eenv',
      'path=%252Fdata%252F%252eenv',
      'path=..\\data\\.env',
      'path=C:%5Cdata%5C.env',
      'a=1&path=/data/openclaw.json',
      'a=1&b[]=/x/server.key',
      'path=/data/.env/',
      'path=/data/.env%20',
      'path=/data/.env+',
      'path=/data/.env%00.png',
      'path=file:///data/main.vault.enc',
      '/data/.env',
      '.env',
      'raw??&.env',
      '.env??raw',
      'x=/data/.env&x=/data/readme',
      'x=/data/.env;y=1',
    ]) {
      for (const [door, route] of [
        ['request', '/api/files'],
        ['request', '/'],
        ['request', '/health'],
        ['request', '/_gateway/sign-in'],
        ['upgrade', '/terminal/ws'],
      ] as const) {
        await t.test(`${door} ${route}?${query}`, async (t) => {
          const answer = await knock(workspace.port, door, `${route}?${query}`, [bearer])
          await assertRefused(t, workspace, answer, refusal)
        })
      }
    }
  },
)

t.test('a sensitive name is refused for every method', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    const answer = await send(workspace.port, `${method} /api/.env`, [bearer, 'Content-Length: 0'])
    await assertRefused(t, workspace, answer, refusal)
  }
  const head = await send(workspace.port, 'HEAD /api/.env', [bearer])
  t.equal(head.status, 403)
  t.equal(head.headers['x-gateway-error'], 'sensitive-file')
  t.equal(head.body, '')
  t.equal(workspace.dials(), 0)
})

t.test('names that only look alike are nobody’s secrets', async (t) => {
  const { port } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const target of [
    '/environment',
    '/env',
    '/.environment',
    '/.envrc',
    '/.env-example',
    '/.env.example',
    '/dotenv',
    '/keyboard.js',
    '/monkey',
    '/api/keys/1',
    '/key',
    '/x.keys',
    '/x.key.pub',
    '/turnkey.js',
    '/openclaw.json5',
    '/openclaw.jsonx',
    '/my-openclaw.json.md',
    '/vault.encx',
    '/x.vault.encrypted',
    '/_next/static/chunks/app.env-1234.js',
    '/a?path=/data/.env/readme',
    '/a?path=/environment',
    '/a?q=what+is+.env+for',
    '/a?key=1&env=2',
  ])
    t.equal((await send(port, `GET ${target}`, [bearer])).status, 200, target)
})

t.test('added names are refused as well, and the built-in ones stay', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_SENSITIVE_FILES: 'id_rsa,*.pem' })
  const bearer = `Authorization: Bearer ${await token()}`
  for (const target of ['/id_rsa', '/api/ID_RSA', '/x/ca.pem', '/x?f=/etc/ca.PEM', '/.env']) {
    const answer = await send(workspace.port, `GET ${target}`, [bearer])
    await assertRefused(t, workspace, answer, refusal)
  }
  t.equal((await send(workspace.port, 'GET /pem', [bearer])).status, 200)
})

t.test(
  'a refused name still spends the address’s budget, and stays 403 when it is gone',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
    const from = client('203.0.113.9')
    for (let i = 0; i < 5; i++)
      await assertRefused(t, workspace, await send(workspace.port, 'GET /.env', [from]), refusal)
    const next = await send(workspace.port, 'GET /', [
      from,
      `Authorization: Bearer ${await token()}`,
    ])
    await assertRefused(t, workspace, next, { code: 'rate-limited', stage: 'rate-limit' })
    const other = await send(workspace.port, 'GET /', [client('203.0.113.10')])
    t.equal(other.status, 401, 'another address is not affected')
  },
)
