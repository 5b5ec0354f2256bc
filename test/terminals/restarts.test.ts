/** Whatever becomes of the gateway: do shells stay, and do those of sessions that ended meanwhile end before it is ready? */
import t, { type Test } from 'tap'
import { sessions } from '../../src/commands/sessions.ts'
import { runCommand } from '../helpers/command.ts'
import { startTestGateway, token } from '../helpers/gateway.ts'
import {
  startScriptedTtyd,
  startTestKeeper,
  TAB,
  type ScriptedShell,
  type TestClient,
} from '../helpers/kept-terminals.ts'
import { browser, openPage, settingsFor } from '../helpers/kept-workspace.ts'
import { serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { serve, temporaryFolder } from '../helpers/process.ts'
import { elapse, eventually } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

/** A keeper whose gateway comes and goes. */
async function startKeeper(t: Test) {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const settings = {
    ...settingsFor(ttyd, keeper),
    GATEWAY_STATE_DIR: temporaryFolder(t),
    GATEWAY_DRAIN_SECONDS: '0',
  }
  return { ttyd, keeper, settings }
}

const program = async (subject = 'alice') => [`X-Workspace-Token: ${await token({ subject })}`]

const signOut = (port: number, fields: readonly string[]) =>
  send(port, 'POST /_gateway/sign-out', [...fields, 'Content-Length: 0'])

t.test('a gateway that starts ends the shells of sessions that it does not know', async (t) => {
  const { ttyd, keeper, settings } = await startKeeper(t)
  const before = await startTestGateway(t, settings)
  const [alice, bob, agent] = [
    await browser(before.port),
    await browser(before.port, 'bob'),
    await program(),
  ]
  const shells: ScriptedShell[] = []
  for (const fields of [alice, bob, agent]) {
    await openPage(t, before.port, fields)
    shells.push(await ttyd.shell(shells.length))
  }
  await before.running.close()
  await eventually(() => keeper.terminals.counts().parked === 3, 'all are parked')

  // Bob is signed out while no gateway runs.
  const { code } = await runCommand(sessions, ['end', '--sub', 'bob'], {
    GATEWAY_STATE_DIR: settings.GATEWAY_STATE_DIR,
  })
  t.equal(code, 0)
  const after = await startTestGateway(t, settings)
  // It listens now.
  t.same(
    keeper.terminals.list().map(({ sub }) => sub),
    ['alice', 'alice'],
    'his shell is gone',
  )
  await eventually(() => shells[1]?.hasEnded() === true, 'at ttyd too')
  for (const fields of [alice, agent]) {
    const page = await openPage(t, after.port, fields)
    page.type('x')
  }
  await eventually(() => shells[0]?.received.includes('0x') === true, 'alice is back')
  await eventually(() => shells[2]?.received.includes('0x') === true, 'her program too')
  t.equal(ttyd.shells.length, 3)
})

t.test(
  'without its state folder a gateway ends the shells of browsers and API tokens',
  async (t) => {
    const { ttyd, keeper, settings } = await startKeeper(t)
    const before = await startTestGateway(t, settings)
    const { token: secret } = before.running.parts.apiTokens.create({
      ...{ name: 'ci', subject: 'alice', expiresAt: undefined },
      scopes: ['terminal'],
    })
    const agent = await program()
    for (const fields of [await browser(before.port), [`X-Workspace-Token: ${secret}`], agent]) {
      await openPage(t, before.port, fields)
      await ttyd.shell(ttyd.shells.length)
    }
    await before.running.close()
    await eventually(() => keeper.terminals.counts().parked === 3, 'all are parked')
    const after = await startTestGateway(t, { ...settings, GATEWAY_STATE_DIR: temporaryFolder(t) })
    t.same(
      keeper.terminals.list().map(({ mark }) => mark?.split(' ')[0]),
      ['program'],
      'the token of a program still verifies, so its shell stays',
    )
    const page = await openPage(t, after.port, agent)
    page.type('x')
    await eventually(() => ttyd.shells[2]?.received.includes('0x') === true, 'and it is back')

    await after.running.close()
    await eventually(() => keeper.terminals.counts().parked === 1, 'it is parked')
    const unseen = await startTestGateway(t, settings)
    t.equal(keeper.terminals.size, 1)
    unseen.running.setKeys(['a-new-key-of-houston-5e0b93c1d2f84a67'])
    await eventually(() => keeper.terminals.size === 0, 'a key that is removed ends it, unseen')
  },
)

t.test(
  'who is signed out everywhere loses the shells of programs that were not seen',
  async (t) => {
    const { ttyd, keeper, settings } = await startKeeper(t)
    const before = await startTestGateway(t, settings)
    for (const [i, subject] of ['alice', 'bob'].entries()) {
      await openPage(t, before.port, await program(subject))
      await ttyd.shell(i)
    }
    await before.running.close()
    await eventually(() => keeper.terminals.counts().parked === 2, 'both are parked')
    const after = await startTestGateway(t, settings)
    t.equal(keeper.terminals.size, 2)
    after.running.parts.sessions.endAll('all-ended', 'bob')
    await eventually(() => ttyd.shells[1]?.hasEnded() === true, 'his has ended')
    t.same(
      keeper.terminals.list().map(({ sub }) => sub),
      ['alice'],
    )
  },
)

t.test('a state folder that cannot be used ends shells as an empty one does', async (t) => {
  const { ttyd, keeper, settings } = await startKeeper(t)
  const before = await startTestGateway(t, settings)
  const alice = await browser(before.port)
  await openPage(t, before.port, alice)
  await ttyd.shell(0)
  await before.running.close()
  await eventually(() => keeper.terminals.counts().parked === 1, 'it is parked')
  const broken = await startTestGateway(t, { ...settings, GATEWAY_STATE_DIR: '/dev/null/state' })
  t.equal(keeper.terminals.size, 0)
  await openPage(t, broken.port, await program())
  const shell = await ttyd.shell(1)
  broken.running.parts.sessions.endAll('all-ended')
  await eventually(() => shell.hasEnded(), 'sessions that end there end their shells')
})

/** Waits until a page is closed. @returns the close code */
async function closeOf(page: TestClient): Promise<number | undefined> {
  await eventually(() => page.closedWith() !== undefined, 'the page is closed')
  return page.closedWith()
}

t.test('a kill -9 of the gateway, and a SIGTERM, leave the shell', async (t) => {
  const { ttyd, keeper, settings } = await startKeeper(t)
  let fields: string[] = []
  let shell: ScriptedShell | undefined
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const gateway = await serve(t, settings)
    if (fields.length === 0) fields = await browser(gateway.port)
    const page = await openPage(t, gateway.port, fields)
    shell ??= await ttyd.shell(0)
    page.type(signal)
    await eventually(() => shell?.received.at(-1) === `0${signal}`, 'input reaches the shell')
    gateway.child.kill(signal)
    t.equal(await closeOf(page), signal === 'SIGKILL' ? 1006 : 1012)
    await gateway.exited
    await eventually(() => keeper.terminals.counts().parked === 1, 'it is parked')
    const [terminal] = await keeper.list()
    t.ok((terminal?.parkedUntil ?? 0) - Date.now() > 43_000_000, 'as a lost connection')
  }
  t.equal(ttyd.shells.length, 1)
})

t.test('a gateway that was replaced neither ends nor renews anything', async (t) => {
  const { ttyd, keeper, settings } = await startKeeper(t)
  const gateway = await serveWithPortKeeper(t, { ...settings, GATEWAY_DRAIN_SECONDS: '30' })
  const { port } = gateway
  const [alice, bob] = [await browser(port), await browser(port, 'bob')]
  const pages = [await openPage(t, port, alice), await openPage(t, port, bob)]
  await ttyd.shell(1)
  const [ofAlice, ofBob] = ['alice', 'bob'].map((sub) =>
    keeper.terminals.list().find((terminal) => terminal.sub === sub),
  )
  await gateway.replace()
  t.same(await Promise.all(pages.map(closeOf)), [1012, 1012])
  t.match(pages[0]?.output(), /Your shell is kept/)
  // Back at the successor, while the predecessor is still draining.
  const again = [await openPage(t, port, alice), await openPage(t, port, bob)]
  await eventually(() => keeper.terminals.counts().attached === 2, 'both are back')
  t.same(
    new Set(keeper.terminals.list().map(({ id }) => id)),
    new Set([ofAlice?.id, ofBob?.id]),
    'in the same shells',
  )
  // Only the successor knows of this sign-in, and of this renewal.
  const carol = await browser(port, 'carol')
  await openPage(t, port, carol)
  const ticket = `token=${await token({ sessionSeconds: 7200, ttlSeconds: 7200 })}`
  const form = 'Content-Type: application/x-www-form-urlencoded'
  const length = `Content-Length: ${ticket.length}`
  t.equal((await send(port, 'POST /_gateway/renew', [...alice, form, length], ticket)).status, 303)
  const endsOf = (id: string | undefined) =>
    keeper.terminals.list().find((terminal) => terminal.id === id)?.ends ?? 0
  await eventually(() => endsOf(ofAlice?.id) > (ofAlice?.ends ?? 0), 'it is renewed')
  const end = endsOf(ofAlice?.id)
  await elapse(2500, 'the predecessor looks at the state every second, and must not act on it')
  t.equal(endsOf(ofAlice?.id), end)
  t.equal(keeper.terminals.counts().attached, 3, 'nobody’s shell has ended')
  t.equal((await signOut(port, bob)).status, 303)
  t.equal(await closeOf(again[1] as TestClient), 4401)
  await eventually(() => keeper.terminals.counts().attached === 2, 'his shell has ended')
  t.equal(await gateway.stop(), 0)
})

t.test('a keeper that is replaced by ttyd, and comes back, is noticed', async (t) => {
  const { ttyd, keeper, settings } = await startKeeper(t)
  const gateway = await startTestGateway(t, settings)
  const alice = await browser(gateway.port)
  const page = await openPage(t, gateway.port, alice)
  await ttyd.shell(0)
  await keeper.close()
  t.equal(await closeOf(page), 1012)
  await t.rejects(openPage(t, gateway.port, alice), 'nobody listens')
  const successor = await startTestKeeper(t, ttyd, { TERMINALS_SOCKET: keeper.path })
  const back = await openPage(t, gateway.port, alice)
  await ttyd.shell(1)
  back.type('x')
  await eventually(() => ttyd.shells[1]?.received.includes('0x') === true, 'a new shell')
  t.match(successor.terminals.list(), [{ sub: 'alice', tab: TAB, state: 'attached' }])
})
