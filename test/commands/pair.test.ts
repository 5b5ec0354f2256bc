/** Does `pair` in a terminal tell who has used the link, and let that device in when the owner says so? And only then. */
import t, { type Test } from 'tap'
import { offerOfLink, type Offer } from '../../src/relay/protocol/offer.ts'
import { scanned } from '../helpers/camera.ts'
import {
  arrive,
  connected,
  linkFor,
  pairedDevice,
  targetFor,
  TestDevice,
  type TestLink,
} from '../helpers/link.ts'
import { relayFor } from '../helpers/relay.ts'
import { startPty, type RemotePty } from '../helpers/remote-pty.ts'
import { eventually } from '../helpers/waiting.ts'

const CTRL_C = '\u0003'

async function scene(t: Test) {
  const relay = await relayFor(t)
  const target = await targetFor(t)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url })
  await connected(link)
  return { link, relay, target }
}

function startPair(
  t: Test,
  link: TestLink,
  args = '',
  size: { columns?: number; rows?: number } = {},
): RemotePty {
  const env = { LINK_OWNER_SOCKET: link.config.ownerSocket }
  return startPty(t, `'${process.execPath}' src/main.ts pair --sub alice ${args}`, { env, ...size })
}

async function printedOffer(pty: RemotePty): Promise<Offer> {
  const [text] = await pty.until(/https:\/\/houston\.hubify\.com\/_gateway\/remote\/#\d+/)
  return offerOfLink(text)
}

t.test('the owner compares the digits, says y, and the device is in', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  const offer = await printedOffer(pty)
  await pty.until(/Ctrl-C leaves the link open/)
  const device = await pairedDevice(t, offer, 'Phone')
  const { device: id } = await device.welcomed()
  await pty.until(new RegExp(`Phone \\(a browser, device ${id}\\) has come.*${device.code}`))
  await pty.until(/Let it in\? \[y\/N\] /)
  t.match(await link.devices(), [{ state: 'waiting' }], 'nobody is let in without an answer')
  pty.type('y\r')
  await pty.until(new RegExp(`Phone is let in, as alice; .*devices revoke ${id}`))
  t.equal(await pty.over, 0)
  t.match(await link.devices(), [{ id, state: 'approved', sub: 'alice' }])
  await eventually(() => device.notes.some(({ kind }) => kind === 'approved'), 'it hears of it')
})

t.test('any other answer sends the device away', async (t) => {
  const { link, target } = await scene(t)
  const pty = startPair(t, link)
  const device = await pairedDevice(t, await printedOffer(pty), 'Eve')
  await pty.until(/Let it in\? \[y\/N\] /)
  pty.type('\r')
  await pty.until(/Eve is sent away, and has opened nothing/)
  t.equal(await pty.over, 0)
  t.equal(await device.ended(), 'revoked')
  t.same(await link.devices(), [])
  t.equal(target.sockets.length, 0)
})

t.test('what was typed before the question answers nothing', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  const offer = await printedOffer(pty)
  await pty.until(/waiting for it/)
  pty.type('y\r')
  await pairedDevice(t, offer)
  await pty.until(/Let it in\? \[y\/N\] /)
  t.match(await link.devices(), [{ state: 'waiting' }])
  pty.type(CTRL_C)
  await pty.until(/waits, for an hour at most: .*devices approve.*devices revoke/)
  t.equal(await pty.over, 0)
  t.match(await link.devices(), [{ state: 'waiting' }], 'Ctrl-C changes nothing')
})

t.test('Ctrl-C leaves the link open', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  const offer = await printedOffer(pty)
  await pty.until(/waiting for it/)
  pty.type(CTRL_C)
  await pty.until(/the link stays open until 2026-11-29 12:10Z/)
  t.equal(await pty.over, 0)
  t.equal((await (await pairedDevice(t, offer)).welcomed()).state, 'waiting')
})

t.test('whoever used an approved link is named, with how to revoke it', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link, '--approved')
  const offer = await printedOffer(pty)
  await pty.until(/whoever opens the link first is let in/)
  const device = await pairedDevice(t, offer, 'Eve')
  const { device: id } = await device.welcomed()
  await pty.until(/Eve \(a browser, device .*\) has come and is let in, as alice/)
  await pty.until(new RegExp(`if it is not yours: workspace-gateway devices revoke ${id}`))
  t.equal(await pty.over, 0)
})

t.test('of several open links, each tells of its own device', async (t) => {
  const { link } = await scene(t)
  const [first, second] = [startPair(t, link), startPair(t, link)]
  const [one, two] = [await printedOffer(first), await printedOffer(second)]
  await pairedDevice(t, two, 'Second')
  await second.until(/Second \(a browser/)
  await pairedDevice(t, one, 'First')
  await first.until(/First \(a browser/)
  for (const [pty, name] of [
    [first, 'First'],
    [second, 'Second'],
  ] as const) {
    await pty.until(/Let it in\? \[y\/N\] /)
    pty.type('y\r')
    t.equal(await pty.over, 0)
    t.match(pty.shown(), `${name} is let in`)
    t.notMatch(pty.shown(), name === 'First' ? 'Second' : 'First')
  }
})

t.test('a device that comes anew is asked for with its new digits', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  const device = await pairedDevice(t, await printedOffer(pty))
  await pty.until(/Let it in\? \[y\/N\] /)
  device.channel.close('done')
  await pty.until(/has come and left; it shows its six digits when it is back/)
  const { paired } = device
  const back = new TestDevice(await arrive(t, { paired, now: link.clock.now() }))
  await back.welcomed()
  await pty.until(new RegExp(`your device shows ${back.code}`))
  await pty.until(/Let it in\? \[y\/N\] /)
  pty.type('yes\r')
  await pty.until(/is let in, as alice/)
  t.equal(await pty.over, 0)
})

t.test('a device that was let in elsewhere is not asked for any more', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  const device = await pairedDevice(t, await printedOffer(pty))
  await pty.until(/Let it in\? \[y\/N\] /)
  const { device: id } = await device.welcomed()
  await link.ask('POST', `/v1/devices/${id}/approve`, { sub: 'bob' })
  await pty.until(/has come and is let in, as bob/)
  t.equal(await pty.over, 0)
})

t.test('a link that ends without a device is told, with exit code 1', async (t) => {
  const { link, target } = await scene(t)
  const [late, sent, reset] = [startPair(t, link), startPair(t, link), startPair(t, link)]
  const offers = [await printedOffer(late), await printedOffer(sent), await printedOffer(reset)]
  await pairedDevice(t, offers[1] as Offer)
  await sent.until(/Let it in/)
  const [device] = await link.devices()
  await link.ask('DELETE', `/v1/devices/${device?.id}`)
  await sent.until(/is not listed any more: it was sent away/)
  t.equal(await sent.over, 1)
  link.clock.turn(600_000)
  await late.until(/the link has ended, and nobody has used it/)
  t.equal(await late.over, 1)
  await reset.over
  t.equal(target.sockets.length, 0)
})

t.test('a link that is gone with its process is told, with exit code 69', async (t) => {
  const { link } = await scene(t)
  const pty = startPair(t, link)
  await printedOffer(pty)
  await link.running.close()
  await pty.until(/LINK_OWNER_SOCKET .*(?:no link runs|has ended|did not answer)/)
  t.equal(await pty.over, 69)
})

t.test('--no-wait and --json print and end, also in a terminal', async (t) => {
  const { link } = await scene(t)
  for (const option of ['--no-wait', '--json']) {
    const pty = startPair(t, link, option)
    await printedOffer(pty)
    t.equal(await pty.over, 0)
  }
  t.equal((await link.status()).offers, 2)
})

t.test('a code that does not fit the terminal is not drawn, and its size is told', async (t) => {
  const { link } = await scene(t)
  for (const size of [{ rows: 24 }, { columns: 40, rows: 50 }]) {
    const pty = startPair(t, link, '--no-wait', size)
    await pty.until(/the QR code needs \d+ columns and \d+ lines/)
    t.equal(await pty.over, 0)
    t.notMatch(pty.shown(), '▀')
  }
  const large = startPair(t, link, '--no-wait', { rows: 40 })
  t.equal(await large.over, 0)
  const shown = large.shown().replaceAll('\r', '')
  t.equal(scanned(shown), /https:\S+#\d+/.exec(shown)?.[0])
})
