/** Does the owner's page show paired devices and let them in, for owners alone, and is it whole when the link is away? */
import t, { type Test } from 'tap'
import { pageOf } from '../helpers/api.ts'
import { NAVIGATION } from '../helpers/door.ts'
import { codeAt } from '../helpers/factors.ts'
import { enrolApp, fieldOf, postForm } from '../helpers/forms.ts'
import { startWorkspace, type TestGateway } from '../helpers/gateway.ts'
import { aDevice, aWaitingDevice, PAIRING_LINK, startLinkDoor } from '../helpers/link-door.ts'
import { deviceId, deviceSession, PHONE, startLinked } from '../helpers/linked.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

const PAGE = '/_gateway/'

const open = ({ port }: Pick<TestGateway, 'port'>, page: readonly string[], query = '') =>
  send(port, `GET ${PAGE}${query}`, [...page, ...NAVIGATION])

/** The section of the devices; an empty text when there is none. */
const devicesOn = ({ body }: RawAnswer) =>
  /<section[^>]* id="devices".*?<\/section>/s.exec(body)?.[0] ?? ''

/** A text of a page without its tags, as a person reads it. */
const textOf = (html: string) =>
  html
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    .replaceAll(/\s+/g, ' ')

async function startWithLink(t: Test, settings: Record<string, string> = {}) {
  const link = await startLinkDoor(t, [
    aDevice(1, { name: '<b>Phone</b>', lastSeenAt: '2026-11-02T08:00:00.000Z', isConnected: true }),
    aWaitingDevice(2),
  ])
  const workspace = await startWorkspace(t, { GATEWAY_LINK_OWNER_SOCKET: link.socket, ...settings })
  return { ...workspace, link }
}

t.test('devices are on the page, and one that waits has its code', async (t) => {
  const workspace = await startWithLink(t)
  const section = devicesOn(await open(workspace, await pageOf(workspace)))
  const text = textOf(section)
  t.match(
    text,
    /^ Devices Tablet page of a browser waits connected The device shows the code 123456 /,
  )
  t.match(text, /<b>Phone<\/b> page of a browser connected .*paired 2026-11-01 10:00 UTC.*as alice/)
  t.notMatch(section, '<b>Phone')
  t.match(text, /Pair a device/)
})

t.test('a device whose code cannot be compared stands behind, and has no button', async (t) => {
  const workspace = await startWithLink(t)
  const early = '2026-10-01T10:00:00.000Z'
  const gone = aWaitingDevice(3, { name: 'Gone', code: null, isConnected: false, pairedAt: early })
  workspace.link.kept.set(deviceId(3), gone)
  const text = textOf(devicesOn(await open(workspace, await pageOf(workspace))))
  t.match(text, /^ Devices Tablet .*Gone .*there is no code to compare.*Phone/)
  t.equal(text.match(/Let in/g)?.length, 1)
  t.equal(text.match(/Refuse/g)?.length, 2)
})

t.test('a pairing link is shown once, as a picture too', async (t) => {
  const workspace = await startWithLink(t)
  const page = await pageOf(workspace)
  const section = devicesOn(await open(workspace, page))
  const once = fieldOf({ body: section }, 'once')
  const fields = { act: 'offer-device', once }
  const made = await postForm(workspace, PAGE, page, fields)
  t.equal(made.status, 200)
  t.ok(made.body.includes(`>${PAIRING_LINK}</code>`))
  t.match(made.body, /<svg [^>]*viewBox/)
  t.equal(made.headers['cache-control'], 'no-store')
  t.equal((await postForm(workspace, PAGE, page, fields)).status, 400, 'a form counts once')
  t.same(workspace.link.asked, [['offer', { sub: 'alice', isApproved: false }]])
  const again = fieldOf({ body: devicesOn(await open(workspace, page)) }, 'once')
  await postForm(workspace, PAGE, page, { act: 'offer-device', once: again, approved: 'yes' })
  t.same(workspace.link.asked[1], ['offer', { sub: 'alice', isApproved: true }])
})

t.test('letting in asks for the factor, and then says that it is done', async (t) => {
  const workspace = await startWithLink(t, { GATEWAY_SECOND_FACTOR: 'local' })
  const { secret } = enrolApp(workspace)
  const page = await pageOf(workspace)
  const fields = { act: 'approve-device', id: deviceId(2) }
  const asks = await postForm(workspace, PAGE, page, fields)
  t.match(
    textOf(asks.body),
    /Let in, as you, the device that shows the code 123456: AgICAgIC, \S*Tablet/,
  )
  workspace.link.kept.set(deviceId(3), aWaitingDevice(3, { name: '<b>. Now', code: null }))
  const other = await postForm(workspace, PAGE, page, { ...fields, id: deviceId(3) })
  t.match(
    textOf(other.body),
    /Let in, as you, the device that is not connected now: AwMDAwMD, \S*<b>\. Now/,
    'and it is the one of the form',
  )
  t.same(workspace.link.asked, [])
  const code = codeAt(secret, Date.now())
  const done = await postForm(workspace, PAGE, page, { ...fields, code })
  t.match(done, { status: 303, headers: { location: `${PAGE}?done=approve-device` } })
  t.same(workspace.link.asked, [['approve', deviceId(2), 'alice']])
  const shown = await open(workspace, page, '?done=approve-device')
  t.match(textOf(shown.body), /The device is let in\./)
})

t.test('devices are renamed and revoked by their forms', async (t) => {
  const workspace = await startWithLink(t)
  const page = await pageOf(workspace)
  const id = deviceId(1)
  const post = (fields: Record<string, string>) => postForm(workspace, PAGE, page, fields)
  t.equal((await post({ act: 'rename-device', id, name: 'Old phone' })).status, 303)
  const refused = await post({ act: 'rename-device', id, name: 'x'.repeat(100) })
  t.equal(refused.status, 400)
  t.match(textOf(refused.body), /The link refuses this: name takes 1 to 64 bytes/)
  t.equal((await post({ act: 'revoke-device', id })).status, 303)
  t.equal((await post({ act: 'revoke-device', id })).status, 404)
  t.equal(workspace.link.kept.has(id), false)
})

t.test('a device that is called like a browser is listed as a device', async (t) => {
  const workspace = await startLinked(t)
  await deviceSession(workspace.linkSocket, { ...PHONE, name: 'Firefox/9 Windows' })
  const { body } = await open(workspace, await pageOf(workspace))
  const section = /<section[^>]* id="sessions".*?<\/section>/s.exec(body)?.[0] ?? ''
  t.match(textOf(section), / Firefox\/9 Windows paired device alice /)
  t.notMatch(textOf(section), /Firefox on Windows/)
})

t.test('nobody but an owner sees devices, and the page is whole without the link', async (t) => {
  const workspace = await startWithLink(t, { GATEWAY_OWNERS: 'alice' })
  t.equal(devicesOn(await open(workspace, await pageOf(workspace, 'bob'))), '')
  await workspace.link.close()
  const shown = await open(workspace, await pageOf(workspace))
  t.equal(shown.status, 200)
  t.match(textOf(devicesOn(shown)), /The link does not answer\./)
  const without = await startWorkspace(t)
  t.equal(devicesOn(await open(without, await pageOf(without))), '')
})
