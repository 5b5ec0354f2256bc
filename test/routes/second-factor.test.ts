/** Can a person set up a second factor, show it, and get on, without any script? And can nobody else? */
import { TOTP, Secret } from 'otpauth'
import t, { type Test } from 'tap'
import { GatewayError } from '../../src/answers/errors.ts'
import { call, pageOf, ticketOf } from '../helpers/api.ts'
import { Authenticator } from '../helpers/authenticator.ts'
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
    t.match(locked.body, /taken again from <time datetime="20[^"]+Z">/, 'until when')
    const other = await post(workspace, '/_gateway/verify-2fa', page, {
      next: '/',
      code: codes[0] ?? '',
    })
    t.equal(other.status, 303, 'a backup code works meanwhile')
    t.equal(workspace.dials(), 0)
  },
)

t.test('a form without a code gets the page again, with a sentence', async (t) => {
  const workspace = await start(t)
  await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  for (const path of ['/_gateway/verify-2fa', '/_gateway/second-factor/app']) {
    const answer = await post(workspace, path, page, { next: '/terminal/', code: '' })
    t.match(answer, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
    t.match(answer.body, /role="alert">That is no code\./)
    t.match(answer.body, 'name="next" value="/terminal/"', 'nothing is lost')
  }
  t.equal(workspace.dials(), 0)
})

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
    t.match(answer.body, 'It wants a second factor')
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

const VERIFY = '/_gateway/verify-2fa'

/** The options for the authenticator on a page. */
const optionsIn = ({ body }: RawAnswer): object => {
  const [, text = ''] = /data-options="([^"]*)"/.exec(body) ?? []
  const json = text.replaceAll(/&#(\d+);/g, (_all, code: string) =>
    String.fromCharCode(Number(code)),
  )
  return JSON.parse(json) as object
}

/** Makes a passkey. */
async function setUpPasskey(
  t: Test,
  workspace: Awaited<ReturnType<typeof start>>,
  page: readonly string[],
) {
  const passkey = new Authenticator({ isSynced: true })
  const begun = await post(workspace, '/_gateway/second-factor/passkey', page, { next: '/' })
  const confirmed = await post(workspace, '/_gateway/second-factor/passkey/confirm', page, {
    ...{ next: '/', name: 'laptop' },
    passkey: JSON.stringify(passkey.create(optionsIn(begun), ORIGIN)),
  })
  t.equal(confirmed.status, 200, confirmed.body.slice(-800))
  return passkey
}

const see = (
  { port }: { readonly port: number },
  page: readonly string[],
  more: readonly string[] = [],
) => send(port, `GET ${VERIFY}?next=/terminal/`, [...page, ...NAVIGATION, ...more])

t.test('fifty posts at once with one proof: one is taken', async (t) => {
  const workspace = await start(t)
  const first = await pageOf(workspace)
  const { secret, codes, page: verified } = await setUpApp(t, workspace, first)
  const adding = await post(workspace, '/_gateway/second-factor/passkey', verified, {
    ...{ next: '/', code: codes[9] ?? '' },
  })
  const passkey = new Authenticator({ isSynced: true })
  await post(workspace, '/_gateway/second-factor/passkey/confirm', verified, {
    passkey: JSON.stringify(passkey.create(optionsIn(adding), ORIGIN)),
  })
  const page = await pageOf(workspace)
  const proofs: Record<string, () => Promise<Record<string, string>>> = {
    'a code': async () => ({ code: codeOf(secret) }),
    'a backup code': async () => ({ code: codes[0] ?? '' }),
    'a passkey': async () => ({
      passkey: JSON.stringify(passkey.get(optionsIn(await see(workspace, page)), ORIGIN)),
    }),
  }
  for (const [kind, show] of Object.entries(proofs)) {
    const fields = await show()
    const answers = await Promise.all(
      Array.from({ length: 50 }, () =>
        post(workspace, VERIFY, page, { next: '/terminal/', ...fields }),
      ),
    )
    const taken = answers.filter(({ status }) => status === 303)
    t.equal(taken.length, 1, kind)
    for (const answer of answers.filter((one) => !taken.includes(one))) {
      t.equal(answer.status, 401)
      t.match(
        answer.body,
        /role="alert">That (?:code was used before|took too long, or was sent twice)/,
      )
      t.equal(answer.headers['set-cookie'], undefined)
      t.equal(field(answer.body, 'next'), '/terminal/')
    }
    const [winner] = taken
    t.equal((await send(workspace.port, 'GET /terminal/', page)).status, 401)
    if (winner !== undefined)
      t.equal((await send(workspace.port, 'GET /terminal/', after(winner, page))).status, 200)
  }
})

t.test('a form that comes without a session leads to where it wanted to go', async (t) => {
  const workspace = await start(t)
  const { secret } = await setUpApp(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  const form = await see(workspace, page)
  const [, action = ''] = /<form method="post" action="([^"]+)"/.exec(form.body) ?? []
  t.equal(action, `${VERIFY}?next=%2Fterminal%2F`)
  const fields = { next: '/terminal/', code: codeOf(secret) }
  await send(workspace.port, 'POST /_gateway/sign-out', [...page, 'Content-Length: 0'])
  for (const headers of [page.slice(1), page]) {
    const answer = await post(workspace, action, headers, fields)
    t.equal(answer.status, 401)
    t.equal(field(answer.body, 'return_to'), '/terminal/')
    t.equal((await send(workspace.port, 'GET /terminal/', headers)).status, 401)
  }
  const unseen = await see(workspace, page.slice(1))
  t.equal(field(unseen.body, 'return_to'), '/terminal/', 'and the page itself')
  const anew = await pageOf(workspace)
  t.equal((await send(workspace.port, 'GET /terminal/', anew)).status, 401, 'it begins without')
  t.equal((await post(workspace, action, anew, fields)).status, 303, 'the code was not used up')
  t.equal(workspace.dials(), 0)

  const away = await start(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
  const sent = await post(away, action, page.slice(1), fields)
  t.equal(sent.status, 302)
  const { searchParams } = new URL(sent.headers['location'] ?? '')
  t.equal(searchParams.get('return_to'), `${ORIGIN}/terminal/`)
})

t.test('a form that comes late gets the page again', async (t) => {
  const workspace = await start(t)
  const passkey = await setUpPasskey(t, workspace, await pageOf(workspace))
  const page = await pageOf(workspace)
  const shown = {
    passkey: JSON.stringify(passkey.get(optionsIn(await see(workspace, page)), ORIGIN)),
  }
  // Eight challenges of a session count, so that a ninth is as late as one of five minutes ago.
  for (let i = 0; i < 8; i++) await see(workspace, page)
  const late = await post(workspace, VERIFY, page, { next: '/terminal/', ...shown })
  t.equal(late.status, 401)
  t.match(late.body, /role="alert">That took too long, or was sent twice\. Try once more\./)
  t.equal(field(late.body, 'next'), '/terminal/')
  const again = { passkey: JSON.stringify(passkey.get(optionsIn(late), ORIGIN)) }
  t.equal((await post(workspace, VERIFY, page, { next: '/terminal/', ...again })).status, 303)
  for (const broken of ['{', 'null', '[]', '{"response":{}}', 'x'.repeat(9000)]) {
    const answer = await post(workspace, VERIFY, page, { next: '/terminal/', passkey: broken })
    t.equal(answer.status, 401)
    t.match(answer.body, /role="alert">The passkey did not answer as it should\./)
    t.equal(field(answer.body, 'next'), '/terminal/')
  }
  t.equal(workspace.dials(), 0)
})

t.test('nothing that others send counts against a person', async (t) => {
  const workspace = await start(t)
  const { running } = workspace
  const { secret, codes, page: verified } = await setUpApp(t, workspace, await pageOf(workspace))
  const added = await post(workspace, '/_gateway/second-factor/passkey', verified, {
    code: codes[1] ?? '',
  })
  const passkey = new Authenticator({ isSynced: true })
  await post(workspace, '/_gateway/second-factor/passkey/confirm', verified, {
    passkey: JSON.stringify(passkey.create(optionsIn(added), ORIGIN)),
  })
  const page = await pageOf(workspace)
  const options = optionsIn(await see(workspace, page))
  const { token } = running.parts.apiTokens.create({
    ...{ name: 'ci', subject: 'alice', expiresAt: undefined },
    scopes: ['owner', 'terminal', 'api'],
  })
  const wrong = codeOf(secret) === '000000' ? '000001' : '000000'
  const [session = ''] = page
  const senders: Record<string, readonly string[]> = {
    nobody: page.slice(1),
    'a forged cookie': [`${session}x`, ...page.slice(1)],
    'another person': await pageOf(workspace, 'bob'),
    'a sibling’s page': [
      session,
      'X-Forwarded-Proto: https',
      'Origin: https://research.hubify.com',
    ],
    'a page without an origin': [session, 'X-Forwarded-Proto: https', 'Origin: null'],
    'a program of hers': [`Authorization: Bearer ${token}`, ...page.slice(1)],
    'her ticket': [`Authorization: Bearer ${await ticketOf('alice')}`, ...page.slice(1)],
  }
  for (const [who, headers] of Object.entries(senders))
    for (let i = 0; i < 6; i++) {
      const answer = await post(workspace, VERIFY, headers, {
        ...{ code: wrong, sub: 'alice', subject: 'alice', next: '/terminal/' },
      })
      t.notMatch(answer.headers['set-cookie'] ?? '', '_session=e', who)
    }
  // An image on a page of a sibling workspace is sent with her cookie.
  for (let i = 0; i < 12; i++)
    await send(workspace.port, `GET ${VERIFY}`, [
      ...[session, 'X-Forwarded-Proto: https', 'Sec-Fetch-Site: same-site'],
      ...['Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Dest: image'],
    ])
  t.equal(running.parts.factors.enrolmentOf('alice').lockedUntil, undefined)
  t.equal((await post(workspace, VERIFY, page, { code: codeOf(secret) })).status, 303)
  const shown = JSON.stringify(passkey.get(options, ORIGIN))
  t.equal((await post(workspace, VERIFY, page, { passkey: shown })).status, 303, 'her challenge')
  t.equal(workspace.dials(), 0)
})

t.test('no form leads away from the workspace', async (t) => {
  const workspace = await start(t)
  const tricks = [
    ...[
      '//evil.example/',
      '/\\evil.example',
      '\\\\evil.example',
      '/%2F%2Fevil.example/',
      '%2F%2Fevil.example',
    ],
    ...[
      'https://evil.example/',
      'https:evil.example',
      'HTTPS://evil.example',
      'javascript:alert(1)',
    ],
    ...[
      'data:text/html,x',
      '/\t/evil.example',
      '/\n/evil.example',
      '\u0000//evil.example',
      '/.//evil.example',
    ],
    ...['/..//evil.example', '///evil.example', '@evil.example', '/x/../..//evil.example'],
    ...['https://houston.hubify.com@evil.example/', 'https://houston.hubify.com.evil.example/'],
    ...['/terminal/\r\nSet-Cookie: x=1', '/_gateway/sign-out', '/_gateway/../_gateway/sign-out'],
    ...[`//${'e'.repeat(8000)}.example/`, `/${'x'.repeat(12_000)}`, '?', '#', '.', '..', '\ud800'],
  ]
  const isOurs = (next: string) => {
    const { origin, pathname } = new URL(next, ORIGIN)
    return origin === ORIGIN && !pathname.startsWith('/_gateway') && next.startsWith('/')
  }
  const unescaped = (text: string) =>
    text.replaceAll(/&#(\d+);/g, (_all, code: string) => String.fromCharCode(Number(code)))
  const page = await pageOf(workspace)
  for (const next of tricks) {
    const query = new URLSearchParams({ next }).toString()
    const choice = await send(workspace.port, `GET ${VERIFY}?${query}`, [...page, ...NAVIGATION])
    if (choice.status !== 414 && choice.status !== 431)
      t.ok(isOurs(unescaped(field(choice.body, 'next'))), `GET ${next.slice(0, 40)}`)
    for (const path of ['/app', '/app/confirm', '/passkey', '/passkey/confirm']) {
      const answer = await post(workspace, `/_gateway/second-factor${path}`, page, { next })
      t.ok(isOurs(unescaped(field(answer.body, 'next'))), `${path} ${next.slice(0, 40)}`)
    }
  }
  const { codes } = await setUpApp(t, workspace, page)
  for (const next of tricks) {
    const anew = await pageOf(workspace)
    const wrong = await post(workspace, VERIFY, anew, { next, code: 'x' })
    t.ok(isOurs(unescaped(field(wrong.body, 'next'))), `POST ${next.slice(0, 40)}`)
    const [, action = ''] = /<form method="post" action="([^"]+)"/.exec(wrong.body) ?? []
    t.ok(isOurs(new URL(action, ORIGIN).searchParams.get('next') ?? ''), action.slice(0, 60))
    for (const path of ['/app', '/passkey']) {
      const answer = await post(workspace, `/_gateway/second-factor${path}`, anew, { next })
      t.ok(isOurs(unescaped(field(answer.body, 'next'))), `${path} ${next.slice(0, 40)}`)
    }
  }
  for (const [i, next] of tricks.slice(0, 9).entries()) {
    const shown = await post(workspace, VERIFY, await pageOf(workspace), {
      next,
      code: codes[i] ?? '',
    })
    t.equal(shown.status, 303)
    t.ok(isOurs(shown.headers['location'] ?? 'none'), `it goes to ${shown.headers['location']}`)
  }
  t.equal(workspace.dials(), 0)
})

t.test('an older cookie of the session is as old as its own sign-in', async (t) => {
  const workspace = await start(t)
  const page = await pageOf(workspace, 'alice', { minutesAgo: 11 })
  const renewed = await post(workspace, '/_gateway/renew', page, {
    ...{ token: await ticketOf('alice'), return_to: '/' },
  })
  t.equal(renewed.status, 303)
  const form = await send(workspace.port, `GET ${VERIFY}`, [...page, ...NAVIGATION])
  t.match(form.body, 'yours is longer ago', 'the cookie before counts for a minute')
  for (const kind of ['app', 'passkey']) {
    const answer = await post(workspace, `/_gateway/second-factor/${kind}`, page, { next: '/' })
    t.match(answer.body, 'yours is longer ago')
    t.notMatch(answer.body, /class="secret"|data-options/)
  }
  await setUpApp(t, workspace, after(renewed, page))
  t.equal(workspace.dials(), 0)
})

t.test('wrong codes of a set-up are ten a minute of an address, in JSON too', async (t) => {
  const workspace = await start(t, { GATEWAY_RATE_LIMIT: '10' })
  const page = await pageOf(workspace, 'alice', { from: '203.0.113.3' })
  const statuses = []
  for (let i = 0; i < 6; i++) {
    const fields = { id: 'app_x', code: '123456' }
    const form = await post(workspace, '/_gateway/second-factor/app/confirm', page, fields)
    const { status } = await call(workspace, 'POST /second-factor/app/confirm', page, fields)
    statuses.push(form.status, status)
  }
  t.same(statuses, [...Array<number>(10).fill(401), 429, 429])
})

t.test(
  'the backup codes are shown, also when the session cannot say that a factor was',
  async (t) => {
    const workspace = await start(t)
    t.intercept(workspace.running.parts.issuer, 'stepUp', {
      value: () => Promise.reject(new GatewayError('state-unavailable')),
    })
    const page = await pageOf(workspace)
    const begun = await post(workspace, '/_gateway/second-factor/app', page, { next: '/terminal/' })
    const secret = /<code class="secret">([A-Z2-7 ]+)<\/code>/.exec(begun.body)?.[1] ?? ''
    const confirmed = await post(workspace, '/_gateway/second-factor/app/confirm', page, {
      ...{ id: field(begun.body, 'id'), next: '/terminal/', code: codeOf(secret) },
    })
    t.equal(confirmed.status, 200)
    t.equal([...confirmed.body.matchAll(/<li><code>/g)].length, 10)
    t.equal(confirmed.headers['set-cookie'], undefined)
    t.equal((await send(workspace.port, 'GET /terminal/', page)).status, 401)
    t.equal(workspace.dials(), 0)
  },
)
