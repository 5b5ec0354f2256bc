/** Does a paired device get a session that is good on its own connections alone, and that ends with the device? */
import t from 'tap'
import type { Test } from 'tap'
import { LINK_DEVICES, writeLinkLine, type LinkLine } from '../../src/http/link-line.ts'
import { cookie, HTTPS } from '../helpers/door.ts'
import { codeAt, setUpApp } from '../helpers/factors.ts'
import { token } from '../helpers/gateway.ts'
import {
  deviceId,
  deviceSession,
  linkedBytes,
  PHONE,
  sendLinked,
  startLinked,
  tellDevices,
} from '../helpers/linked.ts'
import {
  exchange,
  gather,
  handshake,
  open,
  parseAnswer,
  requestBytes,
  send,
  type RawAnswer,
} from '../helpers/wire.ts'

const TABLET = { ...PHONE, device: deviceId(2), name: 'Tablet' }

const bearer = (text: string) => `Authorization: Bearer ${text}`

t.test('a device gets a session of its approver, and reads the dashboard with it', async (t) => {
  const { linkSocket, services, running, logLine } = await startLinked(t)
  const before = Date.now()
  const { token: minted, endsAt, sub } = await deviceSession(linkSocket)
  t.equal(sub, 'alice')
  t.ok(Math.abs(Date.parse(endsAt) - before - 86_400_000) < 60_000, 'for a day')
  const answer = await sendLinked(linkSocket, PHONE, 'GET /page', [
    bearer(minted),
    'X-Forwarded-For: 9.9.9.9',
    'X-Forwarded-Proto: http',
    'Forwarded: for=9.9.9.9',
  ])
  t.equal(answer.status, 200)
  const [seen] = services.dashboard.requests.slice(-1)
  t.equal(seen?.headers['x-forwarded-for'], '100::101:101:101:101', 'no field of it is believed')
  t.equal(seen?.headers['x-forwarded-proto'], 'https')
  t.equal(seen?.headers['x-forwarded-user'], 'alice')
  t.equal(seen?.headers['authorization'], undefined)
  const line = await logLine(({ path }) => path === '/page')
  t.match(line, { client: `device:${PHONE.device}`, user: 'alice', status: 200 })
  const [browser] = running.parts.sessions.browsers()
  t.match(browser, {
    device: { name: 'Phone', address: `device:${PHONE.device}` },
    methods: ['swk'],
    session: { kind: 'device', boundTo: PHONE.device },
  })
  const inOther = await sendLinked(linkSocket, PHONE, 'GET /page', [`X-Workspace-Token: ${minted}`])
  t.equal(inOther.status, 200, 'also where the service needs Authorization')
})

/** Asserts that a request was refused with a code. */
function refused(t: Test, answer: RawAnswer, status: number, code: string): void {
  t.match({ status: answer.status, code: answer.headers['x-gateway-error'] }, { status, code })
}

t.test('the token of a device is good nowhere else', async (t) => {
  const { port, linkSocket, dials } = await startLinked(t)
  const { token: minted } = await deviceSession(linkSocket)
  refused(t, await send(port, 'GET /page', [bearer(minted)]), 401, 'token-invalid')
  refused(t, await send(port, 'GET /page', [HTTPS, cookie(minted)]), 401, 'token-invalid')
  refused(
    t,
    await sendLinked(linkSocket, TABLET, 'GET /page', [bearer(minted)]),
    401,
    'token-invalid',
  )
  refused(
    t,
    await sendLinked(linkSocket, PHONE, 'GET /page', [cookie(minted)]),
    401,
    'token-invalid',
  )
  const form = `token=${minted}`
  const fields = [
    ...[HTTPS, 'Content-Type: application/x-www-form-urlencoded'],
    `Content-Length: ${form.length}`,
  ]
  refused(t, await send(port, 'POST /_gateway/sign-in', fields, form), 401, 'token-invalid')
  t.equal(dials(), 0)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(minted)])).status, 200)
})

t.test(
  'a device without a token is nobody, and other credentials hold as everywhere',
  async (t) => {
    const { linkSocket, dials } = await startLinked(t)
    refused(t, await sendLinked(linkSocket, PHONE, 'GET /page'), 401, 'sign-in-required')
    refused(
      t,
      await sendLinked(linkSocket, PHONE, 'GET /page', ['Host: evil.example']),
      421,
      'host-not-served',
    )
    refused(
      t,
      await sendLinked(linkSocket, PHONE, 'GET /health', ['Host: evil.example']),
      421,
      'host-not-served',
    )
    refused(t, await sendLinked(linkSocket, PHONE, 'GET /.env'), 403, 'sensitive-file')
    t.equal(dials(), 0)
    const program = await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(await token())])
    t.equal(program.status, 200)
  },
)

t.test('a device renews its session, and several programs of it have one each', async (t) => {
  const { linkSocket, running } = await startLinked(t)
  const { sessions } = running.parts
  const first = await deviceSession(linkSocket)
  const [before] = sessions.browsers()
  const others = await Promise.all([1, 2, 3].map(() => deviceSession(linkSocket)))
  const all = [...sessions.browsers()]
  t.equal(all.length, 1)
  t.equal(all[0]?.session, before?.session, 'the same session')
  for (const { token: each } of [first, ...others])
    t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(each)])).status, 200)
})

t.test('devices that ask at once get one session each', async (t) => {
  const { linkSocket, running } = await startLinked(t)
  await Promise.all([PHONE, TABLET, PHONE, TABLET].map((line) => deviceSession(linkSocket, line)))
  t.equal(running.parts.sessions.size, 2)
})

t.test('a device that another person has approved since loses what it had', async (t) => {
  const { linkSocket, running } = await startLinked(t)
  const { token: minted } = await deviceSession(linkSocket)
  const { sub } = await deviceSession(linkSocket, { ...PHONE, sub: 'bob' })
  t.equal(sub, 'bob')
  refused(
    t,
    await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(minted)]),
    401,
    'token-invalid',
  )
  t.equal(running.parts.sessions.size, 1)
})

t.test('a device that is not listed any more loses its session and what is open', async (t) => {
  const { linkSocket, running, logLine } = await startLinked(t)
  const { token: minted } = await deviceSession(linkSocket)
  const { token: kept } = await deviceSession(linkSocket, TABLET)
  const socket = await open(linkSocket)
  t.teardown(() => socket.destroy())
  const received = gather(socket)
  const fields = [bearer(minted), 'Sec-WebSocket-Protocol: tty', ...handshake()]
  socket.write(linkedBytes(PHONE, 'GET /terminal/ws', fields))
  t.match(await received.until((text) => text.includes('\r\n\r\n')), /^HTTP\/1.1 101 /)
  t.equal((await tellDevices(linkSocket, [PHONE.device, TABLET.device])).status, 204)
  t.equal(running.parts.sessions.size, 2, 'nothing changes for those who are listed')
  t.equal((await tellDevices(linkSocket, [TABLET.device])).status, 204)
  t.equal(running.parts.sessions.size, 1)
  const { text } = await received.over
  t.ok(text.includes('\u00111'), 'the socket is closed with 4401') // 0x1131
  refused(
    t,
    await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(minted)]),
    401,
    'token-invalid',
  )
  t.equal((await sendLinked(linkSocket, TABLET, 'GET /page', [bearer(kept)])).status, 200)
  t.match(await logLine(({ msg }) => msg === 'sessions of devices ended'), {
    devices: [PHONE.device],
  })
})

t.test('the two addresses exist on their own connections alone', async (t) => {
  const { port, linkSocket, dials } = await startLinked(t)
  const auth = bearer(await token())
  const body = JSON.stringify({ devices: [] })
  const json = ['Content-Type: application/json', `Content-Length: ${body.length}`]
  for (const fields of [[], [auth]]) {
    const length = [...fields, 'Content-Length: 0']
    refused(t, await send(port, 'POST /_gateway/device-session', length), 404, 'not-found')
    refused(
      t,
      await send(port, `PUT ${LINK_DEVICES}`, [...fields, ...json], body),
      404,
      'not-found',
    )
    const put = await sendLinked(linkSocket, PHONE, `PUT ${LINK_DEVICES}`, fields, body)
    refused(t, put, 404, 'not-found')
  }
  const link: LinkLine = { kind: 'link' }
  for (const path of ['/page', '/health', '/_gateway/live', '/_gateway/v1/session', '/_gateway/'])
    refused(t, await sendLinked(linkSocket, link, `GET ${path}`, [auth]), 404, 'not-found')
  const mint = await sendLinked(linkSocket, link, 'POST /_gateway/device-session')
  refused(t, mint, 404, 'not-found')
  t.equal(dials(), 0)
})

t.test('a list that is none ends nothing', async (t) => {
  const { linkSocket, running } = await startLinked(t)
  await deviceSession(linkSocket)
  const put = (body: string, headers: readonly string[] = []) =>
    sendLinked(linkSocket, { kind: 'link' }, `PUT ${LINK_DEVICES}`, headers, body)
  for (const body of [
    '{}',
    '[]',
    '{',
    '{"devices":null}',
    '{"devices":[1]}',
    '{"devices":[],"x":1}',
  ])
    refused(t, await put(body), 400, 'bad-request')
  refused(t, await put('{"devices":[]}'.padEnd(20_000)), 413, 'body-too-large')
  const none = await sendLinked(linkSocket, { kind: 'link' }, `PUT ${LINK_DEVICES}`)
  refused(t, none, 400, 'bad-request')
  t.equal(running.parts.sessions.size, 1)
})

t.test('a device has a budget of its own, which probes spend too', async (t) => {
  const { linkSocket, port, dials } = await startLinked(t, { GATEWAY_RATE_LIMIT: '3' })
  const paths = ['/health', '/_gateway/live', '/page']
  const answers = []
  for (const path of paths) answers.push(await sendLinked(linkSocket, PHONE, `GET ${path}`))
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 401],
  )
  const before = dials()
  refused(t, await sendLinked(linkSocket, PHONE, 'GET /health'), 429, 'rate-limited')
  t.equal(dials(), before)
  t.equal((await sendLinked(linkSocket, TABLET, 'GET /_gateway/live')).status, 200)
  refused(t, await send(port, 'GET /page'), 401, 'sign-in-required')
  t.equal((await tellDevices(linkSocket, [])).status, 204, 'the link is not counted')
})

t.test('a device with a session spends as a browser that is signed in', async (t) => {
  const { linkSocket, dials } = await startLinked(t, {
    GATEWAY_RATE_LIMIT: '3',
    GATEWAY_SESSION_RATE_LIMIT: '4',
  })
  const { token: minted } = await deviceSession(linkSocket)
  const ask = (path: string) => sendLinked(linkSocket, PHONE, `GET ${path}`, [bearer(minted)])
  for (const path of ['/page', '/_gateway/ready', '/terminal/', '/page'])
    t.equal((await ask(path)).status, 200, path)
  const before = dials()
  refused(t, await ask('/page'), 429, 'rate-limited')
  t.equal(dials(), before)
  const stranger = await sendLinked(linkSocket, PHONE, 'GET /page')
  refused(t, stranger, 401, 'sign-in-required')
})

t.test('the session of a device is no owner, and reaches its own session', async (t) => {
  const { linkSocket } = await startLinked(t)
  const { token: minted } = await deviceSession(linkSocket)
  const ask = (line: string, body = '') =>
    sendLinked(linkSocket, PHONE, line, [bearer(minted)], body)
  refused(t, await ask('GET /_gateway/v1/sessions'), 403, 'scope-missing')
  const made = await ask('POST /_gateway/v1/api-tokens', JSON.stringify({ name: 'x' }))
  refused(t, made, 403, 'scope-missing')
  refused(t, await ask('POST /_gateway/v1/second-factor/app'), 401, 'step-up-required')
  const own = await ask('GET /_gateway/v1/session')
  t.match(JSON.parse(own.body), { sub: 'alice', kind: 'device' })
  t.equal((await ask('DELETE /_gateway/v1/session')).status, 200)
  refused(t, await ask('GET /page'), 401, 'token-invalid')
})

t.test('a device signs itself out, and not its person everywhere', async (t) => {
  const { linkSocket, port } = await startLinked(t)
  const { token: minted } = await deviceSession(linkSocket)
  const program = bearer(await token())
  t.equal((await send(port, 'GET /page', [program])).status, 200)
  const form = [bearer(minted), 'Content-Type: application/x-www-form-urlencoded']
  const signOut = async (body: string) => {
    const fields = [...form, 'Connection: close', `Content-Length: ${body.length}`]
    const request = requestBytes('POST /_gateway/sign-out', fields, body)
    const bytes = Buffer.concat([writeLinkLine(PHONE), Buffer.from(request)])
    return parseAnswer(await exchange(linkSocket, bytes))
  }
  refused(t, await signOut('all=true'), 403, 'scope-missing')
  t.equal((await send(port, 'GET /page', [program])).status, 200)
  t.equal((await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(minted)])).status, 200)
  t.equal((await signOut('')).status, 303)
  refused(
    t,
    await sendLinked(linkSocket, PHONE, 'GET /page', [bearer(minted)]),
    401,
    'token-invalid',
  )
})

t.test(
  'a device steps up with a code, and the terminal opens on its connections alone',
  async (t) => {
    const { linkSocket, port, running, dials } = await startLinked(t, {
      GATEWAY_SECOND_FACTOR: 'local',
    })
    const { factors } = running.parts
    const now = Date.now()
    const options = { sessionId: 's', hasProof: false, at: now - 30_000 }
    const { secret, backupCodes } = setUpApp(factors, 'alice', options)
    const plain = await deviceSession(linkSocket)
    const terminal = (text: string) =>
      sendLinked(linkSocket, PHONE, 'GET /terminal/', [bearer(text)])
    refused(t, await terminal(plain.token), 401, 'step-up-required')
    const wrong = JSON.stringify({ code: 'aaaa-aaaa-aaaa-aaaa' })
    const mint = (body: string, text = plain.token) =>
      sendLinked(linkSocket, PHONE, 'POST /_gateway/device-session', [bearer(text)], body)
    refused(t, await mint(wrong), 401, 'step-up-required')
    refused(t, await mint(JSON.stringify({ passkey: {} })), 400, 'bad-request')
    t.equal(dials(), 0)
    const code = JSON.stringify({ code: codeAt(secret, now) })
    const stepped = await deviceSession(linkSocket, PHONE, [bearer(plain.token)], code)
    t.equal((await terminal(stepped.token)).status, 200)
    refused(t, await terminal(plain.token), 401, 'step-up-required')
    refused(t, await mint(code), 401, 'step-up-required')
    refused(t, await send(port, 'GET /terminal/', [bearer(stepped.token)]), 401, 'token-invalid')
    const renewed = await deviceSession(linkSocket, PHONE, [bearer(stepped.token)])
    t.equal(
      (await terminal(renewed.token)).status,
      200,
      'a renewal with the token keeps the factor',
    )
    const fresh = await deviceSession(linkSocket)
    refused(t, await terminal(fresh.token), 401, 'step-up-required')
    t.equal((await terminal(stepped.token)).status, 200, 'another program takes nothing away')
    const backup = JSON.stringify({ code: backupCodes[0] })
    const again = await deviceSession(linkSocket, PHONE, [], backup)
    t.equal((await terminal(again.token)).status, 200, 'a backup code does too')
  },
)

t.test('where no factors are kept, a code is refused', async (t) => {
  const { linkSocket } = await startLinked(t)
  const mint = 'POST /_gateway/device-session'
  const answer = await sendLinked(linkSocket, PHONE, mint, [], JSON.stringify({ code: '123456' }))
  refused(t, answer, 400, 'bad-request')
})
