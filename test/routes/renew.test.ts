/** Does a session last longer with a fresh token of the same person, and with nothing else, while what is open goes on? */
import { SignJWT } from 'jose/jwt/sign'
import t from 'tap'
import { DETAILS } from '../../src/answers/details.ts'
import {
  assertRefused,
  client,
  cookie,
  HTTPS,
  NAVIGATION,
  ORIGIN,
  signIn,
} from '../helpers/door.ts'
import { breakWrites } from '../helpers/full-disk.ts'
import { SECRET, startWorkspace, token } from '../helpers/gateway.ts'
import { send, upgrade, type RawAnswer } from '../helpers/wire.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'
const JSON_TYPE = 'Content-Type: application/json'
const OWN = [HTTPS, `Origin: ${ORIGIN}`]

/** Posts a renewal. */
const renew = (port: number, body: string, headers: readonly string[]) =>
  send(
    port,
    'POST /_gateway/renew',
    [...headers, `Content-Length: ${Buffer.byteLength(body)}`],
    body,
  )

/** The header line with the session cookie that an answer sets. */
const sessionOf = ({ headers }: RawAnswer) =>
  `Cookie: ${(headers['set-cookie'] ?? '').split(';')[0]}`

/** The claims in a header line with a session cookie. */
function claimsOf(line: string): Record<string, unknown> {
  const [, payload = ''] = line.split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
}

t.test('a session is renewed by form and by JSON, and keeps its sid and its sockets', async (t) => {
  const workspace = await startWorkspace(t)
  const { port, running } = workspace
  let mine = await signIn(port, await token({ ttlSeconds: 600 }))
  const { sid } = claimsOf(mine)
  const { socket, answer: open } = await upgrade(port, '/', [...OWN, mine])
  t.equal(open.status, 101)
  for (const [i, how] of ['form', 'JSON', 'form'].entries()) {
    const fresh = await token({ ttlSeconds: 3600 * (i + 1) })
    const answer =
      how === 'form'
        ? await renew(port, `token=${fresh}&return_to=/terminal/?a=b`, [...OWN, mine, FORM])
        : await renew(port, JSON.stringify({ token: fresh, x: 1 }), [...OWN, mine, JSON_TYPE])
    t.equal(answer.status, how === 'form' ? 303 : 204)
    t.equal(answer.headers['location'], how === 'form' ? '/terminal/?a=b' : undefined)
    t.equal(answer.body, '')
    t.notMatch(answer.raw, fresh)
    const next = sessionOf(answer)
    t.equal(claimsOf(next)['sid'], sid)
    const older = mine.split('=')[1] ?? ''
    t.equal(running.parts.verifier.recall(older), undefined, 'it is judged anew: good for a minute')
    t.not(claimsOf(next)['jti'], claimsOf(mine)['jti'])
    t.ok(Number(claimsOf(next)['exp']) > Number(claimsOf(mine)['exp']))
    const maxAge = Number(/Max-Age=(\d+)/.exec(answer.headers['set-cookie'] ?? '')?.[1])
    t.ok(Math.abs(maxAge - 3600 * (i + 1)) <= 5, 'the cookie ends with the token')
    for (const line of [mine, next])
      t.equal((await send(port, 'GET /', [HTTPS, line])).status, 200, 'tabs on their way pass')
    const used = await renew(port, `token=${fresh}`, [...OWN, next, FORM])
    t.equal(used.headers['x-gateway-error'], 'ticket-used')
    const line = await workspace.logLine(({ id }) => id === answer.headers['x-request-id'])
    t.match(line, { stage: 'renew', status: answer.status, user: 'alice' })
    mine = next
  }
  t.equal(running.parts.openSockets.size, 1)
  t.notOk(socket.destroyed)
  t.equal(running.parts.sessions.size, 1)
  socket.destroy()
})

t.test('a renewal never shortens a session', async (t) => {
  const { port } = await startWorkspace(t)
  const mine = await signIn(port, await token({ ttlSeconds: 7200 }))
  const answer = await renew(port, `token=${await token({ ttlSeconds: 60 })}`, [...OWN, mine, FORM])
  t.equal(answer.status, 303)
  t.equal(claimsOf(sessionOf(answer))['exp'], claimsOf(mine)['exp'])
  t.match(answer.headers['set-cookie'], /Max-Age=7[12]\d\d;/)
})

t.test('a token of another person renews nothing, and is not used up', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const mine = await signIn(port, await token())
  const bobs = await token({ subject: 'bob' })
  for (const page of [false, true]) {
    const answer = await renew(port, `token=${bobs}`, [
      ...OWN,
      mine,
      FORM,
      ...(page ? NAVIGATION : []),
    ])
    await assertRefused(t, workspace, answer, { code: 'other-subject', stage: 'renew', page })
    t.equal(answer.headers['set-cookie'], undefined)
  }
  t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 200)
  t.equal(claimsOf(await signIn(port, bobs))['sub'], 'bob')
})

t.test('only a page of ours renews, and only the session in a cookie', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com' })
  const { port } = workspace
  const mine = await signIn(port, await token())
  const good = await token()
  const body = `token=${good}`
  for (const headers of [
    [],
    ['Origin: https://evil.example'],
    ['Origin: https://app.example.com'],
    ['Origin: null'],
    ['Sec-Fetch-Site: same-site'],
  ])
    await assertRefused(t, workspace, await renew(port, body, [HTTPS, mine, FORM, ...headers]), {
      code: 'origin-not-allowed',
      stage: 'authentication',
    })
  await assertRefused(t, workspace, await renew(port, body, [...OWN, FORM]), {
    code: 'sign-in-required',
    stage: 'authentication',
  })
  const program = await token()
  for (const credential of [
    `Authorization: Bearer ${program}`,
    `X-Workspace-Token: ${program}`,
    cookie(program),
  ]) {
    const answer = await renew(port, body, [...OWN, credential, FORM])
    await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'renew' })
    t.match(answer.body, 'Only the session in the cookie of a browser can be renewed.')
  }
  t.equal((await renew(port, body, [...OWN, mine, FORM])).status, 303, 'nothing was used up')
})

t.test('a token that is not good renews nothing, and costs the address', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '6' })
  const { port } = workspace
  const mine = await signIn(port, await token())
  const session = mine.split('=')[1] ?? ''
  const rows: Array<
    [body: string, type: string, code: 'token-invalid' | 'token-expired' | 'bad-request']
  > = [
    ['token=x', FORM, 'token-invalid'],
    [`token=${session}`, FORM, 'token-invalid'],
    [`token=${await token({ ttlSeconds: -3600 })}`, FORM, 'token-expired'],
    ['', FORM, 'bad-request'],
    [`token=${await token()}&token=${await token()}`, FORM, 'bad-request'],
    ['{"token":', JSON_TYPE, 'bad-request'],
  ]
  const from = [client('203.0.113.9'), ...OWN, mine]
  for (const [body, type, code] of rows) {
    const answer = await renew(port, body, [...from, type])
    await assertRefused(t, workspace, answer, { code, stage: 'renew' })
  }
  const guess = await renew(port, 'token=x', [...from, FORM])
  await assertRefused(t, workspace, guess, { code: 'rate-limited', stage: 'renew' })
  const good = await renew(port, `token=${await token()}`, [...from, FORM])
  t.equal(good.status, 303, 'a good token is never refused')
  for (const body of ['null', '[]', '1', '"x"', '{"token":1}', '{"token":["a"]}', '{}']) {
    const answer = await renew(port, body, [
      client('203.0.113.10'),
      ...OWN,
      sessionOf(good),
      JSON_TYPE,
    ])
    t.ok([400, 429].includes(answer.status), body)
    t.equal(answer.headers['set-cookie'], undefined)
  }
})

t.test('a person whose token was wrong gets the form again, with the same way back', async (t) => {
  const { port } = await startWorkspace(t)
  const mine = await signIn(port, await token())
  const answer = await renew(port, 'token=x&return_to=/logs', [...OWN, mine, FORM, ...NAVIGATION])
  t.equal(answer.status, 401)
  t.match(answer.body, '<form method="post" action="/_gateway/renew">')
  t.match(answer.body, 'name="return_to" value="/logs"')
  t.match(answer.body, DETAILS['token-invalid'])
})

t.test('a browser without a token goes to the login page and comes back renewed', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
  const mine = await signIn(port, await token({ ttlSeconds: 600 }))
  const away = await send(port, 'GET /_gateway/renew?return_to=/terminal/', [
    HTTPS,
    mine,
    ...NAVIGATION,
  ])
  t.equal(away.status, 302)
  const login = new URL(away.headers['location'] ?? '')
  t.equal(login.searchParams.get('return_to'), `${ORIGIN}/terminal/`)
  const [state = ''] = (away.headers['set-cookie'] ?? '').split(';')
  const fields = new URLSearchParams({
    token: await token({ ttlSeconds: 7200 }),
    state: login.searchParams.get('state') ?? '',
    return_to: `${ORIGIN}/terminal/`,
  }).toString()
  const back = await send(port, `GET /_gateway/sign-in?${fields}`, [
    HTTPS,
    `${mine}; ${state}`,
    'Sec-Fetch-Site: cross-site',
    ...NAVIGATION,
  ])
  t.equal(back.status, 303)
  t.equal(back.headers['location'], '/terminal/')
  t.equal(claimsOf(sessionOf(back))['sid'], claimsOf(mine)['sid'])
  t.ok(Number(claimsOf(sessionOf(back))['exp']) > Number(claimsOf(mine)['exp']))

  const nobody = await send(port, 'GET /_gateway/renew', [HTTPS, ...NAVIGATION])
  t.equal(nobody.status, 302, 'a browser without a session signs in')
  t.match(nobody.headers['location'], /^https:\/\/hubify\.com\/login\?return_to=.*&state=/)
  for (const returnTo of ['//evil.example', 'https://evil.example/', '/_gateway/sign-out']) {
    const target = `GET /_gateway/renew?return_to=${encodeURIComponent(returnTo)}`
    const sent = await send(port, target, [HTTPS, mine])
    t.match(sent.headers['location'], `return_to=${encodeURIComponent(`${ORIGIN}/`)}&`)
  }
})

t.test('without a login page there is a form to paste a token into', async (t) => {
  const { port } = await startWorkspace(t)
  const mine = await signIn(port, await token())
  const page = await send(port, 'GET /_gateway/renew?return_to=/logs', [HTTPS, mine, ...NAVIGATION])
  t.equal(page.status, 200)
  t.match(page.body, '<form method="post" action="/_gateway/renew">')
  t.match(page.body, 'name="return_to" value="/logs"')
  t.equal(page.headers['set-cookie'], undefined)
  t.equal((await send(port, 'GET /_gateway/renew', [HTTPS])).status, 401)
})

t.test('when the disk is full, a renewal says so and uses nothing up', async (t) => {
  const workspace = await startWorkspace(t)
  const { port, running } = workspace
  const mine = await signIn(port, await token())
  const good = await token({ ttlSeconds: 7200 })
  const mend = breakWrites(running.parts.state)
  const answer = await renew(port, `token=${good}`, [...OWN, mine, FORM])
  await assertRefused(t, workspace, answer, { code: 'state-unavailable', stage: 'renew' })
  t.equal(answer.headers['set-cookie'], undefined)
  mend()
  t.equal((await renew(port, `token=${good}`, [...OWN, mine, FORM])).status, 303)
})

t.test('a session that ends while its renewal is under way is not revived', async (t) => {
  const { port, running } = await startWorkspace(t)
  const mine = await signIn(port, await token())
  const { sessions, issuer } = running.parts
  const draft = issuer.draft.bind(issuer)
  issuer.draft = async (...parts) => {
    const made = await draft(...parts)
    sessions.endAll('all-ended')
    return made
  }
  const later = await new SignJWT({})
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject('alice')
    .setAudience('houston')
    .setIssuedAt(Date.now() / 1000 + 60)
    .setExpirationTime('2h')
    .sign(new TextEncoder().encode(SECRET))
  const answer = await renew(port, `token=${later}`, [...OWN, mine, FORM])
  t.equal(answer.status, 401)
  t.equal(answer.headers['set-cookie'], undefined)
  t.equal(sessions.size, 0)
})
