/** Does ttyd get its page requests, and no upgrade but the one it means? */
import t from 'tap'
import {
  assertRefused,
  client,
  cookie,
  HTTPS,
  knock,
  ORIGIN,
  pairs,
  toldOf,
} from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { clientFrame, send, serverFrame, upgrade } from '../helpers/wire.ts'

t.test('requests keep the prefix /terminal', async (t) => {
  const { port, services } = await startWorkspace(t)
  const signedIn = [cookie(await token()), HTTPS]
  for (const target of [
    '/terminal',
    '/terminal/',
    '/terminal/token',
    '/terminal/ws',
    '/terminal/x?arg=1',
  ]) {
    t.equal((await send(port, `GET ${target}`, signedIn)).status, 200)
    t.equal(services.terminal.requests.at(-1)?.url, target)
  }
})

t.test(
  'ttyd gets Host, Origin and its Basic credentials as the browser sent them, and the user',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const headers = [
      cookie(await token()),
      HTTPS,
      client('203.0.113.9'),
      `Origin: ${ORIGIN}`,
      'Authorization: Basic dXNlcjpwYXNz',
      'Sec-WebSocket-Protocol: tty',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]
    const { answer, socket } = await upgrade(port, '/terminal/ws?x=1', headers)
    t.equal(answer.status, 101)
    t.equal(answer.headers['sec-websocket-protocol'], 'tty')
    socket.destroy()
    t.same(pairs(services.terminal.requests[0]?.rawHeaders ?? []), [
      'authorization: Basic dXNlcjpwYXNz',
      'host: houston.hubify.com',
      `origin: ${ORIGIN}`,
      'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
      'sec-websocket-protocol: tty',
      'sec-websocket-version: 13',
      'upgrade: websocket',
      ...toldOf(answer.headers['x-request-id']),
    ])
    t.equal(services.terminal.requests[0]?.url, '/terminal/ws?x=1')
  },
)

t.test('WebSocket messages pass in both directions', async (t) => {
  const { port } = await startWorkspace(t)
  const headers = [`Authorization: Bearer ${await token()}`, 'Sec-WebSocket-Protocol: tty, other']
  const { answer, socket, until } = await upgrade(port, '/terminal/ws', headers)
  t.equal(answer.status, 101)
  socket.write(clientFrame(2, 'ls\n'))
  const echoed = serverFrame(2, 'ls\n')
  t.same(await until(echoed.length), echoed)
  socket.destroy()
})

t.test('tty may stand anywhere among the subprotocols, with spaces or without', async (t) => {
  const { port } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const offer of ['tty', 'other,tty', 'tty,other', 'other ,\ttty , third']) {
    const protocols = `Sec-WebSocket-Protocol: ${offer}`
    t.equal((await knock(port, 'upgrade', '/terminal/ws', [bearer, protocols])).status, 101, offer)
  }
})

t.test('no handshake with another path or subprotocol reaches ttyd', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const refusal = { code: 'bad-request', stage: 'upstream' } as const
  const tty = 'Sec-WebSocket-Protocol: tty'
  for (const target of [
    '/terminal',
    '/terminal/',
    '/terminal/w',
    '/terminal/ws/',
    '/terminal/wss',
    '/terminal/ws/x',
    '/terminal//ws',
    '/terminal/WS',
    '/terminal/%77s',
    '/terminal/ws;x',
    '/terminal/x/ws',
    '/terminal/token',
  ])
    await assertRefused(
      t,
      workspace,
      await knock(workspace.port, 'upgrade', target, [bearer, tty]),
      refusal,
    )
  for (const protocols of [[], ['TTY'], ['tty2'], ['xtty'], ['"tty"'], ['other'], ['tt,y'], ['']]) {
    const lines = protocols.map((value) => `Sec-WebSocket-Protocol: ${value}`)
    await assertRefused(
      t,
      workspace,
      await knock(workspace.port, 'upgrade', '/terminal/ws', [bearer, ...lines]),
      refusal,
    )
  }
})

t.test(
  'the terminal is not reachable without signing in, with ttyd’s password or without',
  async (t) => {
    const workspace = await startWorkspace(t)
    for (const headers of [[], ['Authorization: Basic dXNlcjpwYXNz']]) {
      const answer = await knock(workspace.port, 'upgrade', '/terminal/ws', [
        ...headers,
        'Sec-WebSocket-Protocol: tty',
      ])
      await assertRefused(t, workspace, answer, {
        code: 'sign-in-required',
        stage: 'authentication',
      })
      const page = await send(workspace.port, 'GET /terminal/token', headers)
      await assertRefused(t, workspace, page, { code: 'sign-in-required', stage: 'authentication' })
    }
  },
)
