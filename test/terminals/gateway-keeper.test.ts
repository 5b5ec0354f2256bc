/** Does a shell survive through the gateway, and does every view of the gateway say so? */
import t from 'tap'
import { fieldLines } from '../../src/http/fields.ts'
import { explainDecision } from '../../src/observe/explanation.ts'
import { browser, openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { startTestGateway, token } from '../helpers/gateway.ts'
import { eventually } from '../helpers/waiting.ts'
import { closeCode, send, upgrade } from '../helpers/wire.ts'
import { basic, startTtyd } from '../helpers/ttyd.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { areParked, CREDENTIAL, TAB } from '../helpers/kept-terminals.ts'

t.test('a page that was cut comes back to its shell, which log and explain say', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  const first = await openPage(t, port, alice)
  t.equal(first.arrival, undefined, 'what the keeper says to the gateway reaches no client')
  const shell = await ttyd.shell(0)
  shell.print('hello\r\n')
  await eventually(() => first.output().includes('hello'), 'output')
  first.socket.terminate()
  await areParked(keeper)
  const second = await openPage(t, port, alice)
  await eventually(() => second.output().includes('hello'), 'the screen')
  const third = await openPage(t, port, alice)
  await eventually(() => second.closedWith() !== undefined, 'the older page is closed')
  t.equal(second.closedWith(), 1000)
  third.type('ls\r')
  await eventually(() => shell.received.includes('0ls\r'), 'the same shell')
  t.equal(ttyd.shells.length, 1)
  third.socket.terminate()
  const ofTerminal = () => gateway.logLines().filter((line) => line['terminal'] !== undefined)
  await eventually(() => ofTerminal().length === 3, 'three lines')
  t.same(
    new Set(ofTerminal().map((line) => line['terminal'])),
    new Set(['new', 'back', 'taken-over']),
  )
  const back = ofTerminal().find((line) => line['terminal'] === 'back')
  const decision = gateway.running.parts.decisions.find(String(back?.['id']))
  t.ok(decision)
  if (decision === undefined) return
  const explanation = explainDecision(decision)
  t.equal(explanation.terminal, 'back')
  t.match(explanation.chain.at(-1)?.detail, /^101 from terminal; the shell that waited$/)
})

t.test('a restart is announced, and the shell waits as for a lost connection', async (t) => {
  const { keeper, gateway, port } = await startKeptWorkspace(
    t,
    {},
    {
      TERMINALS_PARK_CLOSED_SECONDS: '0',
    },
  )
  const alice = await browser(port)
  const kept = await openPage(t, port, alice)
  const other = await openPage(t, port, alice, { tab: '' })
  await eventually(() => kept.messages.length >= 2 && other.messages.length >= 2, 'both are open')
  await gateway.running.close()
  await eventually(
    () => kept.closedWith() !== undefined && other.closedWith() !== undefined,
    'closed',
  )
  t.equal(kept.closedWith(), 1012)
  t.match(kept.output(), /Your shell is kept .* press Enter or reload it\.\r\n$/)
  t.match(other.output(), /restarts\. Reconnect in a few seconds\.\r\n$/, 'a page without a tab')
  await areParked(keeper)
  await eventually(() => keeper.terminals.size === 1, 'the one without a tab has ended')
  const [terminal] = await keeper.list()
  t.match(terminal, { state: 'parked', tab: TAB })
  t.ok((terminal?.parkedUntil ?? 0) - Date.now() > 43_000_000, 'for as long as a lost connection')
})

t.test(
  'a shell is not called kept when the keeper keeps none, nor behind a plain ttyd',
  async (t) => {
    const { gateway, port } = await startKeptWorkspace(t, {}, { TERMINALS_PARK_SECONDS: '0' })
    const page = await openPage(t, port, await browser(port))
    await eventually(() => page.messages.length >= 2, 'it is open')
    await gateway.running.close()
    await eventually(() => page.closedWith() !== undefined, 'closed')
    t.notMatch(page.output(), /kept/)

    const ttyd = await startTtyd(t, CREDENTIAL)
    const plain = await startTestGateway(t, {
      GATEWAY_TERMINAL_URL: ttyd.url,
      GATEWAY_DRAIN_SECONDS: '0',
    })
    const direct = await openPage(t, plain.port, await browser(plain.port))
    direct.type('x')
    await eventually(() => direct.messages.includes('0x'), 'it is open')
    t.notMatch(
      ttyd.requests.flatMap(({ rawHeaders }) => rawHeaders),
      /x-workspace-(?:session|user)/i,
      'a plain ttyd hears of no session',
    )
    await plain.running.close()
    await eventually(() => direct.closedWith() !== undefined, 'closed')
    t.notMatch(direct.output(), /kept/)
  },
)

t.test(
  'a client cannot name a session, nor read what the keeper says to the gateway',
  async (t) => {
    const { ttyd, keeper, port } = await startKeptWorkspace(t)
    const alice = await browser(port)
    const forged = [
      'X-Workspace-Session: forged',
      'x-workspace-session: forged-too',
      'X_Workspace_Session: forged',
      'X-Workspace-User: mallory',
      'X-Workspace-Session-Ends: 9999999999999',
      'X-Workspace-Session-Mark: api-token forged',
    ]
    const nominations = ['', 'Connection: Upgrade, X-Workspace-Session, X-Workspace-User']
    for (const [i, nominated] of nominations.entries()) {
      const { socket, answer } = await upgrade(port, `/terminal/ws?tab=${TAB}${i}`, [
        ...alice,
        ...forged,
        ...(nominated === '' ? [] : [nominated]),
        `Authorization: ${basic(CREDENTIAL)}`,
        'Sec-WebSocket-Protocol: tty',
      ])
      t.equal(answer.status, 101)
      t.notMatch(answer.raw, /x-workspace/i)
      await eventually(() => keeper.terminals.size === 1, 'the terminal is there')
      const [terminal] = await keeper.list()
      t.match(terminal, { sub: 'alice', sid: /^[\w-]{22}$/, mark: /^browser / })
      t.ok((terminal?.ends ?? 0) < 9999999999999)
      socket.destroy()
      await eventually(() => keeper.terminals.size === 0, 'ended')
    }
    const plain = await send(port, 'GET /terminal/', [
      ...alice,
      ...forged,
      `Authorization: ${basic(CREDENTIAL)}`,
    ])
    t.equal(plain.status, 200)
    const seen = ttyd.requests.flatMap(({ rawHeaders }) =>
      ['x-workspace-session', 'x-workspace-user', 'x_workspace_session'].flatMap((name) =>
        fieldLines(rawHeaders, name),
      ),
    )
    t.same(seen, [], 'ttyd hears of no session')
  },
)

t.test('nobody else gets the shell of a tab, however the tab is spelled', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  const page = await openPage(t, port, alice)
  await ttyd.shell(0)
  const [own] = await keeper.list()
  const { token: secret } = gateway.running.parts.apiTokens.create({
    ...{ name: 'ci', subject: 'alice', expiresAt: undefined },
    scopes: ['terminal'],
  })
  const others = [
    await browser(port, 'bob'),
    await browser(port),
    [`X-Workspace-Token: ${await token()}`],
    [`X-Workspace-Token: ${secret}`],
  ]
  const hexadecimal = Array.from(TAB, (letter) => `%${letter.charCodeAt(0).toString(16)}`).join('')
  const spellings = [
    ...[TAB, `${TAB}&tab=x`, `x&tab=${TAB}`, `${TAB}&tab=${TAB}`, hexadecimal, `${TAB}%00`],
    ...[`${TAB}%20`, `+${TAB}`, `${TAB}%0d%0a`, `${TAB}%26sid=${own?.sid}`, TAB.toUpperCase()],
    ...[`${TAB};`, `${TAB}&sid=${own?.sid}&sub=alice`, TAB.slice(0, -1), `${TAB}x`],
  ]
  for (const fields of others)
    for (const spelling of spellings) {
      const number = ttyd.shells.length
      const other = await openPage(t, port, fields, { tab: spelling })
      await ttyd.shell(number)
      other.socket.terminate()
      await eventually(() => keeper.terminals.counts().attached === 1, 'it has gone')
      for (const { id } of await keeper.list())
        if (id !== own?.id) await keeper.ask('DELETE', `/_terminals/${id}`)
    }
  t.equal(ttyd.shells.length, 1 + others.length * spellings.length, 'a shell for each')
  t.equal(page.closedWith(), undefined)
  t.match(await keeper.list(), [{ id: own?.id, state: 'attached', tab: TAB }])
})

t.test('fifty pages that ask for one tab at once leave one page, and sign-out none', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t)
  const { openSockets } = gateway.running.parts
  const alice = await browser(port)
  const first = await openPage(t, port, alice)
  const shell = await ttyd.shell(0)
  const storm = (length: number) => Array.from({ length }, () => openPage(t, port, alice))
  const pages = [first, ...(await Promise.all(storm(50)))]
  const codes = () => new Set(pages.map((page) => page.closedWith()))
  await eventually(() => openSockets.size === 1, 'one is open')
  await eventually(
    () => pages.filter((page) => page.closedWith() === undefined).length === 1,
    'one',
  )
  t.same(codes(), new Set([1000, undefined]), 'no page connects again by itself')
  t.equal(ttyd.shells.length, 1)
  pages.find((page) => page.closedWith() === undefined)?.type('it is mine')
  await eventually(() => shell.received.includes('0it is mine'), 'the page has the shell')

  const others = await Promise.allSettled([
    ...storm(25),
    send(port, 'POST /_gateway/sign-out', [...alice, 'Content-Length: 0']),
    ...storm(25),
  ])
  await eventually(() => keeper.terminals.size === 0 && shell.hasEnded(), 'the shell has ended')
  await eventually(() => openSockets.size === 0, 'no page is left')
  t.equal(others.length, 51)
})

t.test('what the keeper offers to the gateway is not reached through it', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  const page = await openPage(t, port, alice)
  await eventually(() => page.messages.length >= 2, 'it is open')
  const [terminal] = await keeper.list()
  const dials = ttyd.dials()
  const ups = [
    '..',
    '%2e%2e',
    '.%2e',
    '%2E.',
    '..%2f',
    '%252e%252e',
    '..%5c',
    '..\\',
    '..;',
    '.%00.',
  ]
  const targets = [
    '_ready',
    '_terminals',
    `_terminals/${terminal?.id}`,
    `_terminals?sid=${terminal?.sid}`,
  ]
  const places = ['', '_', '/', '%2f..%2f', '/%2f'].map((between) => `/terminal${between}`)
  const paths = targets.flatMap((target) =>
    [
      ups.map((up) => `/terminal/${up}/`),
      ups.map((up) => `/terminal/x/${up}/${up}/`),
      [...places, '/terminal/', '/terminal//', '/', '//', '/%5f', 'http://keeper/'],
    ]
      .flat()
      .map((before) => before + target),
  )
  const auth = [...alice, `Authorization: ${basic(CREDENTIAL)}`]
  for (const path of paths)
    for (const method of ['GET', 'DELETE', 'PUT']) {
      const { body } = await send(port, `${method} ${path}`, auth)
      t.notMatch(
        body,
        /"protocol":|"terminals":|"ended":|"renewed":|no such action/,
        `${method} ${path}`,
      )
    }
  t.same(
    (await keeper.list()).map(({ id, state }) => ({ id, state })),
    [{ id: terminal?.id, state: 'attached' }],
  )
  t.ok(ttyd.dials() > dials, 'some of them are ttyd’s, for all the keeper knows')
})

t.test('only the keeper can say that there are too many terminals', async (t) => {
  const { keeper, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  for (let i = 0; i < 16; i++) await openPage(t, port, alice, { tab: `${TAB}${i}` })
  await eventually(() => keeper.terminals.counts().attached === 16, 'all are attached')
  const refused = await upgrade(port, `/terminal/ws?tab=${TAB}16`, [
    ...alice,
    `Authorization: ${basic(CREDENTIAL)}`,
    'Sec-WebSocket-Protocol: tty',
  ])
  await refused.closed
  t.equal(refused.answer.status, 503)
  t.equal(refused.answer.headers['x-gateway-error'], 'too-many-terminals')
  t.equal(refused.answer.headers['retry-after'], '30')
  t.notMatch(refused.answer.raw, /x-workspace/i)
  t.equal(closeCode(refused), undefined)

  const plain = await startUpstream(t, undefined, (_request, socket) => {
    socket.end(
      'HTTP/1.1 503 Full\r\nX-Workspace-Refusal: too-many-terminals\r\nContent-Length: 0\r\n\r\n',
    )
  })
  const direct = await startTestGateway(t, { GATEWAY_TERMINAL_URL: plain.url })
  const passed = await upgrade(direct.port, '/terminal/ws', [
    ...(await browser(direct.port)),
    `Authorization: ${basic(CREDENTIAL)}`,
    'Sec-WebSocket-Protocol: tty',
  ])
  await passed.closed
  t.equal(passed.answer.status, 503)
  t.equal(passed.answer.headers['x-gateway-error'], undefined, 'a plain ttyd’s own answer')
  t.notMatch(passed.answer.raw, /x-workspace/i)
})
