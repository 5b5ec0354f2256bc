/** Whatever ends a session: does exactly that end within two seconds which hangs on it, and do all others not notice? */
import t from 'tap'
import {
  assertEnded,
  assertUnaware,
  join,
  leave,
  startCrowdService,
  type CrowdService,
} from '../helpers/crowd.ts'
import { signIn, signInPage } from '../helpers/door.ts'
import { SECRET, startBefore, token } from '../helpers/gateway.ts'
import { eventually, SOON_MS } from '../helpers/waiting.ts'
import { countWatched } from '../helpers/watched.ts'
import { send } from '../helpers/wire.ts'

const OLD_SECRET = 'another-key-of-houston-81c0a7d6e5f4b392'

/** Two seconds, with room for a busy machine. */
const BOUND_MS = SOON_MS

const HOUR = 3600

/** The wall clock of the gateways in this process. A test sets it forward; timers and the monotonic clock go on as they are. */
const realNow = Date.now
let aheadMs = 0
Date.now = () => realNow() + aheadMs
t.afterEach(() => {
  aheadMs = 0
})

type Gateway = Awaited<ReturnType<typeof startBefore<CrowdService>>>

/** The header lines with the credential of a session. */
type Fields = readonly string[]

/** What ends the first of ten sessions. */
interface Ending {
  readonly settings?: Record<string, string>
  /** Makes the sessions; by default ten browsers sign in. */
  readonly begin?: (gateway: Gateway) => Promise<Fields[]>
  /** @param first the credential of the first one */
  readonly end: (gateway: Gateway, first: Fields) => unknown
}

const browser = async ({ port }: Gateway, ticket = token()): Promise<Fields> =>
  signInPage(port, await ticket)

const browsers = (gateway: Gateway, count: number): Promise<Fields[]> =>
  Promise.all(Array.from({ length: count }, () => browser(gateway)))

const bearer = (secret: string): Fields => [`Authorization: Bearer ${secret}`]

/** The first API token of a gateway, and nine other programs. */
async function programs({ running }: Gateway): Promise<Fields[]> {
  const expiresAt = Date.now() + HOUR * 1000
  const made = running.parts.apiTokens.create({ name: 'ci', subject: 'alice', expiresAt })
  const others = Array.from({ length: 8 }, () => token({ ttlSeconds: 10 * HOUR }))
  const { token: other } = running.parts.apiTokens.create({
    name: 'lasting',
    subject: 'alice',
    expiresAt: undefined,
  })
  return [made.token, other, ...(await Promise.all(others))].map(bearer)
}

const ENDINGS: Readonly<Record<string, Ending>> = {
  'a sign-out': {
    end: ({ port }, first) =>
      send(port, 'POST /_gateway/sign-out', [...first, 'Content-Length: 0']),
  },
  'a revocation': {
    end({ running }) {
      const [first] = running.parts.sessions.browsers()
      if (first !== undefined) running.parts.sessions.end([first.session], 'revoked')
    },
    // Signed in before the others, so that it is the first one of the list.
    begin: async (gateway) => [await browser(gateway), ...(await browsers(gateway, 9))],
  },
  'the end of its time': {
    async begin(gateway) {
      const short = browser(gateway, token({ sessionSeconds: HOUR / 2 }))
      return [await short, ...(await browsers(gateway, 9))]
    },
    end: () => (aheadMs = (HOUR / 2) * 1000),
  },
  'the expiry of a program’s token': {
    settings: { GATEWAY_JWT_LEEWAY_SECONDS: '0' },
    async begin(gateway) {
      return [bearer(await token({ ttlSeconds: HOUR / 2 })), ...(await browsers(gateway, 9))]
    },
    end: () => (aheadMs = (HOUR / 2) * 1000),
  },
  'the removal of its key': {
    settings: { GATEWAY_JWT_SECRET: OLD_SECRET, GATEWAY_JWT_PREVIOUS_SECRETS: SECRET },
    async begin(gateway) {
      const first = await browser(gateway)
      gateway.running.setKeys([SECRET, OLD_SECRET])
      return [first, ...(await browsers(gateway, 9))]
    },
    end: ({ running }) => running.setKeys([SECRET]),
  },
  'the end of all sessions of its person': {
    async begin(gateway) {
      return [await browser(gateway, token({ subject: 'bob' })), ...(await browsers(gateway, 9))]
    },
    end: ({ running }) => running.parts.sessions.endAll('all-ended', 'bob'),
  },
  'the revocation of an API token': {
    begin: programs,
    end({ running }) {
      const ci = running.parts.apiTokens.named('ci')
      if (ci !== undefined) running.parts.apiTokens.revoke(ci)
    },
  },
  'the expiry of an API token': {
    begin: programs,
    end: () => (aheadMs = HOUR * 1000),
  },
  'another person’s sign-in in the same browser': {
    end: async ({ port }, first) =>
      signIn(port, await token({ subject: 'bob' }), first.slice(0, 1)),
  },
}

for (const [what, { settings = {}, begin, end }] of Object.entries(ENDINGS))
  t.test(`${what} ends exactly what hangs on that session`, async (t) => {
    const service = await startCrowdService(t)
    const gateway = await startBefore(t, service, settings)
    const { openSockets } = gateway.running.parts
    const watched = countWatched(gateway.running.parts.watchdog)
    const credentials = await (begin?.(gateway) ?? browsers(gateway, 10))
    const [first = []] = credentials
    const [ending, ...others] = await Promise.all(
      credentials.map((fields) => join(t, gateway.port, fields)),
    )
    if (ending === undefined) throw new Error('no sessions')
    t.equal(openSockets.size, 50)
    t.equal(service.streams.size, 20)
    await assertUnaware(t, [ending, ...others], service)

    const begun = performance.now()
    await end(gateway, first)
    await assertEnded(t, ending, begun, BOUND_MS)
    await eventually(() => openSockets.size === 45, 'only the others’ sockets are left')
    await eventually(() => service.streams.size === 18, 'and their streams')
    await assertUnaware(t, others, service)
    t.equal((await send(gateway.port, 'GET /api/', first)).status, 401)

    leave(others)
    await gateway.settled()
    t.equal(openSockets.size, 0)
    await eventually(() => watched() === 0, 'the watchdog watches none of them any more')
  })

t.test('the watermark ends what hangs on all sessions, and no API token', async (t) => {
  const service = await startCrowdService(t)
  const gateway = await startBefore(t, service)
  const { openSockets, sessions } = gateway.running.parts
  const [ci = [], , ...jwts] = await programs(gateway)
  const [spared, ...members] = await Promise.all(
    [ci, ...jwts.slice(0, 4), ...(await browsers(gateway, 5))].map((fields) =>
      join(t, gateway.port, fields),
    ),
  )
  if (spared === undefined) throw new Error('no sessions')
  t.equal(openSockets.size, 50)
  const begun = performance.now()
  sessions.endAll('all-ended')
  await Promise.all(members.map((member) => assertEnded(t, member, begun, BOUND_MS)))
  await eventually(() => openSockets.size === 5, 'the API token’s are left')
  await assertUnaware(t, [spared], service)
  leave([spared])
  await gateway.settled()
})

t.test('three renewals close nothing, also beyond the first end of the session', async (t) => {
  const service = await startCrowdService(t)
  const gateway = await startBefore(t, service)
  const { openSockets, sessions } = gateway.running.parts
  let cookie = await browser(gateway, token({ sessionSeconds: HOUR }))
  const member = await join(t, gateway.port, cookie)
  const [{ session } = { session: undefined }] = sessions.browsers()
  const firstEnd = session?.endsAt ?? 0
  for (let i = 1; i <= 3; i++) {
    aheadMs = i * 0.9 * HOUR * 1000
    const fresh = `token=${await token({ sessionSeconds: HOUR })}`
    const type = 'Content-Type: application/x-www-form-urlencoded'
    const answer = await send(
      gateway.port,
      'POST /_gateway/renew',
      [...cookie, type, `Content-Length: ${fresh.length}`],
      fresh,
    )
    t.equal(answer.status, 303)
    const [name = ''] = answer.headers['set-cookie']?.split(';') ?? []
    cookie = [`Cookie: ${name}`, ...cookie.slice(1)]
    await assertUnaware(t, [member], service)
  }
  t.equal(sessions.size, 1, 'it is one session')
  t.ok(Date.now() > firstEnd, 'which would have ended without')
  const older = await join(t, gateway.port, cookie)
  t.equal(openSockets.size, 10)

  const begun = performance.now()
  aheadMs += HOUR * 1000
  for (const one of [member, older]) await assertEnded(t, one, begun, BOUND_MS)
  await gateway.settled()
})
