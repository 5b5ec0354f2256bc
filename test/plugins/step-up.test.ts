/** Is a route that wants a second factor closed to everybody who has shown none, as request and as upgrade? */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { COUNTED_SERVICES, SERVICES, type ServiceName } from '../../src/rules/services.ts'
import { ticketOf, pageOf } from '../helpers/api.ts'
import {
  assertRefused,
  client,
  DOORS,
  knock,
  NAVIGATION,
  ORIGIN,
  HTTPS,
  type Door,
} from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { areParked } from '../helpers/kept-terminals.ts'
import { browser, openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { claimsOf, tokenWith, withFactor, withToken } from '../helpers/stepped-up.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually, until } from '../helpers/waiting.ts'
import { clientFrame, send, upgrade, type RawAnswer } from '../helpers/wire.ts'

const RULES = { GATEWAY_TERMINAL_AMR: 'otp,hwk', GATEWAY_TERMINAL_MAX_AGE: '3600' }
const CHALLENGE =
  'Bearer realm="workspace", error="insufficient_user_authentication", acr_values="otp hwk", max_age=3600'

/** The address that each door of the terminal has. */
const ADDRESS: Readonly<Record<Door, string>> = { request: '/terminal/', upgrade: '/terminal/ws' }

/** What ttyd's page sends besides with its handshake. */
const TTY = 'Sec-WebSocket-Protocol: tty'

const knockAt = (port: number, door: Door, headers: readonly string[]) =>
  knock(port, door, ADDRESS[door], door === 'upgrade' ? [...headers, TTY] : headers)

/** Whether a service has answered. */
const hasPassed = (door: Door, status: number) => status === (door === 'upgrade' ? 101 : 200)

async function start(t: Test, settings: Record<string, string> = {}) {
  return startWorkspace(t, { ...RULES, ...settings })
}

t.test('without the factor the terminal is closed, and ttyd is never dialled', async (t) => {
  for (const [who, claims] of [
    ['no method', {}],
    ['another method', { methods: ['pwd'] }],
    ['too long ago', { methods: ['otp'], minutesAgo: 59 + 2 }],
  ] as const)
    for (const door of DOORS) {
      const workspace = await start(t)
      const { port } = workspace
      const page = await pageOf(workspace, 'alice', claims)
      const bearer = [
        `Authorization: Bearer ${await ticketOf('alice', claims)}`,
        client('203.0.113.9'),
      ]
      for (const [kind, headers] of [
        ['a browser', page],
        ['a program', bearer],
      ] as const) {
        const answer = await knockAt(port, door, headers)
        await assertRefused(t, workspace, answer, {
          code: 'step-up-required',
          stage: 'authentication',
        })
        t.equal(answer.headers['www-authenticate'], CHALLENGE, `${who}, ${kind}`)
      }
      t.equal((await knock(port, 'request', '/', page)).status, 200, 'the dashboard stays open')
    }
})

t.test('with it the terminal is open', async (t) => {
  for (const door of DOORS) {
    const workspace = await start(t)
    const { port } = workspace
    const page = await pageOf(workspace, 'alice', { methods: ['pwd', 'otp'], minutesAgo: 58 })
    const bearer = [`Authorization: Bearer ${await ticketOf('alice', { methods: ['hwk'] })}`]
    for (const headers of [page, bearer])
      t.ok(hasPassed(door, (await knockAt(port, door, headers)).status), door)
  }
})

t.test(
  'an API token for the terminal passes, since making it took a factor or the machine',
  async (t) => {
    const { port, running } = await start(t)
    const { token } = running.parts.apiTokens.create({
      name: 'ci',
      subject: 'alice',
      scopes: ['terminal'],
      expiresAt: undefined,
    })
    for (const door of DOORS)
      t.ok(
        hasPassed(door, (await knockAt(port, door, [`Authorization: Bearer ${token}`])).status),
        door,
      )
  },
)

t.test('a browser goes where the factor is shown, and comes back', async (t) => {
  const workspace = await start(t, { GATEWAY_STEP_UP_URL: 'https://hubify.com/verify-2fa?x=1' })
  const page = await pageOf(workspace)
  const answer = await send(workspace.port, 'GET /terminal/?a=1', [...page, ...NAVIGATION])
  t.equal(answer.status, 302)
  t.equal(answer.headers['x-gateway-error'], 'step-up-required')
  t.equal(answer.headers['www-authenticate'], undefined)
  const url = new URL(answer.headers['location'] ?? '')
  t.equal(url.origin + url.pathname, 'https://hubify.com/verify-2fa')
  t.equal(url.searchParams.get('x'), '1')
  t.equal(url.searchParams.get('return_to'), `${ORIGIN}/terminal/?a=1`)
  const state = url.searchParams.get('state') ?? ''
  t.match(answer.headers['set-cookie'], `__Host-workspace_signin=${state}.`)
  t.equal(workspace.dials(), 0)

  const given = (answer.headers['set-cookie'] ?? '').split(';')[0] ?? ''
  const [session = ''] = page
  const query = new URLSearchParams({
    token: await ticketOf('alice', { methods: ['otp'] }),
    state,
    return_to: '/terminal/?a=1',
  })
  const back = await send(workspace.port, `GET /_gateway/sign-in?${query}`, [
    ...[`${session}; ${given}`, HTTPS, client('203.0.113.9')],
    ...['Sec-Fetch-Site: cross-site', ...NAVIGATION],
  ])
  t.match(back, { status: 303, headers: { location: '/terminal/?a=1' } })
  t.equal(workspace.running.parts.sessions.size, 1, 'the same session, renewed')
  const renewed = `Cookie: ${(back.headers['set-cookie'] ?? '').split(';')[0]}`
  t.equal((await send(workspace.port, 'GET /terminal/', [renewed, HTTPS])).status, 200)
})

const AWAY = { GATEWAY_STEP_UP_URL: 'https://hubify.com/verify-2fa' }

/** Goes to a path as a browser does, with its cookies. @returns the answer, and the cookies that it has then */
async function go(port: number, path: string, cookies: string, more: readonly string[] = []) {
  const headers = [`Cookie: ${cookies}`, HTTPS, client('203.0.113.9'), ...NAVIGATION, ...more]
  const answer = await send(port, `GET ${path}`, headers)
  const jar = new Map(cookies.split('; ').map((pair) => [pair.split('=')[0], pair]))
  for (const line of answer.headers['set-cookie']?.split('\n') ?? []) {
    const [pair = ''] = line.split(';')
    jar.set(pair.split('=')[0], pair)
  }
  return { answer, cookies: [...jar.values()].join('; ') }
}

t.test(
  'who came back without a factor can show one that is kept here, where some are',
  async (t) => {
    for (const [settings, leads] of [
      [{ ...AWAY, GATEWAY_SECOND_FACTOR: 'local' }, true],
      [AWAY, false],
    ] as const) {
      const { port } = await start(t, settings)
      const away = await go(port, '/terminal/?a=1', cookiesOf(await pageOf({ port })))
      t.match(away.answer.headers['location'], AWAY.GATEWAY_STEP_UP_URL)
      const told = await go(port, '/terminal/?a=1', away.cookies)
      t.match(told.answer.body, 'your login service has not said that you showed one')
      const way = 'href="/_gateway/verify-2fa?next=%2Fterminal%2F%3Fa%3D1"'
      t.equal(told.answer.body.includes(way), leads)
    }
  },
)

const cookiesOf = ([cookie = '']: readonly string[]) => cookie.slice('Cookie: '.length)

t.test('a browser that comes back without the factor is told, and goes in no circle', async (t) => {
  for (const [name, ticket] of [
    ['the login service says no method', {}],
    ['another method', { methods: ['pwd'] }],
    ['a proof that is too old', { methods: ['otp'], minutesAgo: 61 }],
    ['it says nothing at all', undefined],
  ] as const)
    for (const site of ['cross-site', 'none'])
      await t.test(`${name}, ${site}`, async (t) => {
        const workspace = await start(t, AWAY)
        const { port } = workspace
        const away = await go(port, '/terminal/?a=1', cookiesOf(await pageOf(workspace)))
        t.equal(away.answer.status, 302)
        let { cookies } = away
        if (ticket !== undefined) {
          const { searchParams } = new URL(away.answer.headers['location'] ?? '')
          const query = new URLSearchParams({
            token: await ticketOf('alice', ticket),
            // A login service may also drop what it does not know; the address bar then says who asked.
            ...(site === 'none' ? {} : { state: searchParams.get('state') ?? '' }),
            return_to: '/terminal/?a=1',
          })
          const back = await go(port, `/_gateway/sign-in?${query}`, cookies, [
            `Sec-Fetch-Site: ${site}`,
          ])
          t.match(back.answer, { status: 303, headers: { location: '/terminal/?a=1' } })
          cookies = back.cookies
        }
        const told = await go(port, '/terminal/?a=1', cookies, [`Sec-Fetch-Site: ${site}`])
        const line = await assertRefused(t, workspace, told.answer, {
          ...{ code: 'step-up-required', stage: 'authentication', page: true },
        })
        t.match(line, { reason: /came back from GATEWAY_STEP_UP_URL/ }, 'explain says so')
        t.equal(told.answer.headers['www-authenticate'], CHALLENGE)
        t.match(told.answer.body, 'your login service has not said that you showed one')
        t.match(told.answer.body, '(amr: otp or hwk) in the last 60 minutes.')
        t.match(told.answer.body, told.answer.headers['x-request-id'] ?? 'an id')
        const [, href = ''] = /<a class="button" href="([^"]+)"/.exec(told.answer.body) ?? []
        const again = new URL(href.replaceAll('&#38;', '&'))
        t.equal(again.searchParams.get('return_to'), `${ORIGIN}/terminal/?a=1`)
        const program = await send(port, 'GET /terminal/', [
          ...[`Cookie: ${told.cookies}`, HTTPS, 'Sec-Fetch-Mode: cors'],
        ])
        t.equal(program.headers['content-type'], 'application/problem+json')
        t.notMatch(program.body, 'login service', 'a script gets what it got before')

        const query = new URLSearchParams({
          token: await ticketOf('alice', { methods: ['otp'] }),
          state: again.searchParams.get('state') ?? '',
          return_to: '/terminal/',
        })
        const right = await go(port, `/_gateway/sign-in?${query}`, told.cookies)
        t.equal(right.answer.status, 303)
        t.equal((await go(port, '/terminal/', right.cookies)).answer.status, 200)
      })
})

t.test('only the browser itself remembers that it was away', async (t) => {
  const workspace = await start(t, AWAY)
  const { port } = workspace
  const session = cookiesOf(await pageOf(workspace))
  const isSentAway = async (cookies: string) =>
    (await go(port, '/terminal/', cookies)).answer.status === 302
  const ahead = await go(port, '/terminal/', session, ['Sec-Purpose: prefetch'])
  t.ok(await isSentAway(ahead.cookies), 'a page that was fetched ahead was no visit')
  const away = await go(port, '/terminal/', session)
  t.notOk(await isSentAway(away.cookies))
  const state = away.cookies.split('; ')[1] ?? ''
  t.ok(await isSentAway(`${away.cookies}; ${state}`), 'two cookies: one is from elsewhere')
  t.ok(await isSentAway(session), 'another browser with this session')
  for (const mark of ['', '.x', '.step-up', '..step-upx', 'step-up'])
    t.ok(await isSentAway(`${session}; ${state.split('.')[0]}${mark}`), mark)
  t.equal(workspace.dials(), 0)
})

t.test(
  'a login page that sends a browser back without a session meets the limit of requests',
  async (t) => {
    const workspace = await startWorkspace(t, {
      GATEWAY_LOGIN_URL: 'https://hubify.com/login',
      GATEWAY_RATE_LIMIT: '10',
    })
    let cookies = ''
    const statuses = []
    for (let i = 0; i < 12; i++) {
      const trip = await go(workspace.port, '/', cookies)
      cookies = trip.cookies
      statuses.push(trip.answer.status)
    }
    t.same(statuses, [...Array<number>(10).fill(302), 429, 429])
    t.equal(workspace.dials(), 0)
  },
)

t.test('without an address for it, the browser goes to a page of the gateway', async (t) => {
  const workspace = await start(t)
  const page = await pageOf(workspace)
  const answer = await send(workspace.port, 'GET /terminal/?a=/b&c', [...page, ...NAVIGATION])
  t.match(answer, {
    status: 302,
    headers: { location: '/_gateway/verify-2fa?next=%2Fterminal%2F%3Fa%3D%2Fb%26c' },
  })
  const posted = await send(workspace.port, 'POST /terminal/token', [
    ...page,
    ...NAVIGATION,
    'Content-Length: 0',
  ])
  t.equal(
    new URLSearchParams(posted.headers['location']?.split('?')[1]).get('next'),
    '/',
    'a form cannot be repeated',
  )
  t.equal(workspace.dials(), 0)
})

t.test('the routes that want it are those that are named', async (t) => {
  const workspace = await start(t, { GATEWAY_STEP_UP_ROUTES: 'dashboard,api' })
  const page = await pageOf(workspace)
  for (const door of DOORS) {
    for (const target of ['/', '/x', '/api/x'])
      await assertRefused(t, workspace, await knock(workspace.port, door, target, page), {
        code: 'step-up-required',
        stage: 'authentication',
      })
  }
  t.equal((await knockAt(workspace.port, 'request', page)).status, 200)
})

t.test('a factor comes after sign-in, scope and origin', async (t) => {
  const workspace = await start(t)
  const { port, running } = workspace
  const [session = ''] = await pageOf(workspace)
  const { token } = running.parts.apiTokens.create({
    name: 'ci',
    subject: 'alice',
    expiresAt: undefined,
  })
  for (const [headers, code] of [
    [[], 'sign-in-required'],
    [[`Authorization: Bearer ${token}`], 'scope-missing'],
    [[session, HTTPS, 'Origin: https://evil.example'], 'origin-not-allowed'],
  ] as const)
    await assertRefused(t, workspace, await knockAt(port, 'upgrade', headers), {
      code,
      stage: 'authentication',
    })
})

/** Targets of the services, for requests and for handshakes that ttyd's rules let pass. */
const TARGETS: Readonly<Record<string, Readonly<Record<Door, readonly string[]>>>> = {
  dashboard: { request: ['/', '/x', '/x/terminal'], upgrade: ['/', '/x'] },
  chat: { request: ['/chat', '/chat/x'], upgrade: ['/chat', '/chat/ws'] },
  terminal: { request: ['/terminal', '/terminal/', '/terminal/token'], upgrade: ['/terminal/ws'] },
  api: { request: ['/api', '/api/v1/x'], upgrade: ['/api', '/api/ws'] },
  code: { request: ['/_code', '/_code/x'], upgrade: ['/_code', '/_code/ws'] },
}

t.test('each route that is named asks, as request and as upgrade, and no other does', async (t) => {
  t.same(Object.keys(TARGETS).toSorted(), COUNTED_SERVICES.toSorted(), 'no service is missing here')
  const all = COUNTED_SERVICES.join(',')
  for (const named of [...COUNTED_SERVICES, all]) {
    const asking: string[] = []
    const watch = (message: unknown) => {
      const { fastify } = message as { fastify: FastifyInstance }
      fastify.addHook('onRoute', ({ url, config }) => {
        if (config?.stepUp === true && !asking.includes(url)) asking.push(url)
      })
    }
    subscribe('fastify.initialization', watch)
    const daemon = await startUpstream(t)
    const started = await start(t, {
      ...{ GATEWAY_CONTROL_UI: '/chat', GATEWAY_DAEMON_URL: daemon.url },
      ...{ GATEWAY_STEP_UP_ROUTES: named, GATEWAY_SECOND_FACTOR: 'local' },
    })
    const workspace = { ...started, dials: () => started.dials() + daemon.dials() }
    unsubscribe('fastify.initialization', watch)
    const names = named.split(',') as ServiceName[]
    t.same(
      [...new Set(asking.map((url) => url.replace(/\*$/, '').replace(/(?<=.)\/$/, '')))].toSorted(),
      names.map((name) => SERVICES[name].path).toSorted(),
      `the table of routes: ${named}`,
    )
    const page = await pageOf(workspace)
    let dials = 0
    for (const [name, targets] of Object.entries(TARGETS))
      for (const door of DOORS)
        for (const target of targets[door]) {
          const tty = door === 'upgrade' && name === 'terminal' ? [TTY] : []
          const without = await knock(workspace.port, door, target, [...page, ...tty])
          if (names.includes(name as ServiceName))
            await assertRefused(t, workspace, without, {
              ...{ code: 'step-up-required', stage: 'authentication', dials },
            })
          else t.ok(hasPassed(door, without.status), `${named}: ${door} ${target}`)
          const shown = [...withFactor(page), ...tty]
          const answer = await knock(workspace.port, door, target, shown)
          t.ok(hasPassed(door, answer.status), `${named}: ${door} ${target} with a factor`)
          dials = workspace.dials()
        }
    for (const path of ['/_gateway/', '/_gateway/verify-2fa', '/_gateway/v1/sessions', '/health'])
      t.equal((await knock(workspace.port, 'request', path, page)).status, 200, path)
  }
})

const LOCAL = { GATEWAY_SECOND_FACTOR: 'local' }
/** The three ways in which a factor is asked. */
const MODES = {
  amr: { GATEWAY_SECOND_FACTOR: undefined },
  local: { ...LOCAL, GATEWAY_TERMINAL_AMR: undefined },
  both: LOCAL,
} as const
type Mode = keyof typeof MODES

t.test('what opens the terminal, by how the factor is asked', async (t) => {
  for (const [mode, settings] of Object.entries(MODES) as [Mode, object][]) {
    const workspace = await startWorkspace(t, { ...RULES, ...settings })
    const { port, running } = workspace
    const tokenFor = (scope: 'terminal' | 'api', name: string) =>
      running.parts.apiTokens.create({
        ...{ name, subject: 'alice', scopes: [scope], expiresAt: undefined },
      }).token
    const program = `Authorization: Bearer ${tokenFor('terminal', 'shell')}`
    const page = await pageOf(workspace)
    const otp = await pageOf(workspace, 'alice', { methods: ['otp'] })
    const other = await pageOf(workspace)
    const bearer = async (methods: string[]) =>
      `Authorization: Bearer ${await ticketOf('alice', { methods })}`
    const inCookie = async (methods: string[]) =>
      withToken(page, await ticketOf('alice', { methods }))
    const { factor_time: _, ...claims } = claimsOf(page)
    const now = Math.floor(Date.now() / 1000)
    const isLocal = mode !== 'amr'
    const hasAmr = mode !== 'local'
    const closed = 'step-up-required'
    const cases: [string, readonly string[], true | string][] = [
      ['nothing', page, closed],
      ['a factor', withFactor(page), isLocal || closed],
      ['an hour ago', withFactor(page, 3600 - 30), isLocal || closed],
      ['longer ago', withFactor(page, 3601), closed],
      ['a clock that was set back a little', withFactor(page, -200), isLocal || closed],
      ['the future', withFactor(page, -400), closed],
      ['amr', otp, hasAmr || closed],
      ['amr and a factor', withFactor(otp), true],
      ['amr, and a factor that is too old', withFactor(otp, 3601), hasAmr || closed],
      ['the claims of another session', withToken(page, tokenWith(other, claims)), closed],
      [
        'the name of another token of it',
        withToken(page, tokenWith(page, { factor_time: now, jti: claimsOf(other)['jti'] })),
        'token-invalid',
      ],
      [
        'the id of another session',
        withToken(page, tokenWith(page, { factor_time: now, sid: claimsOf(other)['sid'] })),
        'token-invalid',
      ],
      ['a program', [program], true],
      [
        'a program without the scope',
        [`Authorization: Bearer ${tokenFor('api', 'ci')}`],
        'scope-missing',
      ],
      ['a ticket', [await bearer(['pwd'])], closed],
      ['a ticket with amr', [await bearer(['hwk'])], hasAmr || closed],
      ['a ticket in the cookie', await inCookie(['pwd']), closed],
      ['a ticket with amr in the cookie', await inCookie(['otp']), hasAmr || closed],
      ['a session token as Bearer', [`Authorization: Bearer ${tokenWith(page, {})}`], closed],
      [
        'one with a factor',
        [`Authorization: Bearer ${tokenWith(page, { factor_time: now })}`],
        isLocal || closed,
      ],
      ['the password of the terminal', [...page, 'Authorization: Basic dXNlcjpwYXNz'], closed],
      [
        'it and a factor',
        [...withFactor(page), 'Authorization: Basic dXNlcjpwYXNz'],
        isLocal || closed,
      ],
      ['a program in a browser', [...page, program], true],
      ['a ticket beside a cookie', [...withFactor(otp), await bearer(['pwd'])], closed],
      ['what a stranger says', [...page, 'X-Forwarded-Amr: otp', 'Amr: otp', 'X-Amr: hwk'], closed],
    ]
    for (const [name, headers, expected] of cases)
      for (const door of DOORS) {
        const dials = workspace.dials()
        const answer = await knockAt(port, door, headers)
        if (expected === true) t.ok(hasPassed(door, answer.status), `${mode}: ${door} with ${name}`)
        else {
          t.equal(answer.headers['x-gateway-error'], expected, `${mode}: ${door} with ${name}`)
          t.equal(workspace.dials(), dials, 'and ttyd is not dialled')
        }
      }
    const reading = running.parts.apiTokens.create({
      ...{ name: 'reading', subject: 'alice', expiresAt: undefined },
      scopes: ['terminal:read'],
    })
    const reads = [`Authorization: Bearer ${reading.token}`]
    t.equal((await knockAt(port, 'request', reads)).status, 200)
    const answer = await knockAt(port, 'upgrade', reads)
    t.equal(answer.headers['x-gateway-error'], 'scope-missing', 'to read is not to type')
    for (const wrong of [-1, 'now', now * 1000, [now], null]) {
      const forged = withToken(page, tokenWith(page, { factor_time: wrong }))
      const error = (await knockAt(port, 'request', forged)).headers['x-gateway-error']
      t.equal(error, 'token-invalid', `factor_time ${JSON.stringify(wrong)}`)
    }
  }
})

t.test('the RFC 9470 fields say what would do', async (t) => {
  const CASES: [Mode, string][] = [
    ['amr', CHALLENGE],
    ['both', CHALLENGE],
    ['local', CHALLENGE.replace(' acr_values="otp hwk",', '')],
  ]
  for (const [mode, challenge] of CASES) {
    const workspace = await startWorkspace(t, { ...RULES, ...MODES[mode] })
    const page = await pageOf(workspace)
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      for (const more of [
        [],
        ['Sec-Fetch-Mode: cors', 'Sec-Fetch-Site: same-origin'],
        ['Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Site: same-origin', 'Accept: text/html'],
        ['X-HTTP-Method-Override: GET'],
        ['X-Method-Override: OPTIONS', 'X-HTTP-Method: TRACE'],
      ]) {
        const lines = [...page, ...more, 'Content-Length: 0']
        const answer = await send(workspace.port, `${method} /terminal/`, lines)
        t.match(answer, {
          status: 401,
          headers: {
            'x-gateway-error': 'step-up-required',
            'content-type': 'application/problem+json',
            'www-authenticate': challenge,
            'cache-control': 'no-store',
          },
        })
        t.equal(answer.headers['www-authenticate'], challenge, `${mode}, ${method}, ${more.join()}`)
        t.equal(answer.headers['location'], undefined)
        t.equal(answer.headers['set-cookie'], undefined, 'the session is as it was')
      }
    for (const method of ['GET', 'HEAD'])
      for (const more of [[], ['Sec-Purpose: prefetch;prerender'], ['Purpose: prefetch']]) {
        const lines = [...page, ...NAVIGATION, ...more]
        const answer = await send(workspace.port, `${method} /terminal/`, lines)
        t.match(answer, {
          status: 302,
          headers: { location: '/_gateway/verify-2fa?next=%2Fterminal%2F' },
        })
        t.equal(answer.headers['www-authenticate'], undefined)
      }
    t.equal(workspace.dials(), 0)
  }
})

t.test('no spelling of its path opens the terminal', async (t) => {
  const workspace = await start(t, LOCAL)
  const { port, services } = workspace
  const page = await pageOf(workspace)
  for (const target of [
    ...['//terminal/', '///terminal/', '/terminal//', '/./terminal/', '/x/../terminal/'],
    ...['/terminal/../terminal/', '/x/%2e%2e/terminal/', '/%2e/terminal/', '/x/..%2fterminal/'],
    ...[
      '/Terminal/',
      '/TERMINAL/',
      '/terminal;x',
      '/terminal;/ws',
      '/terminal%3bx',
      '/;/terminal/',
    ],
    ...['/%74erminal/', '/t%65rminal/ws', '/terminal%2f', '/terminal%2Fws', '/terminal%2ftoken'],
    ...['/terminal%00', '/terminal%09', '/terminal%20', '/terminal.', '/terminal./', '/terminal\\'],
    ...[
      '/terminal%5c',
      '/%2fterminal/',
      '/%5cterminal/',
      '/terminal?',
      '/terminal?/',
      '/terminal/?x',
    ],
    ...[
      '/terminal/%2e%2e/terminal/',
      '/api/../terminal/',
      '/api/%2e%2e/terminal/',
      '/chat/../terminal',
    ],
    ...['/%u0074erminal/', '/%c1%b4erminal/', '/\xe9terminal', '/terminal/ws/', '/terminal/ws/../'],
    ...['http://houston.hubify.com/terminal/', 'http://evil.example/terminal/', '*', 'terminal/'],
  ])
    for (const door of DOORS) {
      const answer = await knock(port, door, target, [...page, TTY])
      t.equal(services.terminal.dials(), 0, `${door} ${target}: ${answer.status}`)
    }
  for (const name of ['X-Original-URL', 'X-Rewrite-URL', 'X-Forwarded-Prefix', 'X-Forwarded-Uri']) {
    await knock(port, 'request', '/', [...page, `${name}: /terminal/`])
    const answer = await knock(port, 'request', '/terminal/', [...page, `${name}: /`])
    t.equal(answer.headers['x-gateway-error'], 'step-up-required')
  }
  t.equal(services.terminal.dials(), 0)
})

t.test(
  'an open terminal goes on when its factor is too old, and a new one is refused',
  async (t) => {
    const workspace = await startWorkspace(t, { ...LOCAL, GATEWAY_TERMINAL_MAX_AGE: '60' })
    const { port } = workspace
    const page = withFactor(await pageOf(workspace), 58)
    const open = await upgrade(port, '/terminal/ws', [...page, TTY])
    t.equal(open.answer.status, 101)
    await until('the factor is too old', async () => {
      return (await knockAt(port, 'request', page)).status === 401
    })
    const dials = workspace.dials()
    const answer = await knockAt(port, 'upgrade', page)
    await assertRefused(t, workspace, answer, {
      ...{ code: 'step-up-required', stage: 'authentication', dials },
    })
    const before = open.received().length
    open.socket.write(clientFrame(1, 'still here'))
    t.match((await open.until(before + 12)).toString(), /still here/)
    open.socket.destroy()
    await open.closed
  },
)

t.test('a shell that waits is not given back without the factor, and waits on', async (t) => {
  const { ttyd, keeper, gateway, port } = await startKeptWorkspace(t, {
    ...LOCAL,
    GATEWAY_TERMINAL_MAX_AGE: '3600',
  })
  const without = await browser(port)
  const alice = withFactor(without)
  const first = await openPage(t, port, alice)
  const shell = await ttyd.shell(0)
  shell.print('hello\r\n')
  await eventually(() => first.output().includes('hello'), 'output')
  first.socket.terminate()
  await areParked(keeper)
  for (const headers of [without, withFactor(without, 3601)])
    await t.rejects(openPage(t, port, headers), /401/)
  t.match(await keeper.list(), [{ state: 'parked' }])
  t.equal(gateway.running.parts.sessions.size, 1)
  const second = await openPage(t, port, alice)
  await eventually(() => second.output().includes('hello'), 'the screen')
  t.equal(ttyd.shells.length, 1, 'the same shell')
})

t.test('a session that is renewed without its newest cookie has no factor', async (t) => {
  for (const [name, rules] of [
    ['a factor that was shown here', LOCAL],
    ['one of the login service', {}],
  ] as const)
    await t.test(name, async (t) => {
      const workspace = await startWorkspace(t, { ...RULES, ...rules })
      const { port, running } = workspace
      const page = await pageOf(workspace, 'alice', { methods: ['otp'] })
      const newest = 'token' in rules ? page : withFactor(page)
      t.equal((await knockAt(port, 'request', newest)).status, 200)
      const { sid } = claimsOf(page)
      // Somebody who knows her password gets tickets, and an old cookie or a log says how her session is called.
      const state = 'A'.repeat(22)
      const query = new URLSearchParams({
        token: await ticketOf('alice', { methods: ['pwd'], minutesAgo: 30 }),
        state,
      })
      const stolen = await go(
        port,
        `/_gateway/sign-in?${query}`,
        `__Host-workspace_signin=${state}.${String(sid)}`,
      )
      t.equal(stolen.answer.status, 303)
      const session = stolen.cookies.split('; ').find((pair) => pair.includes('_session=')) ?? ''
      t.match(claimsOf([`Cookie: ${session}`]), { sid, amr: ['pwd'], factor_time: undefined })
      const dials = workspace.dials()
      for (const door of DOORS)
        await assertRefused(
          t,
          workspace,
          await knockAt(port, door, [`Cookie: ${session}`, HTTPS, `Origin: ${ORIGIN}`]),
          {
            ...{ code: 'step-up-required', stage: 'authentication', dials },
          },
        )
      t.equal(running.parts.sessions.size, 1)
    })
})

t.test('a renewal keeps the factor for the browser that has it', async (t) => {
  const workspace = await start(t, LOCAL)
  const { port } = workspace
  const page = withFactor(await pageOf(workspace), 100)
  const renew = async (headers: readonly string[]): Promise<RawAnswer> => {
    const body = `token=${await ticketOf('alice')}`
    return send(
      port,
      'POST /_gateway/renew',
      [
        ...headers,
        'Content-Type: application/x-www-form-urlencoded',
        `Content-Length: ${body.length}`,
      ],
      body,
    )
  }
  const tokenIn = ({ headers }: RawAnswer) => headers['set-cookie']?.split(/[=;]/)[1] ?? ''
  const renewed = withToken(page, tokenIn(await renew(page)))
  t.equal(claimsOf(renewed)['factor_time'], claimsOf(page)['factor_time'])
  t.equal((await knockAt(port, 'request', renewed)).status, 200)
  t.equal((await knockAt(port, 'request', page)).status, 401, 'the older cookie has lost it')
  const again = withToken(page, tokenIn(await renew(page)))
  t.equal(claimsOf(again)['sid'], claimsOf(page)['sid'], 'and renews the session')
  t.equal(claimsOf(again)['factor_time'], undefined, 'without it')
  t.equal((await knockAt(port, 'request', again)).status, 401)
  const anew = await pageOf(workspace)
  t.equal((await knockAt(port, 'request', anew)).status, 401, 'to sign in is to begin without it')
})
