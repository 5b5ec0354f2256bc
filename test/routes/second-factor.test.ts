/** Can a person set up a second factor, show it, and get on, without any script? And can nobody else? */
import { TOTP, Secret } from 'otpauth'
import t, { type Test } from 'tap'
import { pageOf } from '../helpers/api.ts'
import { assertRefused, DOORS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

const start = (t: Test, settings: Record<string, string> = {}) =>
  startWorkspace(t, { GATEWAY_SECOND_FACTOR: 'local', ...settings })

/** Posts a form as a page of the workspace does. */
function post(
  { port }: { readonly port: number },
  path: string,
  page: readonly string[],
  fields: Record<string, string>,
): Promise<RawAnswer> {
  const body = new URLSearchParams(fields).toString()
  const form = ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${body.length}`]
  return send(port, `POST ${path}`, [...page, ...NAVIGATION, ...form], body)
}

/** The headers of a page after an answer has set its cookie. */
function after(answer: RawAnswer, page: readonly string[]): string[] {
  const [pair] = (answer.headers['set-cookie'] ?? '').split(';')
  return [`Cookie: ${pair}`, ...page.slice(1)]
}

const field = (body: string, name: string) =>
  new RegExp(`name="${name}" value="([^"]*)"`).exec(body)?.[1] ?? ''

/** The code that an app shows. @param secret in Base32 @param steps how many steps of 30 s later */
const codeOf = (secret: string, steps = 0) =>
  new TOTP({ secret: Secret.fromBase32(secret.replaceAll(' ', '')) }).generate({
    timestamp: Date.now() + steps * 30_000,
  })

/** Sets up an authenticator app. */
async function setUpApp(
  t: Test,
  workspace: Awaited<ReturnType<typeof start>>,
  page: readonly string[],
) {
  const begun = await post(workspace, '/_gateway/second-factor/app', page, { next: '/terminal/' })
  t.equal(begun.status, 200)
  const secret = /<code class="secret">([A-Z2-7 ]+)<\/code>/.exec(begun.body)?.[1] ?? ''
  t.match(begun.body, /<svg [^]*<\/svg>/, 'a picture for the app')
  const confirmed = await post(workspace, '/_gateway/second-factor/app/confirm', page, {
    ...{ id: field(begun.body, 'id'), next: '/terminal/' },
    code: codeOf(secret, -1),
  })
  t.equal(confirmed.status, 200, confirmed.body.slice(-800))
  const codes = [...confirmed.body.matchAll(/<li><code>([^<]+)<\/code>/g)].map(
    ([, code = '']) => code,
  )
  t.equal(codes.length, 10)
  return { secret, codes, page: after(confirmed, page) }
}

t.test('from a fresh sign-in to the terminal: set up an app, keep the codes, go on', async (t) => {
  const workspace = await start(t)
  const { port } = workspace
  const page = await pageOf(workspace)
  const away = await send(port, 'GET /terminal/', [...page, ...NAVIGATION])
  t.match(away, { status: 302, headers: { location: '/_gateway/verify-2fa?next=%2Fterminal%2F' } })
  const choice = await send(port, `GET ${away.headers['location']}`, [...page, ...NAVIGATION])
  t.equal(choice.status, 200)
  t.match(choice.body, 'Set up a second factor')
  t.equal(field(choice.body, 'next'), '/terminal/')
  const { page: verified } = await setUpApp(t, workspace, page)
  t.equal(workspace.dials(), 0)
  const line = await workspace.logLine(({ msg }) => msg === 'owner acted')
  t.match(line, { action: 'confirm-app', by: 'alice', user: 'alice', changed: [/^app_/] })
  t.equal((await send(port, 'GET /terminal/', verified)).status, 200)
  t.equal((await send(port, 'GET /terminal/', page)).status, 401, 'not with the cookie from before')
})

t.test('another sign-in shows a code, once', async (t) => {
  const workspace = await start(t)
  const { secret, codes } = await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  const form = await send(workspace.port, 'GET /_gateway/verify-2fa?next=/terminal/', [
    ...page,
    ...NAVIGATION,
  ])
  t.match(form.body, 'Code of your authenticator app, or a backup code')
  const code = codeOf(secret, 0)
  const shown = await post(workspace, '/_gateway/verify-2fa', page, { next: '/terminal/', code })
  t.match(shown, { status: 303, headers: { location: '/terminal/' } })
  t.equal((await send(workspace.port, 'GET /terminal/', after(shown, page))).status, 200)
  const again = await post(workspace, '/_gateway/verify-2fa', page, { next: '/terminal/', code })
  t.equal(again.status, 401)
  t.match(again.body, /role="alert">That code was used before\./)
  t.equal(field(again.body, 'next'), '/terminal/', 'and nothing is lost')
  t.equal(again.headers['set-cookie'], undefined)
  const byCode = await post(workspace, '/_gateway/verify-2fa', page, {
    next: '/',
    code: codes[3] ?? '',
  })
  t.match(byCode, { status: 303, headers: { location: '/' } }, 'a backup code')
  const twice = await post(workspace, '/_gateway/verify-2fa', page, {
    next: '/',
    code: codes[3] ?? '',
  })
  t.equal(twice.status, 401)
  t.equal(workspace.dials(), 1)
})

t.test(
  'a wrong code gets the page again, spends the address’s budget, and locks the app',
  async (t) => {
    const workspace = await start(t, { GATEWAY_RATE_LIMIT: '1000' })
    const { secret, codes } = await setUpApp(t, workspace, await pageOf(workspace))
    const page = await pageOf(workspace)
    const wrong = codeOf(secret) === '000000' ? '000001' : '000000'
    for (let i = 0; i < 5; i++) {
      const answer = await post(workspace, '/_gateway/verify-2fa', page, { next: '/', code: wrong })
      t.match(answer, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
      t.match(answer.body, /role="alert">The code is wrong\./)
    }
    const locked = await post(workspace, '/_gateway/verify-2fa', page, {
      next: '/',
      code: codeOf(secret),
    })
    t.match(locked.body, /role="alert">Too many codes were wrong/)
    const other = await post(workspace, '/_gateway/verify-2fa', page, {
      next: '/',
      code: codes[0] ?? '',
    })
    t.equal(other.status, 303, 'a backup code works meanwhile')
    t.equal(workspace.dials(), 0)
  },
)

t.test('guesses are ten a minute of an address', async (t) => {
  const workspace = await start(t, { GATEWAY_RATE_LIMIT: '10' })
  await setUpApp(t, workspace, await pageOf(workspace, 'alice', { from: '203.0.113.1' }))
  const page = await pageOf(workspace, 'alice', { from: '203.0.113.2' })
  const statuses = []
  for (let i = 0; i < 12; i++)
    statuses.push(
      (await post(workspace, '/_gateway/verify-2fa', page, { code: 'aaaa-aaaa-aaaa-aaaa' })).status,
    )
  t.same(statuses, [...Array<number>(10).fill(401), 429, 429])
})

t.test('who has a factor cannot set up another with a sign-in alone', async (t) => {
  const workspace = await start(t)
  const { secret } = await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  for (const kind of ['app', 'passkey']) {
    const answer = await post(workspace, `/_gateway/second-factor/${kind}`, page, { next: '/' })
    t.match(answer.body, 'This change wants a second factor')
    t.notMatch(answer.body, 'class="secret"')
    t.match(answer.body, `action="/_gateway/second-factor/${kind}"`)
  }
  const code = codeOf(secret)
  const begun = await post(workspace, '/_gateway/second-factor/app', page, { next: '/', code })
  t.match(begun.body, 'class="secret"', 'with a code it can')
})

t.test('a first factor needs a sign-in that is not older than 10 minutes', async (t) => {
  const workspace = await start(t)
  const page = await pageOf(workspace, 'alice', { minutesAgo: 11 })
  const form = await send(workspace.port, 'GET /_gateway/verify-2fa', [...page, ...NAVIGATION])
  t.match(form.body, 'yours is longer ago')
  for (const kind of ['app', 'passkey']) {
    const answer = await post(workspace, `/_gateway/second-factor/${kind}`, page, { next: '/' })
    t.match(answer.body, 'yours is longer ago')
    t.notMatch(answer.body, /class="secret"|data-options/)
  }
  t.notOk(workspace.running.parts.factors.isEnrolled('alice'))
})

t.test('the terminal is closed in every way until a factor is shown', async (t) => {
  const workspace = await start(t)
  await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  for (const door of DOORS)
    await assertRefused(
      t,
      workspace,
      await knock(workspace.port, door, door === 'upgrade' ? '/terminal/ws' : '/terminal/', [
        ...page,
        ...(door === 'upgrade' ? ['Sec-WebSocket-Protocol: tty'] : []),
      ]),
      { code: 'step-up-required', stage: 'authentication' },
    )
})

t.test('another site, another browser and a program get nowhere', async (t) => {
  const workspace = await start(t)
  const { secret } = await setUpApp(t, workspace, await pageOf(workspace))
  const [session = ''] = await pageOf(workspace)
  for (const origin of ['https://evil.example', 'https://research.hubify.com', 'null']) {
    const page = [session, 'X-Forwarded-Proto: https', `Origin: ${origin}`]
    const answer = await post(workspace, '/_gateway/verify-2fa', page, { code: codeOf(secret) })
    t.match(answer, { status: 403, headers: { 'x-gateway-error': 'origin-not-allowed' } }, origin)
  }
  t.equal(
    (await post(workspace, '/_gateway/verify-2fa', [`Origin: ${ORIGIN}`], { code: codeOf(secret) }))
      .status,
    401,
  )
  const bob = await pageOf(workspace, 'bob')
  const answer = await post(workspace, '/_gateway/verify-2fa', bob, { code: codeOf(secret) })
  t.match(answer, { status: 401 }, 'somebody else’s code')
})

t.test('nothing of a form comes back, and no path leads elsewhere', async (t) => {
  const workspace = await start(t)
  await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  const evil = '"><script>alert(1)</script>'
  const answer = await post(workspace, '/_gateway/verify-2fa', page, {
    next: `//evil.example/${evil}`,
    code: evil,
  })
  t.notMatch(answer.body, /alert\(1\)|evil/)
  t.equal(field(answer.body, 'next'), '/')
})

t.test('where no factors are kept, the page says where one is shown', async (t) => {
  const workspace = await startWorkspace(t, {
    GATEWAY_TERMINAL_AMR: 'otp',
    GATEWAY_LOGIN_URL: 'https://hubify.com/login',
  })
  const page = await pageOf(workspace)
  const form = await send(workspace.port, 'GET /_gateway/verify-2fa?next=/terminal/', [
    ...page,
    ...NAVIGATION,
  ])
  t.equal(form.status, 200)
  t.match(form.body, /<a class="button" href="https:\/\/hubify\.com\/login\?return_to=/)
  const posted = await post(workspace, '/_gateway/second-factor/app', page, { next: '/' })
  t.match(posted, { status: 400, headers: { 'x-gateway-error': 'bad-request' } })
})
