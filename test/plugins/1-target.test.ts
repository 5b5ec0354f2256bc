/** Is one form of the address decided on and forwarded, and everything else refused? */
import t from 'tap'
import { assertRefused, DOORS, knock, knockWith } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const BAD_TARGETS = [
  // not in origin form
  '*',
  'x',
  'terminal',
  '?x=1',
  'http://houston.hubify.com/',
  'HTTP://houston.hubify.com/health',
  'https://evil.example/',
  'ws://houston.hubify.com/terminal/ws',
  'houston.hubify.com:443',
  'javascript:alert(1)',
  // fragments
  '/#',
  '/terminal#/health',
  '/health#x',
  '/?a=b#c',
  // a host in disguise
  '//',
  '//evil.example',
  '//evil.example/x',
  '///x',
  '//terminal/ws',
  '/%2fevil.example',
  '/%2F%2Fevil.example',
  '/%252fevil.example',
  // backslashes
  '/\\evil.example',
  '/a\\b',
  '/a%5cb',
  '/a%5Cb',
  '/a%255cb',
  '/terminal%5cws',
  // control characters
  '/%00',
  '/a%00b',
  '/a%0d%0aX:%20y',
  '/a%09',
  '/a%7f',
  '/a%1b[31m',
  '/a%2500b',
  // dot segments
  '/.',
  '/..',
  '/./',
  '/../',
  '/a/.',
  '/a/..',
  '/a/./b',
  '/a/../b',
  '/api/../terminal',
  '/health/..',
  '/%2e',
  '/%2e%2e',
  '/.%2e/',
  '/%2E./terminal',
  '/a/%2e%2e/b',
  '/a/%252e%252e/b',
  '/a/%25252e%25252e/b',
  '/a/..%2fb',
  '/a%2f..%2fb',
  '/a%2f%2e%2e%2fb',
  '/a/..;/b',
  '/api/..;/terminal',
  '/a/.;x/b',
  '/a/..;x=1',
  '/a/..%3b/b',
  '/a/..%20/b',
  '/a/%20../b',
  // bad escapes
  '/%',
  '/%2',
  '/%zz',
  '/a%',
  '/a%2',
  '/a%g0',
  '/a%%30%30',
  '/%u002e',
  // invalid UTF-8
  '/%ff',
  '/%c0%ae%c0%ae/',
  '/%c0%af',
  '/%e0%80%af',
  '/%ed%a0%80',
  '/%f4%90%80%80',
  '/%80',
  // another route once decoded
  '/terminal%2fws',
  '/terminal%2Fws',
  '/terminal%252fws',
  '/api%2fv1',
  '/%74erminal',
  '/%61pi/v1',
  '/ap%69',
  '/%68ealth',
  '/healt%68',
  '/%5fgateway/sign-in',
  // a host once the prefix is off
  '/api//evil.example',
  '/api//',
] as const

t.test(
  'an address that is not in the one canonical form is refused over HTTP and as an upgrade',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const target of BAD_TARGETS) {
      for (const door of DOORS) {
        await t.test(`${door} ${target}`, async (t) => {
          const answer = await knock(workspace.port, door, target, [bearer])
          if (
            answer.headers['x-request-id'] !== undefined &&
            answer.headers['x-gateway-error'] === 'bad-target'
          ) {
            const line = await assertRefused(t, workspace, answer, {
              code: 'bad-target',
              stage: 'target',
            })
            t.notOk('path' in line, 'an address without a canonical form is not logged')
          } else {
            // Node's parser refuses some of them before there is a request.
            await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'listener' })
          }
        })
      }
    }
  },
)

t.test('raw control characters and spaces in an address are no request', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const target of ['/a\0b', '/a\tb', '/\x7f', '/a b', '/a\x0bb']) {
    for (const door of DOORS) {
      const answer = await knockWith(workspace.port, door, `GET ${target} HTTP/1.1`, [bearer])
      t.equal(answer.status, 400, JSON.stringify(target))
      t.ok(answer.headers['x-gateway-error'])
      t.equal(workspace.dials(), 0)
    }
  }
})

t.test(
  'an address in the canonical form arrives byte for byte at the one service it belongs to',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    const rows: Array<
      [target: string, service: 'dashboard' | 'api' | 'terminal', arrives?: string]
    > = [
      ['/', 'dashboard'],
      ['/?', 'dashboard'],
      ['/a//b', 'dashboard'],
      ['/a/', 'dashboard'],
      ['/a/b?x=%zz&y=/../..//', 'dashboard'],
      ['/a?next=http://evil.example/%2e%2e', 'dashboard'],
      ['/caf%C3%A9/%F0%9F%98%80', 'dashboard'],
      ['/a%20b', 'dashboard'],
      ["/a+b;c=d,e!$&'()*:@~", 'dashboard'],
      ['/...', 'dashboard'],
      ['/..a/.b', 'dashboard'],
      ['/a%2fb', 'dashboard'],
      ['/terminalx', 'dashboard'],
      ['/terminal-ws', 'dashboard'],
      ['/Terminal', 'dashboard'],
      ['/TERMINAL/ws', 'dashboard'],
      ['/apis', 'dashboard'],
      ['/apix/v1', 'dashboard'],
      ['/API/v1', 'dashboard'],
      ['/healthz', 'dashboard'],
      ['/health/', 'dashboard'],
      ['/health/x', 'dashboard'],
      ['/HEALTH', 'dashboard'],
      ['/x/health', 'dashboard'],
      ['/x/terminal/ws', 'dashboard'],
      ['/_gatewayx', 'dashboard'],
      ['/chat', 'dashboard'],
      ['/chat/x', 'dashboard'],
      ['/terminal;x', 'dashboard'],
      ['/terminal', 'terminal'],
      ['/terminal/', 'terminal'],
      ['/terminal/token?x=/api', 'terminal'],
      ['/terminal//ws', 'terminal'],
      ['/api', 'api', '/'],
      ['/api/', 'api', '/'],
      ['/api?x=1', 'api', '/?x=1'],
      ['/api/?x=1', 'api', '/?x=1'],
      ['/api/v1/models', 'api', '/v1/models'],
      ['/api/api/x', 'api', '/api/x'],
      ['/api/terminal', 'api', '/terminal'],
      ['/api/x/https%3A%2F%2Fa.example%2Fb', 'api', '/x/https%3A%2F%2Fa.example%2Fb'],
      ['/api/health', 'api', '/health'],
    ]
    for (const [target, service, arrives = target] of rows) {
      const before = Object.values(services).map(({ requests }) => requests.length)
      t.equal((await send(port, `GET ${target}`, [bearer])).status, 200, target)
      t.equal(services[service].requests.at(-1)?.url, arrives)
      const after = Object.values(services).map(({ requests }) => requests.length)
      t.equal(
        after.reduce((sum, count, i) => sum + count - (before[i] ?? 0), 0),
        1,
        'one service saw it',
      )
    }
  },
)

t.test('the log has the canonical path, decoded, without the query', async (t) => {
  const { port, logLine } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const answer = await send(port, 'GET /api/caf%C3%A9?q=private', [bearer])
  const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
  t.match(line, { path: '/api/café', route: 'api' })
  t.notMatch(JSON.stringify(line), 'private')
})
