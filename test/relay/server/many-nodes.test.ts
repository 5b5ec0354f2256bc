/** Is every place at one node of a relay, whichever node clients come to? With real nodes and a real Redis. */
import t, { type Test } from 'tap'
import { startCuttable } from '../../helpers/cuttable.ts'
import { NO_REDIS, startRedis, type TestRedis } from '../../helpers/redis.ts'
import {
  Daemon,
  HandClock,
  newPlace,
  Peer,
  relayFor,
  roomAt,
  seatedDaemon,
  type TestRelay,
} from '../../helpers/relay.ts'
import { until } from '../../helpers/waiting.ts'

/** A node of a relay. */
interface Node extends TestRelay {
  /** Where clients reach it, as the others say. */
  readonly publicUrl: string
  readonly clock: HandClock
}

async function nodeOf(t: Test, redis: TestRedis, env: Record<string, string> = {}): Promise<Node> {
  let port = 0
  const front = await startCuttable({ port: 0, host: '127.0.0.1' }, () => ({
    port,
    host: '127.0.0.1',
  }))
  t.teardown(() => front.stop())
  const publicUrl = `ws://127.0.0.1:${front.port}`
  const clock = new HandClock()
  const relay = await relayFor(
    t,
    { RELAY_STORE_URL: redis.url, RELAY_PUBLIC_URL: publicUrl, ...env },
    clock.surroundings,
  )
  port = relay.address.port
  return Object.assign(relay, { publicUrl, clock })
}

t.test('with many nodes', { skip: NO_REDIS }, async (t) => {
  t.test('a device and a seat that come to another node are told where the place is', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
    const { daemon, path } = await seatedDaemon(a.url)
    const strayed = new Peer(b.url + path)
    t.same(await strayed.closed, [4421, a.publicUrl])
    const device = await new Peer(a.publicUrl + path).open()
    const seatPath = await daemon.knocked()
    t.same(await new Peer(b.url + seatPath).closed, [4421, a.publicUrl])
    const seat = await new Peer(a.publicUrl + seatPath).open()
    seat.send(Buffer.from('met'))
    t.equal(String(await device.next()), 'met')
    t.equal(
      (await new Peer(b.url + (await newPlace()).path).closed)[0],
      4404,
      'nobody has this one',
    )
    t.equal(b.counts.messages, 0, 'no frame crosses nodes')
  })

  t.test('a place is at one node at a time, and moves when its daemon does', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
    const { daemon, key, id, path } = await seatedDaemon(a.url)
    const again = await new Daemon(a.url).open()
    t.same(
      await again.sit(key),
      { kind: 'seated', places: [id] },
      'the node that has it gives it on',
    )
    daemon.socket.close()
    again.socket.close()
    await until('the place is free', async () => (await redis.all()).size === 0)
    const moved = await new Daemon(b.url).open()
    t.same(await moved.sit(key), { kind: 'seated', places: [id] })
    t.same(await new Peer(a.url + path).closed, [4421, b.publicUrl])
    t.same(await redis.settling(), [], 'a place that was free was taken over from nobody')
    await roomAt(b.url, moved, path)
  })

  t.test('a daemon whose old connection is dead gets its place at another node', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
    const { daemon: dead, key, id, path } = await seatedDaemon(a.url)
    const { device: old } = await roomAt(a.url, dead, path)
    dead.socket.pause() // as one whose network is gone: nothing ends the connection
    const daemon = await new Daemon(b.url).open()
    t.same(await daemon.sit(key), { kind: 'seated', places: [id] })
    t.match([...(await redis.all()).values()], [new RegExp(b.publicUrl)])
    await roomAt(b.url, daemon, path)
    a.clock.pass(3000) // its renewal finds another name
    t.equal((await old.closed)[0], 1012)
    t.same(await new Peer(a.url + path).closed, [4421, b.publicUrl])
    t.equal(a.sizes.places, 0)
    t.match([...(await redis.all()).values()], [new RegExp(b.publicUrl)], 'A takes nothing back')
    dead.socket.terminate()
    await until('A has noticed', () => a.sizes.daemons === 0)
    t.match([...(await redis.all()).values()], [new RegExp(b.publicUrl)], 'nor gives it up')
    await roomAt(b.url, daemon, path)
  })

  t.test('two daemons with one key do not pull their place to and fro', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
    const { daemon, key, id, path } = await seatedDaemon(a.url)
    const second = await new Daemon(b.url).open()
    t.same(await second.sit(key), { kind: 'seated', places: [id] })
    a.clock.pass(3000)
    t.same(await daemon.hears(), { kind: 'taken', places: [id] })
    const more = await newPlace()
    daemon.say({ kind: 'sit', keys: [key, more.key] })
    t.same(await daemon.hears(), { kind: 'seated', places: [more.id] }, 'others are not held up')
    t.same(await daemon.hears(), { kind: 'taken', places: [id] }, 'not again so soon')
    const [settling = 0] = await redis.settling()
    t.ok(settling > 0 && settling <= 60_000, 'within a minute it can')
    await roomAt(b.url, second, path)
    await redis.settle()
    t.same(await daemon.sit(key), { kind: 'seated', places: [id] })
    b.clock.pass(3000)
    t.same(await second.hears(), { kind: 'taken', places: [id] })
    t.same(await second.sit(key), { kind: 'taken', places: [id] })
    await roomAt(a.url, daemon, path)
  })

  t.test('whoever knows the id of a place moves nothing', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
    const { daemon, id, path } = await seatedDaemon(a.url)
    const before = await redis.all()
    const stranger = await new Daemon(b.url).open()
    await stranger.sit(Buffer.concat([id, id]))
    stranger.say({ kind: 'leave', places: [id] })
    t.same(await new Peer(b.url + path).closed, [4421, a.publicUrl])
    for (const [claim, value] of before) t.equal((await redis.all()).get(claim), value)
    await roomAt(a.url, daemon, path)
  })

  t.test('the store has neither ids of places nor their keys', async (t) => {
    const redis = await startRedis(t)
    const a = await nodeOf(t, redis)
    const { key, id } = await seatedDaemon(a.url)
    const text = JSON.stringify([...(await redis.all())])
    t.match(text, a.publicUrl)
    for (const secret of [key, id])
      for (const spelling of ['base64', 'base64url', 'hex', 'latin1'] as const)
        t.notOk(text.includes(Buffer.from(secret).toString(spelling)), spelling)
  })

  t.test(
    'on Fly, its proxy is asked to bring clients to the machine with their place',
    async (t) => {
      const redis = await startRedis(t)
      const a = await nodeOf(t, redis, { FLY_MACHINE_ID: '1857a1' })
      const b = await nodeOf(t, redis, { FLY_MACHINE_ID: '9080b2' })
      const { daemon, path } = await seatedDaemon(a.url)
      const replayOf = (target: string, headers = {}) =>
        new Promise<unknown>((resolve) => {
          const { socket } = new Peer(b.url + target, { headers })
          socket.once('unexpected-response', (request, response) => {
            request.destroy()
            resolve([response.statusCode, response.headers['fly-replay']])
          })
          socket.once('close', (code) => resolve(code))
        })
      const replay = [421, 'instance=1857a1;timeout=5s;fallback=force_self']
      t.same(await replayOf(path), replay)
      const device = await new Peer(a.url + path).open()
      t.same(await replayOf(await daemon.knocked()), replay)
      for (const field of ['fly-replay-src', 'fly-replay-failed'])
        t.equal(
          await replayOf(path, { [field]: 'instance=1857a1' }),
          4421,
          `${field}: not in circles`,
        )
      t.equal(b.sizes.rooms, 0)
      device.socket.close()
    },
  )

  t.test(
    'a node that stood still for longer than its claims live gives up what it had',
    async (t) => {
      const redis = await startRedis(t)
      const [a, b] = [await nodeOf(t, redis), await nodeOf(t, redis)]
      const { daemon, key, id, path } = await seatedDaemon(a.url)
      const { device, seat } = await roomAt(a.url, daemon, path)
      a.clock.ms += 9999
      const waiting = await new Peer(a.url + path).open()
      await daemon.knocked()
      a.clock.ms += 1
      t.equal(
        (await new Peer(a.url + path).closed)[0],
        4404,
        'not served, before any timer has run',
      )
      a.clock.pass(0)
      for (const one of [device, seat, waiting]) t.equal((await one.closed)[0], 1012)
      t.same(await daemon.hears(), { kind: 'taken', places: [id] })
      t.match(a.log(), /stood still/)
      t.equal(a.sizes.places, 0)
      await redis.empty() // what would have happened meanwhile
      const elsewhere = await new Daemon(b.url).open()
      t.same(await elsewhere.sit(key), { kind: 'seated', places: [id] })
      t.same(await new Peer(a.url + path).closed, [4421, b.publicUrl])
    },
  )

  t.test('a node that finds another name at its place gives the place up', async (t) => {
    const redis = await startRedis(t)
    const a = await nodeOf(t, redis)
    const { daemon, id, path } = await seatedDaemon(a.url)
    const { device } = await roomAt(a.url, daemon, path)
    await redis.takeAll(JSON.stringify(['wss://c.relay.example.com', '', 'c']))
    a.clock.pass(3000)
    t.same(await daemon.hears(), { kind: 'taken', places: [id] })
    t.equal((await device.closed)[0], 1012)
    t.match([...(await redis.all()).values()].join(' '), 'c.relay', 'and takes nothing away')
    t.same(await new Peer(a.url + path).closed, [4421, 'wss://c.relay.example.com'])
    const long = JSON.stringify([`wss://${'a.'.repeat(70)}example.com`, ''])
    for (const nonsense of [
      long,
      'null',
      '',
      '[]',
      '["javascript:1",""]',
      `["wss://x.example.com","a;b"]`,
    ]) {
      await redis.takeAll(nonsense)
      t.equal((await new Peer(a.url + path).closed)[0], 4404, `believes no value of ${nonsense}`)
    }
  })

  t.test('a store that fails while places are claimed again keeps no daemon waiting', async (t) => {
    const redis = await startRedis(t)
    const a = await nodeOf(t, redis)
    const { daemon, key, id, path } = await seatedDaemon(a.url)
    const { device, seat } = await roomAt(a.url, daemon, path)
    await redis.empty()
    await redis.refuses('set') // what is there can be looked at, and nothing can be claimed
    a.clock.pass(3000)
    t.same(await daemon.hears(), { kind: 'taken', places: [id] }, 'it is told, and can try again')
    device.send(Buffer.from('still here'))
    t.equal(String(await seat.next()), 'still here')
    t.same(await daemon.sit(key), { kind: 'taken', places: [id] })
    await redis.refuses(undefined)
    t.same(await daemon.sit(key), { kind: 'seated', places: [id] })
    await roomAt(a.url, daemon, path)
  })

  t.test('claims live on, and a store that was emptied gets them again', async (t) => {
    const redis = await startRedis(t)
    const a = await nodeOf(t, redis)
    const { daemon, path } = await seatedDaemon(a.url)
    const before = await redis.all()
    const passes = async (what: string, happened: () => Promise<boolean>) => {
      a.clock.pass(3000)
      await until(what, async () => {
        a.clock.pass(0) // again, because the renewal before may not have ended yet
        return happened()
      })
    }
    for (let i = 0; i < 5; i++) {
      const renewed = await redis.renewals()
      await passes('the claim was renewed', async () => (await redis.renewals()) > renewed)
    }
    await roomAt(a.url, daemon, path)
    await redis.empty()
    await passes('the claim is back', async () => (await redis.all()).size === 1)
    t.same(await redis.all(), before)
    await roomAt(a.url, daemon, path)
  })

  t.test(
    'without the store, places are served while their claims live, and no longer',
    async (t) => {
      const redis = await startRedis(t)
      const a = await nodeOf(t, redis)
      const { daemon, key, id, path } = await seatedDaemon(a.url)
      const { device, seat } = await roomAt(a.url, daemon, path)
      redis.wire.down(true)
      const other = await new Daemon(a.url).open()
      const place = await newPlace()
      t.same(await other.sit(place.key), { kind: 'taken', places: [place.id] }, 'no new place')
      t.same(await new Peer(a.url + place.path).closed, [1012, 'the store is away'])
      t.equal(a.log().match(/the store is away/g)?.length, 1, 'said once, loudly')
      t.match(a.log(), /"level":"error".*RELAY_STORE_URL/)
      a.clock.pass(9999)
      await roomAt(a.url, daemon, path)
      a.clock.pass(1)
      t.same(await daemon.hears(), { kind: 'taken', places: [id] })
      t.equal((await new Peer(a.url + path).closed)[0], 1012)
      device.send(Buffer.from('still here'))
      t.equal(String(await seat.next()), 'still here', 'a room that is complete needs no store')
      redis.wire.down(false)
      await until('the daemon sits again', async () => (await daemon.sit(key)).kind === 'seated')
      t.match(a.log(), /the store is back/)
      await roomAt(a.url, daemon, path)
    },
  )

  t.test('a relay starts without its store, and uses it when it comes', async (t) => {
    const redis = await startRedis(t)
    redis.wire.down(true)
    const a = await nodeOf(t, redis)
    await until('it says so before anybody comes', () => a.log().includes('the store is away'))
    redis.wire.down(false)
    await until('it says when it is back, without anybody', () => {
      a.clock.pass(3000)
      return a.log().includes('the store is back')
    })
    redis.wire.down(true)
    const daemon = await new Daemon(a.url).open()
    const { key } = await newPlace()
    t.equal((await daemon.sit(key)).kind, 'taken')
    redis.wire.down(false)
    await until('the daemon sits', async () => (await daemon.sit(key)).kind === 'seated')
  })

  t.test(
    'a store that does not answer keeps nobody waiting, and is used when it does',
    async (t) => {
      const redis = await startRedis(t)
      const a = await nodeOf(t, redis)
      const { daemon } = await seatedDaemon(a.url)
      process.kill(redis.pid, 'SIGSTOP')
      const { key, id } = await newPlace()
      t.same(await daemon.sit(key), { kind: 'taken', places: [id] })
      t.match(a.log(), /no answer within 2000 ms/)
      process.kill(redis.pid, 'SIGCONT')
      await until('the daemon sits', async () => (await daemon.sit(key)).kind === 'seated')
    },
  )
})
