/** Whatever ends a session: do its shells end at ttyd within two seconds, attached or parked, and no other ones? */
import { SignJWT } from 'jose/jwt/sign'
import t from 'tap'
import { signIn, signInPage } from '../helpers/door.ts'
import { SECRET, token } from '../helpers/gateway.ts'
import { areParked, CREDENTIAL, TAB } from '../helpers/kept-terminals.ts'
import { browser, openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { basic } from '../helpers/ttyd.ts'
import { eventually, SOON_MS } from '../helpers/waiting.ts'
import { send, upgrade } from '../helpers/wire.ts'

const HOUR = 3600
const OLD_SECRET = 'another-key-of-houston-81c0a7d6e5f4b392'

/** The wall clock of the gateway and of the keeper, which both run in this process. Timers go on as they are. */
const realNow = Date.now
let aheadMs = 0
Date.now = () => realNow() + aheadMs
t.afterEach(() => {
  aheadMs = 0
})

type Workspace = Awaited<ReturnType<typeof startKeptWorkspace>>
type Fields = readonly string[]

/** What ends the session of the first credential, and not that of the second. */
interface Ending {
  readonly settings?: Record<string, string>
  readonly begin?: (workspace: Workspace) => Promise<[Fields, Fields]>
  readonly end: (workspace: Workspace, first: Fields) => unknown
}

/** A token in a field of its own, because `Authorization` has ttyd's password. */
const program = async (options: Parameters<typeof token>[0] = {}): Promise<Fields> => [
  `X-Workspace-Token: ${await token(options)}`,
]

/** A token of a program whose other tokens have the same session. */
async function agent(seconds: number): Promise<Fields> {
  const jwt = await new SignJWT({ sid: 'agent-7' })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject('alice')
    .setAudience('houston')
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(new TextEncoder().encode(SECRET))
  return [`X-Workspace-Token: ${jwt}`]
}

function apiToken({ gateway }: Workspace, name: string, seconds = HOUR): Fields {
  const expiresAt = Date.now() + seconds * 1000
  const made = gateway.running.parts.apiTokens.create({
    ...{ name, subject: 'alice', expiresAt },
    scopes: ['terminal'],
  })
  return [`X-Workspace-Token: ${made.token}`]
}

const signInFor = async (port: number, seconds: number): Promise<Fields> => {
  return signInPage(port, await token({ sessionSeconds: seconds }))
}

const ENDINGS: Readonly<Record<string, Ending>> = {
  'a sign-out': {
    end: ({ port }, first) =>
      send(port, 'POST /_gateway/sign-out', [...first, 'Content-Length: 0']),
  },
  'a revocation by an owner': {
    async end({ port }, first) {
      const { body } = await send(port, 'GET /_gateway/v1/session', first)
      const { id } = JSON.parse(body) as { id: string }
      const owner = await browser(port, 'olga')
      t.equal((await send(port, `DELETE /_gateway/v1/sessions/${id}`, owner)).status, 200)
    },
  },
  'the end of its time': {
    begin: async ({ port }) => [await signInFor(port, HOUR / 2), await browser(port)],
    end: () => (aheadMs = (HOUR / 2) * 1000),
  },
  'the expiry of a program’s token': {
    settings: { GATEWAY_JWT_LEEWAY_SECONDS: '0' },
    begin: async ({ port }) => [await program({ ttlSeconds: HOUR / 2 }), await browser(port)],
    end: () => (aheadMs = (HOUR / 2) * 1000),
  },
  'the removal of its key': {
    settings: { GATEWAY_JWT_SECRET: OLD_SECRET, GATEWAY_JWT_PREVIOUS_SECRETS: SECRET },
    async begin({ port, gateway }) {
      const first = await browser(port)
      gateway.running.setKeys([SECRET, OLD_SECRET])
      return [first, await browser(port)]
    },
    end: ({ gateway }) => gateway.running.setKeys([SECRET]),
  },
  'the end of all sessions of its person': {
    begin: async ({ port }) => [await browser(port, 'bob'), await browser(port)],
    end: ({ gateway }) => gateway.running.parts.sessions.endAll('all-ended', 'bob'),
  },
  'the end of all sessions of a program': {
    begin: async ({ port }) => [await program({ subject: 'bob' }), await browser(port)],
    end: ({ gateway }) => gateway.running.parts.sessions.endAll('all-ended', 'bob'),
  },
  'the revocation of an API token': {
    begin: async (workspace) => [apiToken(workspace, 'ci'), apiToken(workspace, 'other')],
    end({ gateway }) {
      const ci = gateway.running.parts.apiTokens.named('ci')
      if (ci !== undefined) gateway.running.parts.apiTokens.revoke(ci)
    },
  },
  'the expiry of an API token': {
    begin: async (workspace) => [apiToken(workspace, 'ci', HOUR / 2), apiToken(workspace, 'other')],
    end: () => (aheadMs = (HOUR / 2) * 1000),
  },
  'the end of the overlap of a rotated API token': {
    begin: async (workspace) => [apiToken(workspace, 'ci'), apiToken(workspace, 'other')],
    end({ gateway }) {
      const { apiTokens } = gateway.running.parts
      const ci = apiTokens.named('ci')
      if (ci !== undefined) apiTokens.rotate(ci, 0)
    },
  },
  'another person’s sign-in in the same browser': {
    end: async ({ port }, first) =>
      signIn(port, await token({ subject: 'bob' }), first.slice(0, 1)),
  },
}

for (const [what, { settings = {}, begin, end }] of Object.entries(ENDINGS))
  t.test(`${what} ends its shells, and no others`, async (t) => {
    const workspace = await startKeptWorkspace(t, settings)
    const { ttyd, keeper, port } = workspace
    const [ending, staying] = (await begin?.(workspace)) ?? [
      await browser(port),
      await browser(port),
    ]
    const open = async (fields: Fields, tab: string) => {
      const page = await openPage(t, port, fields, { tab })
      return [page, await ttyd.shell(ttyd.shells.length)] as const
    }
    const [attached, ofAttached] = await open(ending, TAB)
    const [parked, ofParked] = await open(ending, `${TAB}-parked`)
    const [other, ofOther] = await open(staying, TAB)
    const [otherParked, ofOtherParked] = await open(staying, `${TAB}-parked`)
    parked.socket.terminate()
    otherParked.socket.terminate()
    await areParked(keeper, 2)

    const begun = performance.now()
    await end(workspace, ending)
    await eventually(() => ofAttached.hasEnded(), 'the attached shell has ended')
    await eventually(() => ofParked.hasEnded(), 'the parked shell has ended')
    t.ok(performance.now() - begun < SOON_MS)
    await eventually(() => attached.closedWith() !== undefined, 'the page is closed')
    t.equal(attached.closedWith(), 4401)
    t.match(attached.output(), /Your session has ended\. Sign in again at /)

    other.type('x')
    await eventually(() => ofOther.received.includes('0x'), 'the other one is used on')
    t.notOk(ofOther.hasEnded() || ofOtherParked.hasEnded())
    t.equal(keeper.terminals.size, 2)
    await t.rejects(openPage(t, port, ending), 'nobody comes back')
    t.equal(ttyd.shells.length, 4)
  })

t.test('a session that ends while its shell is opened gets none', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  const { sessions } = gateway.running.parts
  const [{ session } = { session: undefined }] = sessions.browsers()
  // ttyd's answer is what the end of the session comes in between.
  const answers = ttyd.server.listeners('upgrade') as ((...args: unknown[]) => void)[]
  ttyd.server.removeAllListeners('upgrade')
  const held = Promise.withResolvers<() => void>()
  ttyd.server.on('upgrade', (...handshake: unknown[]) => {
    held.resolve(() => answers.forEach((answer) => answer.apply(ttyd.server, handshake)))
  })
  const page = upgrade(port, `/terminal/ws?tab=${TAB}`, [
    ...alice,
    `Authorization: ${basic(CREDENTIAL)}`,
    'Sec-WebSocket-Protocol: tty',
  ])
  const answer = await held.promise
  if (session !== undefined) sessions.end([session], 'revoked')
  const refused = await page
  await refused.closed
  t.not(refused.answer.status, 101)
  answer()
  await eventually(() => keeper.terminals.size === 0, 'no terminal is left')
  t.equal(ttyd.shells.length, 0)
})

t.test('a session that ends just after its shell was opened ends that shell too', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t)
  const { sessions } = gateway.running.parts
  for (let i = 0; i < 10; i++) {
    const alice = await browser(port)
    const newest = [...sessions.browsers()].at(-1)?.session
    const opening = openPage(t, port, alice).then(
      () => true,
      () => false,
    )
    // At some moment of the handshake, a later one each time.
    await eventually(() => ttyd.dials() > i || keeper.terminals.size > 0, 'it is under way')
    for (let turn = 0; turn < i; turn++) await new Promise(setImmediate)
    if (newest !== undefined) sessions.end([newest], 'revoked')
    await opening
    await eventually(() => keeper.terminals.size === 0, 'its terminal has ended')
  }
  await eventually(() => ttyd.shells.every((shell) => shell.hasEnded()), 'every shell has ended')
})

t.test('a renewal keeps the shell, beyond the first end of its session', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t)
  const alice = await signInFor(port, HOUR)
  const page = await openPage(t, port, alice)
  const shell = await ttyd.shell(0)
  const [before] = await keeper.list()
  aheadMs = 0.9 * HOUR * 1000
  const ticket = `token=${await token({ sessionSeconds: HOUR })}`
  const renewed = await send(
    port,
    'POST /_gateway/renew',
    [
      ...alice,
      'Content-Type: application/x-www-form-urlencoded',
      `Content-Length: ${ticket.length}`,
    ],
    ticket,
  )
  t.equal(renewed.status, 303)
  await eventually(
    () => keeper.terminals.list()[0]?.ends !== before?.ends,
    'the keeper hears of the renewal',
  )
  aheadMs = 1.5 * HOUR * 1000
  keeper.terminals.check()
  page.type('x')
  await eventually(() => shell.received.includes('0x'), 'it is used on')
  t.equal(keeper.terminals.list()[0]?.sid, before?.sid)
  t.notOk(shell.hasEnded())
  page.socket.terminate()
})

t.test('a newer token of the same program lets its shell live longer', async (t) => {
  const settings = { GATEWAY_JWT_LEEWAY_SECONDS: '0' }
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t, settings)
  const page = await openPage(t, port, await agent(HOUR))
  const shell = await ttyd.shell(0)
  t.equal((await send(port, 'GET /terminal/token', await agent(3 * HOUR))).status, 401, 'ttyd’s')
  const [before] = await keeper.list()
  aheadMs = (before?.ends ?? 0) - realNow() - 2900 // the gateway compares 3 s before the keeper would end it
  gateway.running.parts.terminals.check(performance.now(), Date.now())
  await eventually(
    () => (keeper.terminals.list()[0]?.ends ?? 0) > Date.now() + HOUR * 1000,
    'the keeper hears of it',
  )
  aheadMs = HOUR * 1000 + 5000
  keeper.terminals.check()
  page.type('x')
  await eventually(() => shell.received.includes('0x'), 'it is used on')
  page.socket.terminate()
})

t.test('no other session, and no other person, gets a shell by its tab', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t)
  const alice = await browser(port)
  const page = await openPage(t, port, alice)
  ;(await ttyd.shell(0)).print('secret')
  await eventually(() => page.output().includes('secret'), 'output')
  page.socket.terminate()
  await areParked(keeper)
  const others = [await browser(port), await browser(port, 'bob'), await program()]
  for (const [i, fields] of others.entries()) {
    const stranger = await openPage(t, port, fields)
    ;(await ttyd.shell(i + 1)).print('other')
    await eventually(() => stranger.output().includes('other'), 'a shell of its own')
    t.notMatch(stranger.output(), /secret/)
    stranger.socket.terminate()
  }
})
