/** What becomes of places when their node is killed, or stands still? Real processes, a real Redis, and the real time of a claim. */
import t, { type Test } from 'tap'
import { run } from '../../helpers/process.ts'
import { NO_REDIS, startRedis, type TestRedis } from '../../helpers/redis.ts'
import { Daemon, Peer, roomAt, seatedDaemon } from '../../helpers/relay.ts'
import { until } from '../../helpers/waiting.ts'
import { startCuttable } from '../../helpers/cuttable.ts'

async function startNode(t: Test, { url: store }: TestRedis) {
  let port = 0
  const listen = { port: 0, host: '127.0.0.1' }
  const front = await startCuttable(listen, () => ({ port, host: '127.0.0.1' }))
  t.teardown(() => front.stop())
  const url = `ws://127.0.0.1:${front.port}`
  const program = run(t, ['relay'], {
    RELAY_HOST: '127.0.0.1',
    RELAY_PORT: '0',
    RELAY_STORE_URL: store,
    RELAY_PUBLIC_URL: url,
    RELAY_DRAIN_SECONDS: '0',
  })
  port = Number((await program.logged('relaying'))['port'])
  return { ...program, url }
}

t.test(
  'clients of a node that was killed or stopped meet again elsewhere',
  { skip: NO_REDIS },
  async (t) => {
    const redis = await startRedis(t)
    const [killed, stopped, third] = [
      await startNode(t, redis),
      await startNode(t, redis),
      await startNode(t, redis),
    ]
    const first = await seatedDaemon(killed.url)
    const second = await seatedDaemon(stopped.url)
    const old = await roomAt(stopped.url, second.daemon, second.path)
    killed.child.kill('SIGKILL')
    stopped.child.kill('SIGSTOP')
    t.same(
      await new Peer(third.url + first.path).closed,
      [4421, killed.url],
      'its claim lives on for a while',
    )
    for (const { key, path } of [first, second]) {
      const daemon = await new Daemon(third.url).open()
      await until('the claim has ended', async () => (await daemon.sit(key)).kind === 'seated')
      const { device, seat } = await roomAt(third.url, daemon, path)
      device.send(Buffer.from('met'))
      t.equal(String(await seat.next()), 'met')
    }
    stopped.child.kill('SIGCONT')
    for (const one of [old.device, old.seat]) t.equal((await one.closed)[0], 1012)
    t.equal((await second.daemon.hears()).kind, 'taken')
    t.same(await new Peer(stopped.url + second.path).closed, [4421, third.url])
    await stopped.logged(
      'this node stood still for longer than its claims live; it gives up the places',
    )
    third.child.kill('SIGTERM')
    t.equal(await third.exited, 0)
    t.equal((await redis.all()).size, 0, 'a node that stops gives its places up at once')
  },
)
