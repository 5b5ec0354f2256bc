/** Does any output of the program contain a secret, whatever was sent and whatever happened? */
import { createHmac } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cookie, DOORS, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { SECRET, testSettings, token } from '../helpers/gateway.ts'
import { run, serve, temporaryFolder, type Program } from '../helpers/process.ts'
import { closedPort, startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { clientFrame, exchange, handshake, send, upgrade } from '../helpers/wire.ts'

const OPENCLAW_TOKEN = 'openclaw-Tok/4711+as='
const PREVIOUS_SECRET = 'previous-key-of-houston-77aa01c2f4b8e9d3'
const TTYD_PASSWORD = 'ttyd pässword/+%41'
const HOOK_TOKEN = 'hook-token-9f8e7d6c5b4a-0011'
const STRANGE_SECRET = 'another-key-that-is-not-houstons-own'

const SERVE = {
  GATEWAY_LOG_LEVEL: 'trace',
  GATEWAY_OPENCLAW_TOKEN: OPENCLAW_TOKEN,
  GATEWAY_JWT_PREVIOUS_SECRETS: PREVIOUS_SECRET,
  GATEWAY_CONTROL_UI: '/chat',
  GATEWAY_FIRST_BYTE_SECONDS: '1',
}

/** Every route of the gateway, and paths without a route. */
const TARGETS = [
  '/',
  '/x',
  '/terminal/',
  '/terminal/ws',
  '/api/v1/x',
  '/api/hooks/wake',
  '/chat/ws',
  '/health',
  '/_gateway/sign-in',
  '/_gateway/nothing',
]

/** Tokens of every kind, valid and invalid, and the services’ own secrets. */
async function secrets(): Promise<string[]> {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const unsigned = `${encode({ alg: 'none' })}.${encode({ sub: 'unsigned', aud: 'houston' })}`
  return [
    await token(), // stays signed in
    await token(), // signs in, and out
    await token({ subject: 'eve', ttlSeconds: -3600 }),
    await token({ subject: 'mallory', secret: STRANGE_SECRET }),
    await token({ subject: 'rita', workspace: 'research' }),
    `${unsigned}.${createHmac('sha256', 'x').update(unsigned).digest('base64url')}`,
    `hub_${'s3cr3tT0k3n'.repeat(3).slice(0, 32)}`,
    HOOK_TOKEN,
  ]
}

/**
 * The forms of a secret that must not be in the output: the secret, the parts of a valid token, and each of these in base64 (at
 * any offset in a longer text), in hexadecimal and percent-encoded.
 */
function spellings(secret: string): string[] {
  const parts = secret.split('.')
  const found: string[] = []
  for (const text of parts.length === 3 ? [secret, parts[2] ?? ''] : [secret]) {
    const bytes = Buffer.from(text)
    found.push(
      text,
      encodeURIComponent(text),
      encodeURIComponent(text).toLowerCase(),
      new URLSearchParams({ a: text }).toString().slice(2),
      JSON.stringify(text).slice(1, -1),
      bytes.toString('latin1'),
      bytes.toString('hex'),
    )
    for (const offset of [0, 1, 2]) {
      const base64 = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
      const middle = base64.slice(offset === 0 ? 0 : offset + 1, -4)
      found.push(middle, middle.replaceAll('+', '-').replaceAll('/', '_'))
    }
  }
  return found
}

/** Waits for the end of a program and asserts that it wrote much, and none of the secrets. */
async function assertSilent(
  t: Test,
  program: Program,
  all: readonly string[],
  atLeast: number,
): Promise<void> {
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.equal(program.stderr(), '')
  const lines = program.logLines().filter(({ msg }) => msg === 'request')
  t.ok(lines.length >= atLeast, `${lines.length} requests were logged`)
  for (const secret of [
    ...all,
    SECRET,
    PREVIOUS_SECRET,
    OPENCLAW_TOKEN,
    TTYD_PASSWORD,
    STRANGE_SECRET,
  ])
    for (const spelling of new Set(spellings(secret))) {
      const at = program.stdout().indexOf(spelling)
      if (at >= 0)
        t.fail(`${spelling.slice(0, 12)}… is in the log`, {
          line: program.stdout().slice(at - 300, at),
        })
    }
}

/** The ways to send a secret, each as header lines. */
function ways(secret: string, good: string): string[][] {
  const basic = Buffer.from(`user:${secret}`).toString('base64')
  const ttyd = Buffer.from(`user:${TTYD_PASSWORD}`).toString('base64')
  return [
    [`Authorization: Bearer ${secret}`],
    [`Authorization: ${secret}`],
    [`Authorization: Basic ${basic}`],
    [`X-Workspace-Token: ${secret}`, `Authorization: Basic ${ttyd}`],
    [`X-Workspace-Token: ${good}`, `Authorization: Bearer ${secret}`],
    [
      `X-Workspace-Token: ${good}`,
      `X-OpenClaw-Token: ${secret}`,
      `Proxy-Authorization: Basic ${basic}`,
    ],
    [cookie(secret), HTTPS, `Origin: ${ORIGIN}`, `Authorization: Basic ${ttyd}`],
    [
      cookie(secret),
      HTTPS,
      'Origin: https://evil.example',
      `Referer: https://evil.example/?token=${secret}`,
    ],
    [
      `${cookie(secret)}; __Host-workspace_session=${secret}; other=${secret}`,
      HTTPS,
      ...NAVIGATION,
    ],
    [`Cookie: workspace_session=${secret}`, 'Host: localhost'],
    [`Sec-WebSocket-Protocol: tty, ${secret}`, `Authorization: Bearer ${good}`],
    [
      `User-Agent: ${secret}`,
      `X-Request-Id: ${secret}`,
      `X-Custom: ${secret}`,
      `Origin: ${secret}`,
    ],
  ]
}

/** Sends every secret to every route in every way. @returns the minimum number of requests */
async function besiege(port: number, every: readonly string[]): Promise<number> {
  const [good = ''] = every
  let count = 0
  for (const secret of every) {
    await Promise.all(
      DOORS.map(async (door) => {
        for (const target of TARGETS) {
          const address = `${target}?token=${encodeURIComponent(secret)}&x=${secret}`
          const all = ways(secret, good)
          await Promise.all(all.map((headers) => knock(port, door, address, headers)))
          count += all.length
        }
      }),
    )
  }
  return count
}

/** Requests that end in different refusals, with a secret in every possible place. */
async function provoke(port: number, secret: string, good: string): Promise<void> {
  const form = `token=${secret}&return_to=/?token=${secret}`
  const query = `?token=${secret}`
  const bearer = `Authorization: Bearer ${secret}`
  const asForm = [
    'Content-Type: application/x-www-form-urlencoded',
    `Content-Length: ${form.length}`,
  ]
  const rows: Array<[requestLine: string, headers: string[], body?: string]> = [
    [`GET //x${query}`, [bearer]],
    [`GET /x${query}#${secret}`, [bearer]],
    [`GET http://${secret}@evil.example/${query}`, [bearer]],
    [`GET /%zz${query}`, [bearer]],
    [`GET /.env${query}`, [bearer]],
    [`GET /api/x?path=/data/${secret}/.env`, [bearer]],
    [`TRACE /${query}`, [bearer]],
    [`OPTIONS *${query}`, [bearer]],
    [`GET /${query}`, [bearer, `Host: ${secret}@evil.example`]],
    [`GET /${query}`, [bearer, 'Host: evil.example']],
    [`GET /${query}`, [bearer, `X-Forwarded-For: ${secret}`]],
    [`GET /${query}`, [bearer, `Expect: ${secret}`]],
    [`GET /${query}`, [bearer, bearer]],
    [`GET /${query}`, [bearer, `X-Pad: ${secret.repeat(1 + 17_000 / secret.length)}`]],
    [`GET /${query}`, Array.from({ length: 120 }, (_, i) => `X-${i}: ${secret}`)],
    [`GET /${query}`, [bearer, ...handshake(['Sec-WebSocket-Version: 8'])]],
    [`GET /${query}`, [bearer, ...handshake(['Upgrade: h2c'])]],
    [`GET /${query}`, [bearer, ...handshake([`Sec-WebSocket-Key: ${secret}`])]],
    [`GET /_gateway/sign-in${query}&token=${secret}`, []],
    [`GET /_gateway/sign-in${query}&return_to=https://evil.example/${secret}`, [HTTPS]],
    [`GET /chat/?gatewayUrl=wss://evil.example/${secret}`, [`X-Workspace-Token: ${good}`, bearer]],
    ['POST /_gateway/sign-in', asForm, form],
    ['POST /_gateway/sign-in', [`Content-Type: ${secret}`, `Content-Length: ${form.length}`], form],
    [
      'POST /_gateway/sign-in',
      [asForm[0] ?? '', 'Content-Length: 20000'],
      form + 'x'.repeat(20_000 - form.length),
    ],
    ['POST /_gateway/sign-out', [cookie(secret), HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']],
    ['POST /api/x', [`X-Workspace-Token: ${good}`, `Content-Length: ${form.length}`], form],
    ['POST /api/x', [`X-Workspace-Token: ${good}`, 'Transfer-Encoding: chunked'], `${form}\r\n`],
  ]
  for (const [requestLine, headers, body] of rows) await send(port, requestLine, headers, body)
  await exchange(port, `CONNECT ${secret}:443 HTTP/1.1\r\nAuthorization: Bearer ${secret}\r\n\r\n`)
  await exchange(port, `${secret} / HTTP/1.1\r\n\r\n`)
  await exchange(
    port,
    `GET /${query} HTTP/1.1\r\n${secret} ${secret}: x\r\nCookie: ${secret}\r\n\r\n`,
  )
  await exchange(port, `GET /${query} HTTP/9.9\r\nCookie: ${secret}\r\n\r\n`)
}

t.test('no secret is in the log when the services respond', async (t) => {
  const all = await secrets()
  const [good = ''] = all
  const echo = await startUpstream(t)
  const program = await serve(t, {
    ...SERVE,
    GATEWAY_DASHBOARD_URL: echo.url,
    GATEWAY_API_URL: echo.url,
    GATEWAY_TERMINAL_URL: echo.url,
    GATEWAY_HEALTH_URL: echo.url,
  })
  const count = await besiege(program.port, all)
  for (const secret of all.slice(1)) await provoke(program.port, secret, good)
  for (const target of ['/terminal/ws', '/chat/ws', '/api/']) {
    const { socket, answer, until, closed } = await upgrade(program.port, target, [
      `X-Workspace-Token: ${good}`,
      'Sec-WebSocket-Protocol: tty',
    ])
    t.equal(answer.status, 101)
    const hello = JSON.stringify({
      AuthToken: Buffer.from(`user:${TTYD_PASSWORD}`).toString('base64'),
      all,
    })
    socket.write(clientFrame(2, hello))
    await until(hello.length)
    socket.write(clientFrame(5, hello)) // an illegal frame: the gateway closes the connection
    await closed
  }
  await assertSilent(t, program, all, count)
})

t.test('no secret is in the log when the services fail in different ways', async (t) => {
  const all = await secrets()
  const [good = ''] = all
  const dead = `http://127.0.0.1:${await closedPort()}`
  const babbler = await startRawUpstream(t, (socket) => {
    socket.once('data', (request: Buffer) =>
      socket.end(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\0bad'), request])),
    )
  })
  const silent = await startRawUpstream(t, () => {})
  const refuser = await startUpstream(
    t,
    (request, response) => {
      const { authorization = '' } = request.headers
      response.writeHead(500, {
        Location: `http://localhost:1/?${authorization}`,
        'Set-Cookie': `a=${authorization}`,
      })
      response.write(authorization)
      response.destroy()
    },
    (request, socket) => {
      socket.end(
        `HTTP/1.1 101 ${request.headers.authorization}\r\nUpgrade: ${request.headers.authorization}\r\n\r\n`,
      )
    },
  )
  const program = await serve(t, {
    ...SERVE,
    GATEWAY_DASHBOARD_URL: babbler.url,
    GATEWAY_API_URL: refuser.url,
    GATEWAY_TERMINAL_URL: dead,
    GATEWAY_HEALTH_URL: silent.url,
    GATEWAY_HEALTH_STRICT: 'true',
  })
  const count = await besiege(program.port, all)
  await assertSilent(t, program, all, count)

  const late = await serve(t, { ...SERVE, GATEWAY_DASHBOARD_URL: silent.url })
  await Promise.all(
    all.map((secret) =>
      send(late.port, `GET /?token=${secret}`, [
        `X-Workspace-Token: ${good}`,
        `Cookie: a=${secret}`,
      ]),
    ),
  )
  await assertSilent(t, late, all, all.length)
})

t.test('no secret is in the log when the rate limit refuses requests', async (t) => {
  const all = await secrets()
  const program = await serve(t, { ...SERVE, GATEWAY_RATE_LIMIT: '1' })
  for (const secret of all)
    for (const headers of ways(secret, all[0] ?? ''))
      for (const door of DOORS) await knock(program.port, door, `/api/x?token=${secret}`, headers)
  await assertSilent(t, program, all, all.length)
})

t.test(
  'no secret is in the output when the program does not start, or rejects a new secret',
  async (t) => {
    const short = 'short-but-secret'
    const refused = run(
      t,
      ['serve'],
      testSettings({
        GATEWAY_JWT_SECRET: short,
        GATEWAY_OPENCLAW_TOKEN: `${OPENCLAW_TOKEN} \u0001`,
        GATEWAY_PORT: 'x',
      }),
    )
    t.equal(await refused.exited, 78)
    t.match(refused.stderr(), 'GATEWAY_JWT_SECRET')
    for (const secret of [short, OPENCLAW_TOKEN])
      t.notMatch(refused.stderr() + refused.stdout(), secret)

    const file = join(temporaryFolder(t), 'secret')
    writeFileSync(file, SECRET)
    const program = await serve(t, {
      ...SERVE,
      GATEWAY_JWT_SECRET: undefined,
      GATEWAY_JWT_SECRET_FILE: file,
    })
    writeFileSync(file, short)
    program.child.kill('SIGHUP')
    await program.logged('secrets not reloaded; the old ones stay in force')
    await assertSilent(t, program, [short], 0)
  },
)

t.test('no token in a path is in the log', async (t) => {
  const all = (await secrets()).filter((one) => one !== HOOK_TOKEN) // a service’s own secret has no recognizable form
  const [good = ''] = all
  const program = await serve(t, SERVE)
  for (const secret of all)
    for (const target of [
      `/${secret}`,
      `/api/x/${secret}/y`,
      `/terminal/${encodeURIComponent(secret)}`,
      `/_gateway/${secret}`,
    ])
      for (const door of DOORS)
        await knock(program.port, door, target, [`X-Workspace-Token: ${good}`])
  await assertSilent(t, program, all, all.length)
})
