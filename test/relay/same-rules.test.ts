/** Do the rules for hosts, origins and budgets hold for a request that comes through the relay? The same bytes are sent twice: to the port, and over a channel. */
import t, { type Test } from 'tap'
import type { DeviceSessionAnswer } from '../../src/http/device-session.ts'
import { HTTPS, ORIGIN } from '../helpers/door.ts'
import { token } from '../helpers/gateway.ts'
import { pairedDevice, type TestDevice } from '../helpers/link.ts'
import { startReached } from '../helpers/reached.ts'
import { relayFor } from '../helpers/relay.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, handshake, open, parseAnswer, requestBytes } from '../helpers/wire.ts'

const FRIEND = 'https://app.example.com'
const STRANGER = 'https://evil.example'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

/** A request, and what is said to it. `auth` stands for the credential, which is another one on each way. */
type Row = readonly [title: string, expected: string, line: string, headers: readonly string[]]

const AUTH = 'auth'

const ROWS: readonly Row[] = [
  ['the workspace’s own host', '200 ', 'GET /page', [AUTH]],
  [
    'the host in capitals, with its port',
    '200 ',
    'GET /page',
    [AUTH, 'Host: HOUSTON.hubify.com:443'],
  ],
  ['another host', '421 host-not-served', 'GET /page', [AUTH, 'Host: evil.example']],
  ['a host below ours', '421 host-not-served', 'GET /page', [AUTH, 'Host: a.houston.hubify.com']],
  ['an address as host', '200 ', 'GET /page', [AUTH, 'Host: 192.0.2.1']],
  ['an empty host', '421 host-not-served', 'GET /page', [AUTH, 'Host:']],
  [
    'two hosts',
    '421 host-not-served',
    'GET /page',
    [AUTH, 'Host: houston.hubify.com', 'Host: evil.example'],
  ],
  ['another host in an absolute target', '400 bad-target', 'GET http://evil.example/page', [AUTH]],
  ['no credential', '401 sign-in-required', 'GET /page', []],
  [
    'a credential that is none',
    '401 token-invalid',
    'GET /page',
    ['Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA'],
  ],
  [
    'a program that sends another origin, and a token',
    '200 ',
    'POST /page',
    [AUTH, `Origin: ${STRANGER}`, FORM, 'Content-Length: 0'],
  ],
  [
    'a program that sends the origin null, and a token',
    '200 ',
    'POST /page',
    [AUTH, 'Origin: null', FORM, 'Content-Length: 0'],
  ],
  [
    'a page of the workspace that posts',
    '200 ',
    'POST /page',
    [AUTH, `Origin: ${ORIGIN}`, FORM, 'Content-Length: 0'],
  ],
  [
    'a page of an allowed origin that posts',
    '200 ',
    'POST /page',
    [AUTH, `Origin: ${FRIEND}`, FORM, 'Content-Length: 0'],
  ],
  [
    'a preflight of an allowed origin',
    '204 ',
    'OPTIONS /page',
    [`Origin: ${FRIEND}`, 'Access-Control-Request-Method: POST'],
  ],
  [
    'a preflight of another origin',
    '401 sign-in-required',
    'OPTIONS /page',
    [`Origin: ${STRANGER}`, 'Access-Control-Request-Method: POST'],
  ],
  [
    'a WebSocket of the workspace’s page',
    '101 ',
    'GET /socket',
    [AUTH, ...handshake([`Origin: ${ORIGIN}`])],
  ],
  [
    'a WebSocket of another origin',
    '403 origin-not-allowed',
    'GET /socket',
    [AUTH, ...handshake([`Origin: ${STRANGER}`])],
  ],
  [
    'a WebSocket to another host',
    '421 host-not-served',
    'GET /socket',
    [AUTH, 'Host: evil.example', ...handshake([`Origin: ${ORIGIN}`])],
  ],
  ['a file that holds secrets', '403 sensitive-file', 'GET /.env', [AUTH]],
  ['the same, encoded twice', '403 sensitive-file', 'GET /%252eenv', [AUTH]],
  ['a path that leaves its root', '400 bad-target', 'GET /a/%2e%2e/%2e%2e/etc', [AUTH]],
  ['a method that is not passed', '405 method-not-allowed', 'TRACE /page', [AUTH]],
  [
    'two lengths',
    '400 bad-request',
    'POST /page',
    [AUTH, 'Content-Length: 0', 'Content-Length: 1'],
  ],
  [
    'a header that is too long',
    '431 headers-too-large',
    'GET /page',
    [AUTH, `X-Long: ${'x'.repeat(20_000)}`],
  ],
  [
    'a header of our own that a client sends',
    '200 ',
    'GET /page',
    [AUTH, 'X-Forwarded-User: root'],
  ],
]

/** The status and the code of an answer. */
function verdict(raw: string): string {
  const { status, headers } = parseAnswer(raw)
  return `${status} ${headers['x-gateway-error'] ?? ''}`
}

const hasHead = (text: string) => text.includes('\r\n\r\n')

/** Sends bytes to the port. */
async function directly(t: Test, port: number, bytes: string): Promise<string> {
  const socket = await open(port)
  t.teardown(() => socket.destroy())
  const received = gather(socket)
  socket.write(bytes)
  const raw = (await received.until(hasHead)) ?? ''
  socket.destroy()
  return raw
}

/** Sends bytes over the channel, on a stream of their own. */
async function overTheChannel(device: TestDevice, bytes: string): Promise<string> {
  const { stream, text, state } = device.open()
  void stream.write(Buffer.from(bytes))
  await eventually(() => hasHead(text()) || state.closed !== undefined, 'an answer comes')
  if (state.closed === undefined) stream.reset()
  return text()
}

async function start(t: Test, settings: Record<string, string> = {}) {
  const relay = await relayFor(t)
  const reached = await startReached(t, {
    relay: relay.url,
    settings,
    sits: () => eventually(() => relay.sizes.places > 0, 'the relay has the place'),
  })
  const device = await pairedDevice(t, await reached.offer())
  return { ...reached, device }
}

t.test('host, origin and every other rule say the same to a request from afar', async (t) => {
  const { port, device, dials, services } = await start(t, { GATEWAY_ALLOWED_ORIGINS: FRIEND })
  const asked = requestBytes('POST /_gateway/device-session', ['Content-Length: 0'])
  const session = parseAnswer(await overTheChannel(device, asked))
  const { token: ofDevice } = JSON.parse(session.body) as DeviceSessionAnswer
  const ofBrowser = await token()
  for (const [title, expected, line, headers] of ROWS) {
    const bytesWith = (credential: string, more: readonly string[]) => {
      const fields = headers.map((field) =>
        field === AUTH ? `Authorization: Bearer ${credential}` : field,
      )
      return requestBytes(line, [...fields, ...more])
    }
    const counted = () => [dials(), services.dashboard.requests.length]
    const before = counted()
    t.equal(verdict(await directly(t, port, bytesWith(ofBrowser, [HTTPS]))), expected, title)
    const between = counted()
    t.equal(
      verdict(await overTheChannel(device, bytesWith(ofDevice, []))),
      expected,
      `${title}, from afar`,
    )
    if (!/^(?:2|101)/.test(expected) || expected.startsWith('204'))
      t.same([between, counted()], [before, before], `${title}: no service was dialled`)
  }
})

t.test('a budget is as large from afar as at the port, and another one', async (t) => {
  const { port, device, dials } = await start(t, { GATEWAY_RATE_LIMIT: '4' })
  const before = dials()
  const ask = async (way: (bytes: string) => Promise<string>) => {
    const verdicts = []
    for (let i = 0; i < 6; i++) verdicts.push(verdict(await way(requestBytes('GET /page', []))))
    return verdicts
  }
  const refused = '401 sign-in-required'
  const expected = [refused, refused, refused, refused, '429 rate-limited', '429 rate-limited']
  t.same(await ask((bytes) => overTheChannel(device, bytes)), expected)
  t.same(await ask((bytes) => directly(t, port, bytes)), expected)
  t.equal(dials(), before, 'no service was dialled')
})
