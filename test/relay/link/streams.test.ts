/** What becomes of the streams of a device? Connections to the target, both ways, with their ends; and cut at once when the device is revoked. */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import t from 'tap'
import { Backlog } from '../../../src/relay/link/backlog.ts'
import { encodeMessage } from '../../../src/relay/protocol/messages.ts'
import { RECORD } from '../../../src/relay/protocol/records.ts'
import {
  arrive,
  connected,
  gatewayFor,
  linkFor,
  pairedDevice,
  targetFor,
  TestDevice,
} from '../../helpers/link.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { relayFor } from '../../helpers/relay.ts'
import { eventually, standsStill, until } from '../../helpers/waiting.ts'

async function scene(t: Parameters<typeof linkFor>[0], serve?: (socket: Socket) => void) {
  const relay = await relayFor(t)
  const target = await targetFor(t, serve)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url })
  await connected(link)
  const device = await pairedDevice(t, await link.offer({ isApproved: true }))
  return { relay, target, link, device }
}

t.test('bytes arrive as they were sent, in both directions and in several streams', async (t) => {
  const { device, target } = await scene(t)
  const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => String(i)).join(','))
  const streams = [device.open(), device.open()]
  await Promise.all(
    streams.map(async ({ stream, text, state }) => {
      await stream.write(sent)
      stream.end()
      await eventually(() => state.closed !== undefined, 'the echo has ended')
      t.equal(state.closed, 'closed')
      t.ok(text() === sent.toString(), 'nothing is lost or exchanged')
    }),
  )
  t.equal(target.sockets.length, 2)
})

t.test('a direction that has ended leaves the other open', async (t) => {
  const { device } = await scene(t, (socket) => {
    let asked = ''
    socket.on('data', (chunk: Buffer) => {
      asked += chunk.toString()
    })
    socket.on('end', () => socket.end(`you said ${asked}`))
  })
  const { stream, text, state } = device.open()
  await stream.write(Buffer.from('all'))
  stream.end()
  await eventually(() => state.closed === 'closed', 'the answer has ended')
  t.equal(text(), 'you said all')
})

t.test('the service may end first, and still reads', async (t) => {
  let heard = ''
  const { device } = await scene(t, (socket) => {
    socket.end('bye')
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString()
    })
  })
  const { stream, text, state } = device.open()
  await eventually(() => state.hasEnded, 'the service has ended')
  t.equal(text(), 'bye')
  await stream.write(Buffer.from('and this'))
  stream.end()
  await eventually(() => heard === 'and this', 'the service reads on')
  await eventually(() => state.closed === 'closed', 'both have ended')
})

t.test(
  'a service that is away, or that breaks off, resets the stream and not the channel',
  async (t) => {
    const { device, target } = await scene(t, (socket) => socket.resetAndDestroy())
    const { state, stream } = device.open()
    await stream.write(Buffer.from('x'))
    await eventually(() => state.closed === 'reset', 'it is reset')
    t.equal(target.sockets.length, 1)
    const relay = await relayFor(t)
    const link = await linkFor(t, relay.url, { LINK_TARGET: 'http://127.0.0.1:1' })
    await connected(link)
    const other = await pairedDevice(t, await link.offer({ isApproved: true }))
    const { state: away } = other.open()
    await eventually(() => away.closed === 'reset', 'nobody listens')
    t.ok(device.channel.isOpen && other.channel.isOpen)
  },
)

t.test('a device that resets a stream cuts the connection to the service', async (t) => {
  const { device, target } = await scene(t)
  const { stream, text } = device.open()
  await stream.write(Buffer.from('x'))
  await eventually(() => text() === 'x', 'it is open')
  stream.reset()
  await eventually(() => target.sockets[0]?.destroyed === true, 'it is cut')
})

t.test('a device that does not read holds up its own stream alone', async (t) => {
  let sent = 0
  const { device } = await scene(t, (socket) => {
    const block = Buffer.alloc(64 * 1024)
    const more = () => {
      while (!socket.destroyed && sent < 64e6) {
        sent += block.length
        if (!socket.write(block)) return
      }
    }
    socket.on('drain', more)
    socket.on('data', more)
  })
  const slow = device.open({ isRead: false })
  await slow.stream.write(Buffer.from('go'))
  await standsStill(() => slow.size(), 'the stream')
  t.ok(slow.size() > 0 && slow.size() <= 256 * 1024, 'no more than the window')
  await standsStill(() => sent, 'the service')
  t.ok(sent < 64e6, 'the service is held up too')
  const other = device.open()
  sent = 0
  await other.stream.write(Buffer.from('go'))
  await eventually(() => other.size() > 1e6, 'another stream goes on')
})

t.test('a service that does not read holds up the device', async (t) => {
  const { device } = await scene(t, (socket) => socket.pause())
  const { stream } = device.open()
  let written = 0
  const flood = async () => {
    while (written < 64e6 && device.channel.isOpen) {
      await stream.write(Buffer.alloc(64 * 1024))
      written += 64 * 1024
    }
  }
  const flooding = flood()
  await standsStill(() => written, 'the device')
  t.ok(written < 64e6)
  stream.reset()
  device.channel.close('done')
  await flooding
})

t.test(
  'revoking a device ends its channels and connections at once, and it does not come back',
  async (t) => {
    const { device, link, target } = await scene(t)
    const again = new TestDevice(await arrive(t, { paired: device.paired, now: link.clock.now() }))
    const { device: id } = await again.welcomed()
    for (const each of [device, again]) {
      const { stream, text } = each.open()
      await stream.write(Buffer.from('x'))
      await eventually(() => text() === 'x', 'it is open')
    }
    const { status } = await link.ask('DELETE', `/v1/devices/${id}`)
    t.equal(status, 200)
    t.equal(await device.ended(), 'revoked')
    t.equal(await again.ended(), 'revoked')
    await eventually(() => target.sockets.every(({ destroyed }) => destroyed), 'both are cut')
    t.same(await link.devices(), [])
    t.notMatch(readFileSync(`${link.config.stateDir}/devices.json`, 'utf8'), id)
    t.equal(target.sockets.length, 2)
  },
)

t.test('a device that was revoked in the middle of its handshake does not get in', async (t) => {
  const { device, link, target } = await scene(t)
  const begun = await arrive(t, { paired: device.paired, now: link.clock.now() })
  await link.ask('DELETE', `/v1/devices/${(await device.welcomed()).device}`)
  t.equal(await new TestDevice(begun).ended(), 'revoked')
  t.equal(target.sockets.length, 0)
})

t.test('a device has eight channels at most: the oldest makes room', async (t) => {
  const { device, link } = await scene(t)
  const { paired } = device
  for (let i = 0; i < 8; i++)
    await new TestDevice(await arrive(t, { paired, now: link.clock.now() })).welcomed()
  t.equal(await device.ended(), 'done')
})

t.test('when too much waits, the channel that keeps most is closed, and no other', async (t) => {
  const relay = await relayFor(t)
  const target = await targetFor(t, (socket) => void socket.write(Buffer.alloc(4_000_000)))
  const backlog = new Backlog(450 * 1024)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url }, { backlog })
  await connected(link)
  const modest = await pairedDevice(t, await link.offer({ isApproved: true }))
  const greedy = await pairedDevice(t, await link.offer({ isApproved: true }))
  const held = modest.open({ isRead: false })
  await eventually(() => held.size() > 200_000, 'one stream is held up by a device that reads not')
  for (let i = 0; i < 3; i++) greedy.open({ isRead: false })
  t.equal(await greedy.ended(), 'done')
  t.match(greedy.end, { text: /too much waits/ })
  await until('its connections are cut', () =>
    target.sockets.slice(1).every(({ destroyed }) => destroyed),
  )
  t.match(link.log(), /"level":"warn".*the channel that keeps most is closed/)
  held.stream.consumed(held.size())
  const before = held.size()
  await eventually(() => held.size() > before, 'the other one goes on')
  t.equal(modest.end, undefined)
  t.equal(target.sockets[0]?.destroyed, false)
})

t.test('what waits is counted by channel, and goes with it', (t) => {
  const backlog = new Backlog(10_000)
  const closed: string[] = []
  const [a, b] = ['a', 'b'].map((name) => backlog.share(() => closed.push(name)))
  const passed = a?.add(4000)
  b?.add(4000)
  t.same(closed, [])
  passed?.()
  t.equal(a?.bytes, 0)
  a?.add(5000)
  t.same(closed, ['a'], 'the largest')
  passed?.()
  a?.add(50_000)
  t.same(closed, ['a'], 'what has ended counts no more')
  for (let i = 0; i < 8; i++) b?.add(1)
  t.same(closed, ['a'])
  b?.add(1)
  t.same(closed, ['a', 'b'], 'many small pieces are no less than a large one')
  const c = backlog.share(() => closed.push('c'))
  c.add(9000)
  c.end()
  backlog.share(() => closed.push('d')).add(9000)
  t.same(closed, ['a', 'b'])
  t.end()
})

t.test('a device that speaks as the daemon does is cut off', async (t) => {
  const { device, link } = await scene(t)
  void device.channel.send(RECORD.note, encodeMessage({ kind: 'approved', name: 'me' }))
  t.equal(await device.ended(), 'protocol')
  t.match(await link.devices(), [{ state: 'approved' }])
})

t.test(
  'the gateway is told in the first line whose connection it is, and which devices are approved',
  async (t) => {
    const folder = temporaryFolder(t)
    const gateway = await gatewayFor(t, folder)
    const relay = await relayFor(t)
    const link = await linkFor(t, relay.url, gateway.env, { folder })
    await connected(link)
    await eventually(() => gateway.lists.length > 0, 'the gateway is told at the start')
    t.same(gateway.lists[0], [])
    const device = await pairedDevice(t, await link.offer(), 'My "phone"')
    const { device: id, target } = await device.welcomed()
    t.equal(target, 'gateway')
    t.notOk(gateway.lists.flat().includes(id), 'one that waits is not approved')
    await link.ask('POST', `/v1/devices/${id}/approve`, { sub: 'zoë' })
    await eventually(() => gateway.lists.at(-1)?.includes(id) === true, 'the gateway is told')
    const { stream, text } = device.open()
    await stream.write(Buffer.from('GET / HTTP/1.1\r\n'))
    await eventually(() => text() === 'GET / HTTP/1.1\r\n', 'the bytes follow as they are')
    const expected = {
      kind: 'device',
      device: id,
      relay: relay.url,
      sub: 'zoë',
      name: 'My "phone"',
    }
    t.ok(gateway.lines.includes(`LINK/1 ${JSON.stringify(expected)}\n`))
    await link.ask('DELETE', `/v1/devices/${id}`)
    await eventually(() => gateway.lists.at(-1)?.length === 0, 'the gateway is told of the end')
  },
)

t.test(
  'a gateway that does not take the list is told again, and every minute anyway',
  async (t) => {
    const folder = temporaryFolder(t)
    const gateway = await gatewayFor(t, folder)
    gateway.state.status = 503
    const relay = await relayFor(t)
    const link = await linkFor(t, relay.url, gateway.env, { folder })
    await connected(link)
    await until('it is refused', () => link.log().includes('the gateway was not told'))
    gateway.state.status = 204
    const refused = gateway.lists.length
    await until('it is told again', () => {
      link.clock.pass(5000)
      return gateway.lists.length > refused
    })
    t.equal(link.log().split('the gateway was not told').length, 2, 'one line for one outage')
  },
)
