/** Is the eleventh request refused, in one budget for each client address, whatever it looks like? */
import t, { type Test } from 'tap'
import { waitDetail } from '../../src/answers/details.ts'
import {
  assertRefused,
  client,
  cookie,
  DOORS,
  HTTPS,
  knock,
  NAVIGATION,
  TYPED,
  ORIGIN,
} from '../helpers/door.ts'
import { startBefore, startWorkspace, token } from '../helpers/gateway.ts'
import { basic, startTtyd } from '../helpers/ttyd.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { closedPort } from '../helpers/upstream.ts'
import { exchange, handshake, send } from '../helpers/wire.ts'

/** The limits of production. */
const TEN = { GATEWAY_RATE_LIMIT: undefined }
const limited = { code: 'rate-limited', stage: 'rate-limit' } as const

t.test(
  'the eleventh request within a minute is answered 429, and says when to come back',
  async (t) => {
    const workspace = await startWorkspace(t, TEN)
    const headers = [client('203.0.113.9'), `Authorization: Bearer ${await token()}`]
    for (let left = 9; left >= 0; left--) {
      const answer = await send(workspace.port, 'GET /api/x', headers)
      t.equal(answer.status, 200)
      t.match(
        answer.headers['ratelimit'],
        new RegExp(`^"address";r=${left};t=(?:[1-9]|[1-5][0-9]|60)$`),
      )
      t.equal(answer.headers['ratelimit-policy'], '"address";q=10;w=60')
    }
    const dials = workspace.dials()
    for (const door of DOORS) {
      const answer = await knock(workspace.port, door, '/api/x', headers)
      const line = await assertRefused(t, workspace, answer, { ...limited, dials })
      t.match(line, { client: '203.0.113.9', route: 'api' })
      t.match(answer.headers['retry-after'], /^(?:[1-9]|[1-5][0-9]|60)$/)
      t.equal(answer.headers['ratelimit'], `"address";r=0;t=${answer.headers['retry-after']}`)
      t.equal(answer.headers['ratelimit-policy'], '"address";q=10;w=60')
      const { detail } = JSON.parse(answer.body) as { detail: string }
      const seconds = Number(answer.headers['retry-after'])
      t.equal(detail, waitDetail(seconds), 'the document says for how long')
      t.match(detail, new RegExp(` ${seconds} seconds?,`))
    }
    const page = await send(workspace.port, 'GET /api/x', [...headers, ...NAVIGATION])
    const seconds = Number(page.headers['retry-after'])
    t.ok(page.body.includes(waitDetail(seconds)), 'and so does the page')
    t.ok(page.body.includes(`<meta http-equiv="refresh" content="${seconds}">`))
    const form = await send(workspace.port, 'POST /api/x', [...headers, ...NAVIGATION])
    t.equal(form.status, 429)
    t.notMatch(form.body, 'http-equiv', 'a page never sends a form again')
    t.equal(
      (await send(workspace.port, 'GET /api/x', [client('203.0.113.10'), ...headers.slice(1)]))
        .status,
      200,
    )
  },
)

t.test('of fifty requests at once exactly ten pass', async (t) => {
  const { port, services } = await startWorkspace(t, TEN)
  const headers = [client('203.0.113.9'), `Authorization: Bearer ${await token()}`]
  const answers = await Promise.all(Array.from({ length: 50 }, () => send(port, 'GET /', headers)))
  t.equal(answers.filter(({ status }) => status === 200).length, 10)
  t.equal(answers.filter(({ status }) => status === 429).length, 40)
  t.equal(services.dashboard.requests.length, 10)
})

t.test(
  'of thirty requests and upgrades at once, signed in or not, exactly ten are not 429',
  async (t) => {
    const { port } = await startWorkspace(t, TEN)
    const bearer = `Authorization: Bearer ${await token()}`
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        knock(port, i % 2 === 0 ? 'request' : 'upgrade', '/', [
          client('203.0.113.9'),
          ...(i % 3 === 0 ? [] : [bearer]),
        ]),
      ),
    )
    t.equal(answers.filter(({ status }) => status !== 429).length, 10)
  },
)

t.test('requests in one packet are counted one by one', async (t) => {
  const { port } = await startWorkspace(t, TEN)
  const one = 'GET /api/x HTTP/1.1\r\nHost: houston.hubify.com\r\nX-Forwarded-For: 203.0.113.9\r\n'
  const received = await exchange(port, `${`${one}\r\n`.repeat(11)}${one}Connection: close\r\n\r\n`)
  const statuses = [...received.matchAll(/HTTP\/1\.1 ([0-9]+) /g)].map(([, status]) => status)
  t.same(statuses, [...Array.from({ length: 10 }, () => '401'), '429', '429'])
})

t.test('no other spelling of a request opens another budget', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const bearer = `Authorization: Bearer ${await token()}`
  const from = client('203.0.113.9')
  t.equal((await send(workspace.port, 'GET /', [from, bearer])).status, 200)
  const dials = workspace.dials()
  const variants: Array<[requestLine: string, headers: string[]]> = [
    ['GET /', []],
    ['HEAD /', []],
    ['POST /', ['Content-Length: 0']],
    ['DELETE /api/x', []],
    ['OPTIONS /', []],
    ['OPTIONS /', [`Origin: ${ORIGIN}`, 'Access-Control-Request-Method: PUT']],
    ['GET /?x=1', []],
    ['GET /A', []],
    ['GET /a/', []],
    ['GET /a%62', []],
    ['GET /healthz', []],
    ['GET /health/', []],
    ['GET /HEALTH', []],
    ['GET /?/health', []],
    ['GET /api/health', []],
    ['GET /terminal/', []],
    ['GET /_gateway/sign-in', []],
    ['POST /_gateway/sign-in', ['Content-Length: 0']],
    ['PUT /_gateway/sign-in', ['Content-Length: 0']],
    ['GET /_gateway/nothing', []],
    ['GET /', ['User-Agent: GoogleHC/1.0']],
    ['GET /', ['User-Agent: kube-probe/1.30']],
    ['GET /', ['Host: localhost']],
    ['GET /', ['Host: 127.0.0.1']],
    ['GET /', ['RSC: 1']],
    ['GET /', [HTTPS]],
    ['GET /', ['X-Real-IP: 1.2.3.4']],
    [
      'GET /',
      [
        'X-Forwarded-Host: x',
        'Forwarded: for=1.2.3.4',
        'Fly-Client-IP: 1.2.3.4',
        'True-Client-IP: 1.2.3.4',
      ],
    ],
  ]
  for (const [requestLine, headers] of variants) {
    const answer = await send(workspace.port, requestLine, [from, bearer, ...headers])
    t.equal(answer.status, 429, `${requestLine} ${headers.join()}`)
  }
  const bobs = `Authorization: Bearer ${await token({ subject: 'bob' })}`
  t.equal((await send(workspace.port, 'GET /', [from, bobs])).status, 429, 'nor does another token')
  t.equal((await send(workspace.port, 'GET /', [from])).status, 429, 'nor none')
  t.equal(workspace.dials(), dials)
})

t.test('a client that writes X-Forwarded-For itself gets no other budget', async (t) => {
  const { port } = await startWorkspace(t, TEN)
  const statuses: number[] = []
  for (let i = 0; i < 30; i++) {
    const spoofed = [client(`198.51.100.${i}, 203.0.113.9`), client('203.0.113.9')]
    statuses.push((await send(port, 'GET /', [spoofed[i % 2] ?? ''])).status)
  }
  t.equal(statuses.filter((status) => status === 401).length, 10)
  t.equal(statuses.filter((status) => status === 429).length, 20)
  t.equal(
    (await send(port, 'GET /', [client('198.51.100.1')])).status,
    401,
    'whose name was used is not affected',
  )
})

t.test('with no trusted proxy the peer is the client, whatever it says', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '2',
    GATEWAY_TRUSTED_PROXIES: 'none',
  })
  const statuses: number[] = []
  for (let i = 0; i < 4; i++)
    statuses.push((await send(port, 'GET /', [client(`198.51.100.${i}`)])).status)
  t.same(statuses, [401, 401, 429, 429])
})

t.test('an IPv6 /64 is one client, and IPv4 in IPv6 is the IPv4 client', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const rows: Array<[address: string, status: number]> = [
    ['2001:db8:1:2::1', 401],
    ['2001:db8:1:2::2', 429],
    ['2001:db8:1:2:ffff:ffff:ffff:ffff', 429],
    ['2001:DB8:0001:0002:0:0:0:9', 429],
    ['[2001:db8:1:2::3]:1234', 429],
    ['2001:db8:1:3::1', 401],
    ['203.0.113.9', 401],
    ['::ffff:203.0.113.9', 429],
    ['::ffff:cb00:7109', 429],
    ['0:0:0:0:0:ffff:203.0.113.9', 429],
    ['203.0.113.9:4711', 429],
    ['::ffff:203.0.113.10', 401],
    ['203.0.113.10', 429],
  ]
  for (const [address, status] of rows)
    t.equal((await send(port, 'GET /', [client(address)])).status, status, address)
})

t.test('every refusal costs its address one request', async (t) => {
  const rows: Array<[what: string, requestLine: string, headers: string[]]> = [
    ['a bad target', 'GET //x', []],
    ['a sensitive file', 'GET /.env', []],
    ['a foreign host', 'GET /', ['Host: evil.example']],
    ['a bad expectation', 'GET /', ['Expect: banana']],
    ['a bad method', 'TRACE /', []],
    ['a bad coding', 'POST /', ['Transfer-Encoding: gzip, chunked']],
    ['too many fields', 'GET /', Array.from({ length: 101 }, () => 'A: b')],
    ['a bad upgrade', 'GET /', handshake(['Sec-WebSocket-Version: 8'])],
    ['no credential', 'GET /', []],
    ['a bad one', 'GET /', ['Authorization: Bearer a.b.c']],
    ['two of them', 'GET /', ['X-Workspace-Token: a', 'X-Workspace-Token: b']],
    ['an unknown address of the gateway', 'GET /_gateway/x', []],
    ['a failed sign-in', 'GET /_gateway/sign-in?token=x', []],
  ]
  for (const [what, requestLine, headers] of rows) {
    await t.test(what, async (t) => {
      const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
      const from = client('203.0.113.9')
      for (let i = 0; i < 3; i++)
        t.not((await send(port, requestLine, [from, ...headers])).status, 429)
      t.equal((await send(port, 'GET /', [from])).status, 429)
      t.equal((await send(port, 'GET /', [client('203.0.113.10')])).status, 401)
    })
  }
})

t.test('a proxy that sends garbage for an address is counted itself', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
  for (let i = 0; i < 3; i++) t.equal((await send(port, 'GET /', [client('garbage')])).status, 400)
  t.equal((await send(port, 'GET /')).status, 429)
})

t.test('health is never counted', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const from = client('203.0.113.9')
  for (let i = 0; i < 20; i++) {
    const answer = await send(port, i % 2 === 0 ? 'GET /health' : 'HEAD /health?x=1', [from])
    t.equal(answer.status, 200)
    t.equal(answer.headers['ratelimit'], undefined)
  }
  t.equal((await send(port, 'GET /', [from])).status, 401, 'the budget is untouched')
  t.equal(
    (await send(port, 'GET /health', [from])).status,
    200,
    'and its end does not concern health',
  )
})

t.test(
  'a signed-in browser that loads the dashboard or the control UI spends its session’s own budget',
  async (t) => {
    const workspace = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '2',
      GATEWAY_SESSION_RATE_LIMIT: '5',
      GATEWAY_CONTROL_UI: '/chat',
    })
    const good = await token()
    const from = [client('203.0.113.9'), HTTPS]
    const signedIn = [...from, cookie(good)]
    for (const request of ['GET /', 'HEAD /x', 'GET /chat', 'GET /_next/x.js', 'GET /chat/x'])
      t.match(
        (await send(workspace.port, request, signedIn)).headers['ratelimit-policy'],
        '"session";q=5;w=60',
        request,
      )
    const dials = workspace.dials()
    const spent = await send(workspace.port, 'GET /', signedIn)
    await assertRefused(t, workspace, spent, { ...limited, dials })
    t.match(spent.headers['ratelimit'], '"session";r=0;')
    t.equal(
      (await send(workspace.port, 'GET /', [...signedIn, client('203.0.113.77')])).status,
      429,
      'from anywhere',
    )
    const second = [...from, cookie(await token())]
    t.equal(
      (await send(workspace.port, 'GET /', second)).status,
      200,
      'another session has its own',
    )

    t.match(
      (await send(workspace.port, 'GET /', from)).headers['ratelimit'],
      '"address";r=1;',
      'the address’s is untouched',
    )
  },
)

/** What a browser says about a request of a page of ours, by the kind of request. */
const OWN = {
  read: ['Sec-Fetch-Site: same-origin', 'Sec-Fetch-Mode: no-cors'],
  act: [`Origin: ${ORIGIN}`, 'Sec-Fetch-Site: same-origin'],
}

t.test(
  'a signed-in browser spends its session’s budget everywhere, with every method',
  async (t) => {
    const workspace = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '1',
      GATEWAY_CONTROL_UI: '/chat',
      GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com',
    })
    const { port } = workspace
    const browser = [client('203.0.113.9'), HTTPS, cookie(await token())]
    await send(port, 'GET /', [client('203.0.113.9')])
    const rows: Array<[requestLine: string, headers: string[]]> = [
      ['POST /', [...OWN.act, 'Content-Length: 0']],
      ['OPTIONS /', OWN.act],
      ['DELETE /chat/x', OWN.act],
      ['GET /api/x', OWN.read],
      ['POST /api/x', [...OWN.act, 'Content-Length: 0']],
      ['PUT /api/x', ['Sec-Fetch-Site: same-origin', 'Content-Length: 0']],
      ['GET /terminal/', []],
      ['GET /terminal/', ['Sec-Fetch-Site: none']],
      ['HEAD /terminal/', OWN.read],
      ['GET /_gateway/sign-in', OWN.read],
      ['GET /_gateway/nothing', OWN.read],
      ['GET /api/x', ['RSC: 1', ...OWN.read]],
      ['GET /', ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-User: ?1', ...NAVIGATION]], // a link in a mail
      ['GET /', ['Sec-Fetch-Site: same-site', 'Sec-Fetch-User: ?1', ...NAVIGATION]],
      ['POST /api/x', ['Origin: https://app.example.com', 'Content-Length: 0']],
      ['GET /api/x', ['Origin: https://app.example.com', 'Sec-Fetch-Site: cross-site']],
    ]
    for (const [requestLine, headers] of rows) {
      const answer = await send(port, requestLine, [...browser, ...headers])
      t.not(answer.status, 429, `${requestLine} ${headers.join()}`)
      t.match(answer.headers['ratelimit'], '"session";', `${requestLine} ${headers.join()}`)
    }
    for (const path of ['/', '/api/ws', '/chat/ws']) {
      const answer = await knock(port, 'upgrade', path, [...browser, ...OWN.act])
      t.equal(answer.status, 101, path)
    }
  },
)

t.test('a page of somebody else’s cannot use a session’s budget up', async (t) => {
  const workspace = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '3',
    GATEWAY_SESSION_RATE_LIMIT: '2',
  })
  const { port } = workspace
  const good = await token()
  // A sibling workspace is of the same site: what its pages send carries the cookie.
  const rows: Array<[requestLine: string, headers: string[]]> = [
    ['GET /x.png', ['Sec-Fetch-Site: same-site', 'Sec-Fetch-Mode: no-cors']],
    ['GET /x.png', ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: no-cors']],
    ['HEAD /', ['Sec-Fetch-Site: same-site']],
    ['GET /', ['Sec-Fetch-Site: same-site', ...NAVIGATION]], // moved there by a script
    ['GET /', ['Sec-Fetch-Site: nonsense']],
    [
      'GET /',
      [
        'Sec-Fetch-Site: cross-site',
        'Sec-Fetch-Mode: navigate',
        'Sec-Fetch-Dest: iframe',
        'Sec-Fetch-User: ?1',
      ],
    ],
    ['GET /', ['Origin: https://research.hubify.com', 'Sec-Fetch-Site: same-site']],
    ['GET /', ['Origin: null', 'Sec-Fetch-Site: cross-site']],
    ['GET /', [`Origin: ${ORIGIN}`, 'Origin: https://research.hubify.com']],
    ['OPTIONS /', ['Origin: https://research.hubify.com']],
    ['POST /', ['Origin: https://research.hubify.com', 'Content-Length: 0']],
    ['POST /', ['Content-Length: 0']],
    ['POST /', ['Sec-Fetch-Site: none', 'Content-Length: 0']],
  ]
  let i = 0
  for (const [requestLine, headers] of rows) {
    const from = [client(`203.0.113.${++i}`), HTTPS, cookie(good)]
    const answer = await send(port, requestLine, [...from, ...headers])
    t.match(answer.headers['ratelimit'], '"address";r=2;', `${requestLine} ${headers.join()}`)
  }
  const knocked = await knock(port, 'upgrade', '/', [client('203.0.113.90'), HTTPS, cookie(good)])
  t.match(knocked.headers['ratelimit'], '"address";', 'an upgrade that does not say who sent it')
  const own = [client('203.0.113.1'), HTTPS, cookie(good), ...OWN.read]
  t.match((await send(port, 'GET /', own)).headers['ratelimit'], '"session";r=1;', 'it is whole')
})

t.test('programs, and whoever is not signed in, spend the address’s budget', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  const good = await token()
  const bad = await token({ secret: 'another-key-that-is-not-houstons-own' })
  const rows: Array<[requestLine: string, headers: string[]]> = [
    ['GET /', [`Authorization: Bearer ${good}`]],
    ['GET /', [`X-Workspace-Token: ${good}`]],
    ['GET /chat', [`Authorization: Bearer ${good}`]],
    ['GET /api/x', [`Authorization: Bearer ${good}`, HTTPS, cookie(good), ...OWN.act]],
    ['GET /terminal/', [`X-Workspace-Token: ${good}`]],
    ['GET /_gateway/sign-in', [HTTPS]],
    ['POST /_gateway/sign-out', [HTTPS, cookie(bad), ...OWN.act, 'Content-Length: 0']],
    ['GET /', [HTTPS, cookie(bad)]],
    ['GET /', [HTTPS, cookie(await token({ ttlSeconds: -3600 }))]],
    ['GET /', [HTTPS, `Cookie: workspace_session=${good}`]],
    [
      'GET /',
      [HTTPS, `Cookie: __Host-workspace_session=${good}; __Host-workspace_session=${good}`],
    ],
    ['GET /', [`Authorization: Bearer ${bad}`, HTTPS, cookie(good)]],
  ]
  for (const [requestLine, headers] of rows) {
    const answer = await send(port, requestLine, headers)
    t.match(answer.headers['ratelimit'], '"address";', `${requestLine} ${answer.status}`)
  }
})

t.test('a program stops at ten, whatever its session’s browser has left', async (t) => {
  const workspace = await startWorkspace(t, TEN)
  const { port } = workspace
  const good = await token()
  const from = client('203.0.113.9')
  for (const headers of [[`Authorization: Bearer ${good}`], [`X-Workspace-Token: ${good}`]])
    for (let i = 0; i < 5; i++)
      t.equal((await send(port, 'GET /api/x', [from, ...headers])).status, 200)
  const dials = workspace.dials()
  const eleventh = await send(port, 'GET /api/x', [from, `Authorization: Bearer ${good}`])
  await assertRefused(t, workspace, eleventh, { ...limited, dials })
  const browser = [from, HTTPS, cookie(good), ...OWN.act, 'Content-Length: 0']
  for (let i = 0; i < 20; i++)
    t.equal((await send(port, 'POST /api/x', browser)).status, 200, 'the browser goes on')
})

t.test(
  'an operator can name the routes on which programs spend their session’s budget',
  async (t) => {
    const { port } = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '1',
      GATEWAY_PROGRAM_ROUTES: 'api',
    })
    const good = await token()
    const from = client('203.0.113.9')
    for (const credential of [`Authorization: Bearer ${good}`, `X-Workspace-Token: ${good}`]) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        const headers = [from, credential, 'Content-Length: 0']
        const answer = await send(port, `${method} /api/x`, headers)
        t.equal(answer.status, 200)
        t.match(answer.headers['ratelimit'], '"session";')
      }
      t.equal((await knock(port, 'upgrade', '/api/ws', [from, credential])).status, 101)
    }
    const bearer = `Authorization: Bearer ${good}`
    t.match((await send(port, 'GET /', [from, bearer])).headers['ratelimit'], '"address";r=0;')
    t.equal((await send(port, 'GET /', [from, bearer])).status, 429, 'not on other routes')
    t.equal((await send(port, 'GET /api/x', [from])).status, 429, 'nobody is no session')
  },
)

t.test('an operator can name the routes on which browsers do', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '1',
    GATEWAY_SESSION_ROUTES: 'api',
  })
  const browser = [client('203.0.113.9'), HTTPS, cookie(await token()), ...OWN.read]
  for (let i = 0; i < 3; i++)
    t.match((await send(port, 'GET /api/x', browser)).headers['ratelimit'], '"session";')
  t.match((await send(port, 'GET /', browser)).headers['ratelimit'], '"address";r=0;')
  t.equal((await send(port, 'GET /_gateway/nothing', browser)).status, 429)
})

t.test('with GATEWAY_SESSION_ROUTES=none the ten hold literally for everybody', async (t) => {
  const workspace = await startWorkspace(t, { ...TEN, GATEWAY_SESSION_ROUTES: 'none' })
  const { port } = workspace
  const good = await token()
  const browser = [client('203.0.113.9'), HTTPS, cookie(good)]
  const requests: Array<[requestLine: string, headers: string[]]> = [
    ['GET /', OWN.read],
    ['POST /x', [...OWN.act, 'Content-Length: 0']],
    ['GET /api/x', OWN.read],
    ['GET /terminal/', OWN.read],
    ['GET /_gateway/sign-in', OWN.read],
  ]
  for (const [requestLine, headers] of [...requests, ...requests])
    t.match(
      (await send(port, requestLine, [...browser, ...headers])).headers['ratelimit'],
      '"address";',
    )
  const dials = workspace.dials()
  for (const [requestLine, headers] of requests)
    await assertRefused(t, workspace, await send(port, requestLine, [...browser, ...headers]), {
      ...limited,
      dials,
    })
  const sideDoor = await knock(port, 'upgrade', '/api/ws', [...browser, ...OWN.act])
  await assertRefused(t, workspace, sideDoor, { ...limited, dials })
  const out = [...browser, ...OWN.act, 'Content-Length: 0']
  t.equal((await send(port, 'POST /_gateway/sign-out', out)).status, 303, 'but people get out')
  const link = `GET /_gateway/sign-in?token=${await token()}`
  t.equal((await send(port, link, [...browser.slice(0, 2), ...TYPED])).status, 303, 'and in')
})

const FORM = 'Content-Type: application/x-www-form-urlencoded'

/** Sends the sign-in form. */
function signIn(port: number, text: string, headers: readonly string[]) {
  const body = new URLSearchParams({ token: text, return_to: '/logs' }).toString()
  const all = [...headers, FORM, `Content-Length: ${body.length}`]
  return send(port, 'POST /_gateway/sign-in', all, body)
}

t.test('nobody with a valid session or token is kept in or out', async (t) => {
  for (const GATEWAY_SESSION_ROUTES of [undefined, 'none']) {
    const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1', GATEWAY_SESSION_ROUTES })
    const from = [client('203.0.113.9'), HTTPS]
    t.equal((await send(port, 'GET /', from)).status, 401)
    t.equal((await send(port, 'GET /', from)).status, 429, 'nothing is left')
    for (let i = 0; i < 5; i++) {
      const address = `GET /_gateway/sign-in?token=${await token()}`
      const link = await send(port, address, [...from, ...TYPED])
      t.equal(link.status, 303)
      t.equal(link.headers['ratelimit'], undefined, 'it is not counted')
      t.equal((await signIn(port, await token(), from)).status, 303)
      const stale = cookie(await token({ ttlSeconds: -3600 }))
      const again = await signIn(port, await token(), [...from, stale])
      t.equal(again.status, 303, 'an old cookie is no guess')
      const out = [...from, cookie(await token()), ...OWN.act, 'Content-Length: 0']
      t.equal((await send(port, 'POST /_gateway/sign-out', out)).status, 303)
      const bearer = [...from, `Authorization: Bearer ${await token()}`, 'Content-Length: 0']
      t.equal((await send(port, 'POST /_gateway/sign-out', bearer)).status, 303)
    }
    const nobody = [...from, 'Content-Length: 0']
    t.equal((await send(port, 'POST /_gateway/sign-out', nobody)).status, 429)
    t.equal((await send(port, 'GET /_gateway/sign-in', from)).status, 429, 'the page is counted')
  }
})

t.test('ten wrong tokens at sign-in, by form or link, signed in or not, and no more', async (t) => {
  const bad = await token({ secret: 'another-key-that-is-not-houstons-own' })
  const good = await token()
  for (const session of [[], [cookie(await token()), ...OWN.act]]) {
    const workspace = await startWorkspace(t, TEN)
    const { port } = workspace
    const from = [client('203.0.113.9'), HTTPS, ...session]
    for (let i = 0; i < 10; i++) {
      const answer =
        i % 2 === 0
          ? await signIn(port, i % 4 === 0 ? bad : '', from)
          : await send(port, `GET /_gateway/sign-in?token=${bad}`, from)
      t.equal(answer.status, 401)
      t.match(answer.headers['ratelimit'], `"address";r=${9 - i};`)
    }
    const refusal = { code: 'rate-limited', stage: 'sign-in' } as const
    await assertRefused(t, workspace, await signIn(port, bad, from), refusal)
    const link = await send(port, `GET /_gateway/sign-in?%74oken=${bad}`, [...from, ...NAVIGATION])
    await assertRefused(t, workspace, link, { ...refusal, page: true })
    t.ok(link.body.includes(waitDetail(Number(link.headers['retry-after']))))
    t.notMatch(link.body, 'http-equiv', 'the page does not try the same token again')
    await assertRefused(
      t,
      workspace,
      await send(port, 'POST /_gateway/sign-in', [...from, 'Content-Length: 0']),
      refusal,
    )
    t.equal((await signIn(port, good, from)).status, 303, 'the right one is taken all the same')
    t.equal((await signIn(port, bad, [client('203.0.113.10'), HTTPS])).status, 401)
  }
})

t.test('fifty wrong tokens at once are ten', async (t) => {
  const { port } = await startWorkspace(t, TEN)
  const from = [client('203.0.113.9'), HTTPS]
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => signIn(port, `a.b.c${i}`, from)),
  )
  t.equal(answers.filter(({ status }) => status === 401).length, 10)
  t.equal(answers.filter(({ status }) => status === 429).length, 40)
})

const PASSWORD = 'user:right'

/** A gateway before a terminal with a password. */
async function startTerminal(t: Test, settings: Record<string, string | undefined> = TEN) {
  const ttyd = await startTtyd(t, PASSWORD)
  const gateway = await startBefore(t, ttyd, settings)
  /** Asks for the terminal's page with a password, as a program or a browser. */
  const ask = (headers: readonly string[], password?: string, path = '/terminal/') =>
    send(gateway.port, `GET ${path}`, [
      ...headers,
      ...(password === undefined ? [] : [`Authorization: ${basic(password)}`]),
    ])
  return { ...gateway, ttyd, ask }
}

/** A signed-in browser behind an address. */
const browserAt = async (address: string) => [
  client(address),
  HTTPS,
  cookie(await token()),
  ...OWN.read,
]

t.test('ten wrong passwords for the terminal, and no more, in however many sessions', async (t) => {
  const { ask, ttyd, port } = await startTerminal(t)
  for (let i = 0; i < 10; i++) {
    const browser = await browserAt('203.0.113.9')
    t.equal((await ask(browser)).status, 401, 'without a password it is no guess')
    t.equal((await ask(browser, `user:wrong${i}`)).status, 401)
  }
  const seen = ttyd.requests.length
  const browser = await browserAt('203.0.113.9')
  const refused = await ask(browser, 'user:wrong10')
  t.equal(refused.status, 429)
  t.equal(refused.headers['x-gateway-error'], 'rate-limited')
  t.match(refused.headers['ratelimit'], '"address";r=0;')
  t.equal((await ask(browser, PASSWORD)).status, 429, 'nor the right one: nobody knows it yet')
  const dial = [...browser, ...OWN.act, 'Sec-WebSocket-Protocol: tty']
  const guess = [...dial, `Authorization: ${basic('user:wrong')}`]
  t.equal((await knock(port, 'upgrade', '/terminal/ws', guess)).status, 429)
  t.equal(ttyd.requests.length, seen, 'the terminal was not asked')
  t.equal((await ask(browser)).status, 401, 'asking without one goes on')
  t.equal((await ask(await browserAt('203.0.113.10'), PASSWORD)).status, 200, 'elsewhere too')
})

t.test('wrong passwords on handshakes, and fifty at once, are ten as well', async (t) => {
  const { ask, ttyd, port } = await startTerminal(t)
  const browser = await browserAt('203.0.113.9')
  const dial = [...browser, ...OWN.act, 'Sec-WebSocket-Protocol: tty']
  for (let i = 0; i < 5; i++) {
    const guess = [...dial, `Authorization: ${basic(`user:wrong${i}`)}`]
    t.equal((await knock(port, 'upgrade', '/terminal/ws', guess)).status, 502)
  }
  const seen = ttyd.requests.length
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => ask(browser, `user:guess${i}`)),
  )
  t.equal(answers.filter(({ status }) => status === 401).length, 5)
  t.equal(answers.filter(({ status }) => status === 429).length, 45)
  t.equal(ttyd.requests.length, seen + 5)
})

t.test('who has the terminal open goes on when somebody at the address guesses', async (t) => {
  const { ask, ttyd, port } = await startTerminal(t)
  const alice = await browserAt('203.0.113.9')
  for (let i = 0; i < 6; i++)
    for (const path of ['/terminal', '/terminal/', '/terminal/token'])
      t.ok((await ask(alice, PASSWORD, path)).status < 400, 'a visit costs the address nothing')
  const mallory = await browserAt('203.0.113.9')
  for (let i = 0; i < 10; i++) t.equal((await ask(mallory, `user:wrong${i}`)).status, 401)
  t.equal((await ask(mallory, 'user:wrong')).status, 429)
  t.equal((await ask(alice, PASSWORD)).status, 200)
  const dial = [...alice, ...OWN.act, 'Sec-WebSocket-Protocol: tty']
  const own = [...dial, `Authorization: ${basic(PASSWORD)}`]
  t.equal((await knock(port, 'upgrade', '/terminal/ws', own)).status, 101)
  t.equal((await knock(port, 'upgrade', '/terminal/ws', dial)).status, 101, 'Safari')
  ttyd.credential = 'user:changed'
  t.equal((await ask(alice, PASSWORD)).status, 401, 'a password that was changed')
  t.equal((await ask(alice, PASSWORD)).status, 429, 'is a guess from then on')
})

t.test('a terminal that is down or knows no such page costs no guess', async (t) => {
  const { ask } = await startTerminal(t, { GATEWAY_RATE_LIMIT: '1' })
  const browser = await browserAt('203.0.113.9')
  for (let i = 0; i < 3; i++) t.equal((await ask(browser, PASSWORD, `/terminal/x${i}`)).status, 404)
  t.equal((await ask(browser, PASSWORD)).status, 200)
  const dead = await startBefore(
    t,
    { url: `http://127.0.0.1:${await closedPort()}` },
    { GATEWAY_RATE_LIMIT: '1' },
  )
  for (let i = 0; i < 3; i++) {
    const headers = [...browser, `Authorization: ${basic(PASSWORD)}`]
    t.equal((await send(dead.port, 'GET /terminal/', headers)).status, 502)
    t.equal((await send(dead.port, 'GET /terminal/', [...headers, 'RSC: 1'])).status, 404)
  }
})

t.test('a program pays once for a guess at the terminal, on either budget', async (t) => {
  const auth = async () => [client('203.0.113.9'), `X-Workspace-Token: ${await token()}`]
  for (const GATEWAY_PROGRAM_ROUTES of ['none', 'terminal']) {
    const { ask } = await startTerminal(t, { ...TEN, GATEWAY_PROGRAM_ROUTES })
    const program = await auth()
    for (let i = 0; i < 10; i++) t.equal((await ask(program, `user:wrong${i}`)).status, 401)
    t.equal((await ask(program, 'user:wrong')).status, 429)
  }
  const { ask } = await startTerminal(t, { ...TEN, GATEWAY_PROGRAM_ROUTES: 'terminal' })
  const program = await auth()
  for (let i = 0; i < 20; i++) t.equal((await ask(program, PASSWORD)).status, 200)
})

t.test('after Retry-After it is served again, and no earlier', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '2',
    GATEWAY_RATE_LIMIT_SECONDS: '1',
  })
  const from = client('203.0.113.9')
  const startedAt = performance.now()
  t.equal((await send(port, 'GET /', [from])).status, 401)
  t.equal((await send(port, 'GET /', [from])).status, 401)
  const refused = await send(port, 'GET /', [from])
  t.equal(refused.status, 429)
  t.equal(refused.headers['retry-after'], '1')
  let answer = refused
  while (answer.status === 429) answer = await send(port, 'GET /', [from])
  const waited = performance.now() - startedAt
  t.ok(waited >= 1000, `not before the window is over (${waited})`)
  t.ok(waited < 2500, `asking in the meantime does not make it longer (${waited})`)
})

t.test('budgets survive a restart', async (t) => {
  const stateDir = temporaryFolder(t)
  const settings = {
    GATEWAY_STATE_DIR: stateDir,
    GATEWAY_RATE_LIMIT: '3',
    GATEWAY_SESSION_RATE_LIMIT: '1',
  }
  const from = client('203.0.113.9')
  const good = await token()
  const browser = [HTTPS, cookie(good), client('203.0.113.20')]

  const first = await startWorkspace(t, settings)
  for (let i = 0; i < 2; i++) t.equal((await send(first.port, 'GET /', [from])).status, 401)
  t.equal((await send(first.port, 'GET /', browser)).status, 200)
  await first.running.close()

  const second = await startWorkspace(t, settings)
  t.equal((await send(second.port, 'GET /', [from])).status, 401, 'the third of three')
  await assertRefused(t, second, await send(second.port, 'GET /', [from]), limited)
  await assertRefused(t, second, await send(second.port, 'GET /', browser), limited)
  t.equal((await send(second.port, 'GET /', [client('203.0.113.10')])).status, 401)
})

t.test('a refused upload is answered while it is still being sent', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const from = client('203.0.113.9')
  await send(port, 'GET /', [from])
  const body = 'x'.repeat(3_000_000)
  const answer = await send(port, 'POST /api/x', [from, `Content-Length: ${body.length}`], body)
  t.equal(answer.status, 429)
  t.equal(answer.headers['x-gateway-error'], 'rate-limited')
})

t.test('the budget is the same on one connection and on many', async (t) => {
  const { port, running } = await startWorkspace(t, TEN)
  const { server } = running.app
  let connections = 0
  server.on('connection', () => connections++)
  const one = 'GET /x HTTP/1.1\r\nHost: houston.hubify.com\r\nX-Forwarded-For: 203.0.113.9\r\n'
  await exchange(port, `${`${one}\r\n`.repeat(4)}${one}Connection: close\r\n\r\n`)
  for (let i = 0; i < 5; i++)
    t.equal((await send(port, 'GET /', [client('203.0.113.9')])).status, 401)
  t.equal((await send(port, 'GET /', [client('203.0.113.9')])).status, 429)
  t.equal(connections, 7)
})
