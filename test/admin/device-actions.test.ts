/** Does an owner see paired devices, let them in and revoke them, by every way, and does nobody else get as far as the link? */
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { LinkOwner } from '../../src/relay/owner-client.ts'
import { call, jsonOf, pageOf } from '../helpers/api.ts'
import { codeAt } from '../helpers/factors.ts'
import { enrolApp } from '../helpers/forms.ts'
import { startWorkspace, type TestGateway } from '../helpers/gateway.ts'
import { deviceId, deviceSession, PHONE, sendLinked, startLinked } from '../helpers/linked.ts'
import { aDevice, aWaitingDevice, PAIRING_LINK, startLinkDoor } from '../helpers/link-door.ts'
import { startOperated } from '../helpers/operations.ts'
import { temporaryFolder } from '../helpers/process.ts'
import type { RawAnswer } from '../helpers/wire.ts'

const codeOf = ({ headers }: RawAnswer) => headers['x-gateway-error']
const detailOf = ({ body }: RawAnswer) => String((JSON.parse(body) as { detail?: unknown }).detail)

const WAITING = deviceId(2)

/** A workspace with a link, and two devices: one is approved, one waits. */
async function startWithLink(t: Test, settings: Record<string, string> = {}) {
  const link = await startLinkDoor(t, [aDevice(1), aWaitingDevice(2)])
  const workspace = await startWorkspace(t, {
    GATEWAY_LINK_OWNER_SOCKET: link.socket,
    ...settings,
  })
  return { ...workspace, link }
}

const apiToken = ({ running }: TestGateway, subject: string, scope: string) => {
  const wanted = { name: `${subject}-${scope}`, subject, expiresAt: undefined, scopes: [scope] }
  return [`Authorization: Bearer ${running.parts.apiTokens.create(wanted).token}`]
}

t.test('an owner sees the devices, those that wait first', async (t) => {
  const workspace = await startWithLink(t)
  workspace.link.kept.set(deviceId(3), aDevice(3, { name: 'a\u202Eb' }))
  const answer = await call(workspace, 'GET /devices', await pageOf(workspace))
  t.same(jsonOf(t, answer), {
    devices: [aWaitingDevice(2), aDevice(1), aDevice(3, { name: 'a\\u{202e}b' })],
  })
})

t.test('a pairing link is for the person who makes it, and not in the log', async (t) => {
  const workspace = await startWithLink(t)
  const page = await pageOf(workspace, 'bob')
  const made = jsonOf(t, await call(workspace, 'POST /device-offers', page, {}))
  t.same(made, { link: PAIRING_LINK, expiresAt: '2026-11-01T10:10:00.000Z' })
  await call(workspace, 'POST /device-offers', page, { isApproved: true })
  t.same(workspace.link.asked, [
    ['offer', { sub: 'bob', isApproved: false }],
    ['offer', { sub: 'bob', isApproved: true }],
  ])
  await workspace.logLine(({ action }) => action === 'offer-device')
  t.notMatch(JSON.stringify(workspace.logLines()), /#\d/)
  for (const body of [{ sub: 'alice' }, { isApproved: 'yes' }, { other: 1 }])
    t.equal(codeOf(await call(workspace, 'POST /device-offers', page, body)), 'bad-request')
  t.equal(workspace.link.asked.length, 2)
})

t.test(
  'letting a device in is an act: a fresh sign-in, or a factor when there is one',
  async (t) => {
    const workspace = await startWithLink(t, { GATEWAY_SECOND_FACTOR: 'local' })
    const { link } = workspace
    const approve = `POST /devices/${WAITING}/approve`
    const old = await pageOf(workspace, 'alice', { minutesAgo: 11 })
    t.equal(codeOf(await call(workspace, approve, old)), 'step-up-required')
    t.equal(codeOf(await call(workspace, 'POST /device-offers', old)), 'step-up-required')
    const { secret } = enrolApp(workspace)
    const page = await pageOf(workspace)
    t.equal(codeOf(await call(workspace, approve, page)), 'step-up-required')
    t.equal(codeOf(await call(workspace, 'POST /device-offers', page)), 'step-up-required')
    t.same(link.asked, [])
    const factor = { code: codeAt(secret, Date.now()) }
    const unknown = await call(workspace, `POST /devices/${deviceId(9)}/approve`, page, { factor })
    t.equal(codeOf(unknown), 'not-found')
    const again = await call(workspace, `POST /devices/${deviceId(1)}/approve`, page, { factor })
    t.match(detailOf(again), /let in already/)
    const taken = await call(workspace, approve, page, { factor, sub: 'bob' })
    t.equal(codeOf(taken), 'bad-request')
    t.same(link.asked, [], 'and none of them has used the factor up')
    t.same(jsonOf(t, await call(workspace, approve, page, { factor })), { approved: 1 })
    t.same(link.asked, [['approve', WAITING, 'alice']])
    t.match(await workspace.logLine(({ action }) => action === 'approve-device'), {
      by: 'alice',
      changed: [WAITING],
    })
  },
)

t.test('a device is renamed, and what the link refuses comes in its words', async (t) => {
  const workspace = await startWithLink(t)
  const page = await pageOf(workspace)
  const rename = (id: string, name: unknown) =>
    call(workspace, `POST /devices/${id}/rename`, page, { name })
  t.same(jsonOf(t, await rename(deviceId(1), 'Old phone')), { renamed: 1 })
  t.equal(workspace.link.kept.get(deviceId(1))?.name, 'Old phone')
  t.match(detailOf(await rename(deviceId(1), '')), /^The link refuses this: name takes /)
  t.equal(codeOf(await rename(deviceId(9), 'x')), 'not-found')
  t.equal(codeOf(await rename('..', 'x')), 'bad-target')
  t.equal(codeOf(await rename('short', 'x')), 'not-found')
  t.equal(codeOf(await rename(deviceId(1), 7)), 'bad-request')
})

t.test('a revoked device loses its session at once', async (t) => {
  const link = await startLinkDoor(t, [aDevice(1)])
  const workspace = await startLinked(t, { GATEWAY_LINK_OWNER_SOCKET: link.socket })
  const { token } = await deviceSession(workspace.linkSocket)
  const auth = [`Authorization: Bearer ${token}`]
  t.equal((await sendLinked(workspace.linkSocket, PHONE, 'GET /page', auth)).status, 200)
  const answer = await call(workspace, `DELETE /devices/${PHONE.device}`, await pageOf(workspace))
  t.same(jsonOf(t, answer), { revoked: 1, saved: true })
  t.same(link.asked, [['revoke', PHONE.device]])
  t.equal((await sendLinked(workspace.linkSocket, PHONE, 'GET /page', auth)).status, 401)
})

t.test('nobody but an owner gets as far as the link', async (t) => {
  const workspace = await startWithLink(t, { GATEWAY_OWNERS: 'alice' })
  const { link } = workspace
  const lines = [
    ['GET /devices', undefined],
    ['POST /device-offers', {}],
    [`POST /devices/${WAITING}/approve`, {}],
    [`POST /devices/${WAITING}/rename`, { name: 'x' }],
    [`DELETE /devices/${WAITING}`, undefined],
  ] as const
  const bob = await pageOf(workspace, 'bob')
  const others = [bob, apiToken(workspace, 'bob', 'owner'), apiToken(workspace, 'alice', 'api')]
  for (const [line, body] of lines) {
    for (const headers of others)
      t.equal(codeOf(await call(workspace, line, headers, body)), 'scope-missing', line)
    t.equal(codeOf(await call(workspace, line, [], body)), 'sign-in-required')
  }
  const program = apiToken(workspace, 'alice', 'owner')
  const approve = await call(workspace, `POST /devices/${WAITING}/approve`, program)
  t.equal(codeOf(approve), 'step-up-required')
  t.same(link.asked, [])
  t.equal((await call(workspace, 'GET /devices', program)).status, 200)
  t.equal((await call(workspace, `DELETE /devices/${WAITING}`, program)).status, 200)
})

t.test('the machine says whose session a device gets', async (t) => {
  const link = await startLinkDoor(t, [aWaitingDevice(2), aWaitingDevice(3)])
  const { stateDir } = await startOperated(t, {
    GATEWAY_LINK_OWNER_SOCKET: link.socket,
    GATEWAY_OWNERS: 'carol',
  })
  const post = (path: string, body?: object) => askAdmin(stateDir, path, { method: 'POST', body })
  t.equal((await post(`/devices/${WAITING}/approve`, { sub: 'bob' })).status, 200)
  t.equal((await post(`/devices/${deviceId(3)}/approve`)).status, 200)
  t.equal((await post('/device-offers', { sub: 'a\n' })).status, 400)
  t.same(link.asked, [
    ['approve', WAITING, 'bob'],
    ['approve', deviceId(3), 'carol'],
  ])
})

t.test('without a link there are no devices, and one that is away is said to be', async (t) => {
  const without = await startWorkspace(t)
  const none = await call(without, 'GET /devices', await pageOf(without))
  t.match(detailOf(none), /GATEWAY_LINK_OWNER_SOCKET/)
  const workspace = await startWithLink(t)
  const page = await pageOf(workspace)
  await workspace.link.close()
  const acts = ['POST /device-offers', `POST /devices/${WAITING}/approve`]
  for (const line of ['GET /devices', `DELETE /devices/${WAITING}`, ...acts])
    t.equal(codeOf(await call(workspace, line, page)), 'link-unavailable')
  const answer = await call(workspace, 'GET /devices', page)
  t.equal(answer.headers['retry-after'], '10')
})

t.test('what answers in the place of the link is not believed', async (t) => {
  const path = join(temporaryFolder(t), 'link.sock')
  let body = ''
  let status = 200
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.once('data', () => {
      socket.end(
        `HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
    })
  }).listen(path)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const link = new LinkOwner(path)
  const good = aDevice(1)
  for (const wrong of [
    'hello',
    '[]',
    '{}',
    '{"devices":{}}',
    JSON.stringify({ devices: [{ ...good, id: '../../x' }] }),
    JSON.stringify({ devices: [{ ...good, state: 'owner' }] }),
    JSON.stringify({ devices: [{ ...good, kind: 1 }] }),
    JSON.stringify({ devices: [{ ...good, sub: 1 }] }),
    JSON.stringify({ devices: [{ ...good, isConnected: 'yes' }] }),
    JSON.stringify({ devices: [{ ...good, pairedAt: 'today' }] }),
    JSON.stringify({ devices: [{ ...good, name: 'x'.repeat(3000) }] }),
    JSON.stringify({ devices: Array.from({ length: 1001 }, () => good) }),
    ' '.repeat(300_000),
  ]) {
    body = wrong
    await t.rejects(link.devices(), { code: 'link-unavailable' }, wrong.slice(0, 80))
  }
  for (const wrong of ['javascript:alert(1)//#1', 'https://x/ #1', 'https://x/']) {
    body = JSON.stringify({ link: wrong, expiresAt: '2026-11-01T10:10:00.000Z' })
    await t.rejects(link.offer({ sub: 'alice' }), { code: 'link-unavailable' }, wrong)
  }
  body = JSON.stringify(good)
  await t.rejects(link.approve(deviceId(1), 'bob'), { code: 'link-unavailable' }, 'another person')
  await t.rejects(
    link.approve(deviceId(2), 'alice'),
    { code: 'link-unavailable' },
    'another device',
  )
  await t.rejects(link.rename(deviceId(1), 'New'), { code: 'link-unavailable' })
  await t.rejects(link.revoke(deviceId(2)), { code: 'link-unavailable' })
  status = 507
  body = JSON.stringify({ code: 'not-saved', detail: 'the disk is full' })
  await t.rejects(link.revoke(deviceId(1)), {
    code: 'link-unavailable',
    detail: 'The link refuses this: the disk is full.',
  })
  body = JSON.stringify({ code: 'made-up', detail: 'x' })
  await t.rejects(link.revoke(deviceId(1)), { code: 'link-unavailable' })
})
