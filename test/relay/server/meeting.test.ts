/** Do daemon and device meet at a relay, and nobody else? Over real WebSockets. */
import t from 'tap'
import { toBase64Url } from '../../../src/relay/protocol/bytes.ts'
import { Daemon, newPlace, Peer, relayFor, roomAt, seatedDaemon } from '../../helpers/relay.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test(
  'a device knocks, the daemon takes the other seat, and messages pass both ways',
  async (t) => {
    const { url, counts } = await relayFor(t)
    const daemon = await new Daemon(url).open()
    const { key, id, path } = await newPlace()
    t.same(await daemon.sit(key), { kind: 'seated', places: [id] })
    const device = await new Peer(url + path).open()
    device.send(Buffer.from('first, before the daemon is there'))
    const seat = await new Peer(url + (await daemon.knocked())).open()
    t.equal(String(await seat.next()), 'first, before the daemon is there')
    seat.send(Buffer.from('answer'))
    t.equal(String(await device.next()), 'answer')
    const large = Buffer.alloc(65_536, 7)
    device.send(large)
    device.send(Buffer.alloc(0))
    t.same(await seat.next(), large)
    t.equal((await seat.next()).length, 0, 'an empty message stays a message')
    t.equal(counts.messages, 4)
    t.equal(counts.bytes, 33 + 6 + 65_536)
  },
)

t.test('what was sent before one side left arrives, and the other side is closed', async (t) => {
  const { url } = await relayFor(t)
  const { daemon, path } = await seatedDaemon(url)
  const first = await roomAt(url, daemon, path)
  first.device.send(Buffer.from('last words'))
  first.device.socket.close()
  t.equal(String(await first.seat.next()), 'last words')
  t.same(await first.seat.closed, [1000, 'the device has left'])
  const second = await roomAt(url, daemon, path)
  second.seat.send(Buffer.from('last words'))
  second.seat.socket.close()
  t.equal(String(await second.device.next()), 'last words')
  t.same(await second.device.closed, [4404, 'the daemon has left'])
})

t.test('a device at a place where nobody sits is told so at once', async (t) => {
  const { url } = await relayFor(t)
  const device = new Peer(url + (await newPlace()).path)
  t.equal((await device.closed)[0], 4404)
})

t.test(
  'a daemon that leaves a place, or goes away, is not there for the next device',
  async (t) => {
    const relay = await relayFor(t)
    const { daemon, id, path } = await seatedDaemon(relay.url)
    const joined = await roomAt(relay.url, daemon, path)
    daemon.say({ kind: 'leave', places: [id] })
    await eventually(() => relay.sizes.daemons === 1 && daemon.heard.length === 0, 'heard')
    daemon.say({ kind: 'ping' })
    t.same(await daemon.hears(), { kind: 'pong' }, 'messages are dealt with in their order')
    t.equal((await new Peer(relay.url + path).closed)[0], 4404)
    joined.device.send(Buffer.from('still here'))
    t.equal(String(await joined.seat.next()), 'still here', 'a room that is complete goes on')
    const other = await seatedDaemon(relay.url)
    const waiting = await new Peer(relay.url + other.path).open()
    await other.daemon.knocked()
    other.daemon.socket.close()
    t.equal((await waiting.closed)[0], 4404, 'a device that waits is told when the daemon goes')
  },
)

t.test('only who shows the key sits at a place, and the newest has it', async (t) => {
  const { url } = await relayFor(t)
  const { daemon: older, key, id, path } = await seatedDaemon(url)
  const stranger = await new Daemon(url).open()
  stranger.say({ kind: 'leave', places: [id] }) // the id is in every link: it gives nobody a say
  stranger.say({ kind: 'ping' })
  await stranger.hears()
  const first = await roomAt(url, older, path)
  const newer = await new Daemon(url).open()
  t.same(await newer.sit(key), { kind: 'seated', places: [id] })
  await roomAt(url, newer, path)
  t.same(older.heard, [], 'the older connection hears of no knock')
  older.socket.close()
  await older.closed
  await roomAt(url, newer, path)
  first.device.send(Buffer.from('still here'))
  t.equal(String(await first.seat.next()), 'still here')
})

t.test('a ticket opens one seat, once', async (t) => {
  const { url } = await relayFor(t)
  const { daemon, id, path } = await seatedDaemon(url)
  const device = await new Peer(url + path).open()
  const seatPath = await daemon.knocked()
  const wrong = `/v1/seat/${toBase64Url(id)}/${toBase64Url(Buffer.alloc(16))}`
  t.equal((await new Peer(url + wrong).closed)[0], 4404)
  const seat = await new Peer(url + seatPath).open()
  t.equal((await new Peer(url + seatPath).closed)[0], 4404, 'a room has two seats')
  device.send(Buffer.from('undisturbed'))
  t.equal(String(await seat.next()), 'undisturbed')
})
