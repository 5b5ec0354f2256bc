/** Is every question to Redis answered within two seconds, or refused? With a real Redis that falls silent, ends and comes back. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { RedisAwayError, RedisConnection } from '../../src/services/redis-connection.ts'
import { startCuttable } from '../helpers/cuttable.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { elapse, SOON_MS, until, within } from '../helpers/waiting.ts'

/** A connection that ends with the test. */
function connect(t: Test, url: string) {
  const connection = new RedisConnection(url)
  t.teardown(() => connection.close())
  return { connection, ping: () => connection.ask((client) => client.ping()) }
}

/** Why there is no answer. Fails when there is one, and when neither comes. */
async function whyAway(asked: Promise<unknown>): Promise<string> {
  const problem = asked.then(
    () => new Error('was answered'),
    (error: unknown) => error,
  )
  if (!(await within(SOON_MS, problem))) throw new Error('neither an answer nor a refusal')
  const error = await problem
  if (!(error instanceof RedisAwayError)) throw error
  return error.cause instanceof Error ? String(error.cause) : error.message
}

/** The port of a server that accepts connections and says nothing. */
async function deafPort(t: Test): Promise<number> {
  const server = createServer((socket) => void socket.on('error', () => {}).resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('with a Redis', { skip: NO_REDIS }, async (t) => {
  t.test('a Redis that is silent from the first byte on keeps nobody waiting', async (t) => {
    const { url, pid } = await startRedis(t)
    const { ping } = connect(t, url)
    process.kill(pid, 'SIGSTOP')
    t.match(await whyAway(ping()), 'no answer within 2000 ms')
    t.match(await whyAway(ping()), 'no answer within 2000 ms')
    process.kill(pid, 'SIGCONT')
    t.equal(await until('it answers', ping), 'PONG')
  })

  t.test('one that falls silent later keeps nobody waiting', async (t) => {
    const { url, pid } = await startRedis(t)
    const { ping } = connect(t, url)
    t.equal(await ping(), 'PONG')
    process.kill(pid, 'SIGSTOP')
    t.match(await whyAway(ping()), 'no answer within 2000 ms')
    process.kill(pid, 'SIGCONT')
    t.equal(await until('it answers', ping), 'PONG')
  })

  t.test('while it is silent, one question at a time waits to find out', async (t) => {
    const { url, pid } = await startRedis(t)
    const { ping } = connect(t, url)
    t.equal(await ping(), 'PONG')
    process.kill(pid, 'SIGSTOP')
    const together = await Promise.all([1, 2, 3].map(() => whyAway(ping())))
    t.same(new Set(together), new Set(['Error: no answer within 2000 ms']))
    const many = Array.from({ length: 20 }, (_, i) => i)
    const since = performance.now()
    for (const i of many) t.match(await whyAway(ping()), 'no answer within 2000 ms', String(i))
    const took = performance.now() - since
    t.ok(took < SOON_MS, `all of them in ${took} ms, and not 2 s for each`)
    process.kill(pid, 'SIGCONT')
    t.equal(await until('it answers', ping), 'PONG')
    t.same(await Promise.all(many.map(ping)), Array(20).fill('PONG'))
  })

  t.test('one that refuses connections after a silence is not taken for silent', async (t) => {
    const redis = await startRedis(t)
    const { ping } = connect(t, redis.url)
    process.kill(redis.pid, 'SIGSTOP')
    t.match(await whyAway(ping()), 'no answer within 2000 ms')
    redis.wire.down(true)
    process.kill(redis.pid, 'SIGCONT')
    await until('an error comes', async () => !(await whyAway(ping())).includes('no answer'))
    redis.wire.down(false)
    t.equal(await until('it answers', ping), 'PONG')
  })

  t.test(
    'a connection that was opened again, and on which Redis never greets, is left',
    async (t) => {
      const { wire } = await startRedis(t)
      const deaf = await deafPort(t)
      let port = wire.port
      let dials = 0
      const front = await startCuttable({ port: 0, host: '127.0.0.1' }, () => {
        dials += 1
        return { port, host: '127.0.0.1' }
      })
      t.teardown(() => front.stop())
      const { ping } = connect(t, `redis://127.0.0.1:${front.port}`)
      t.equal(await ping(), 'PONG')
      port = deaf
      front.cut()
      await until('it connects again', () => dials === 2)
      port = wire.port
      t.match(await whyAway(ping()), /Error/, 'nothing is queued meanwhile')
      t.equal(await until('it answers', ping), 'PONG')
      await elapse(2500, 'longer than Redis may take to greet')
      t.equal(await ping(), 'PONG')
      t.equal(dials, 3, 'one that has greeted is kept')
    },
  )

  t.test('while there is none, each question is refused at once, with the cause', async (t) => {
    const { url, wire } = await startRedis(t)
    const { connection, ping } = connect(t, url)
    wire.down(true)
    t.match(await whyAway(ping()), /ECONNRESET|closed unexpectedly/)
    const asked = Array.from({ length: 100 }, ping)
    for (const one of asked) t.match(await whyAway(one), /ECONNRESET|closed unexpectedly/)
    wire.down(false)
    t.equal(await until('it answers', ping), 'PONG')
    const wrong = connection.ask((client) => client.sendCommand(['NONE']))
    t.match(await whyAway(wrong), 'unknown command', 'the cause is not that of before')
  })

  t.test('what was asked on a connection that was cut is not asked again', async (t) => {
    const redis = await startRedis(t)
    const { connection, ping } = connect(t, redis.url)
    const another = connect(t, redis.url).connection
    t.equal(await ping(), 'PONG')
    redis.wire.withhold()
    const counted = connection.ask((client) => client.incr('counted'))
    const count = async () => Number(await another.ask((client) => client.get('counted')))
    t.equal(await until('it is counted', count), 1)
    redis.wire.cut()
    t.match(await whyAway(counted), /Error/)
    await until('it answers', ping)
    t.equal(await until('it is read', count), 1)
  })

  t.test('one that has become a replica is left, once its address leads elsewhere', async (t) => {
    const [old, next] = [await startRedis(t), await startRedis(t)]
    let { port } = old.wire
    let dials = 0
    const front = await startCuttable({ port: 0, host: '127.0.0.1' }, () => {
      dials += 1
      return { port, host: '127.0.0.1' }
    })
    t.teardown(() => front.stop())
    const startedAt = performance.now()
    const { connection } = connect(t, `redis://127.0.0.1:${front.port}`)
    const count = () => connection.ask((client) => client.incr('counted'))
    t.equal(await count(), 1)
    await old.does('REPLICAOF', '127.0.0.1', '1')
    for (let i = 0; i < 10; i++) t.match(await whyAway(count()), 'READONLY')
    t.ok(dials <= 1 + (performance.now() - startedAt) / 2000, 'not for every refusal')
    ;({ port } = next.wire)
    t.equal(await until('the next one counts', count), 1, 'its connection was not cut')
  })

  t.test('an older one that says it of a script is left, too', async (t) => {
    const { url } = await startRedis(t)
    const { connection } = connect(t, url)
    const idOf = () => connection.ask((client) => client.sendCommand(['CLIENT', 'ID']))
    const first = await idOf()
    const told = (error: string) =>
      connection.ask((client) => client.eval(`return redis.error_reply("${error}")`))
    const replica =
      "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica."
    await until('it is left', async () => {
      t.match(await whyAway(told("WRONGTYPE of one key, which is nobody else's")), 'WRONGTYPE')
      t.equal(await idOf(), first, 'another error is no reason')
      t.match(await whyAway(told(replica)), 'READONLY')
      return (await idOf()) !== first
    })
  })

  t.test('an error of Redis is told as the cause', async (t) => {
    const { url } = await startRedis(t)
    const { connection } = connect(t, url)
    t.match(
      await whyAway(connection.ask((client) => client.sendCommand(['NONE']))),
      'unknown command',
    )
    const { ping } = connect(t, url.replace('//', '//somebody:hunter2@'))
    const why = await whyAway(ping())
    t.match(why, 'WRONGPASS')
    t.notMatch(why, 'hunter2')
  })

  t.test('after the end nothing is asked', async (t) => {
    const { url } = await startRedis(t)
    const { connection, ping } = connect(t, url)
    t.equal(await ping(), 'PONG')
    let isAsked = false
    const late = connection.ask((client) => {
      isAsked = true
      return client.blPop('nothing', 0)
    })
    await until('it is asked', () => isAsked)
    connection.close()
    t.equal(await whyAway(late), 'Error: closed')
    t.equal(await whyAway(ping()), 'closed')
  })
})

t.test('a URL that the client does not take is a refusal without its text', async (t) => {
  for (const url of ['redis://:hunter2@127.0.0.1/none', 'redis://:%zzhunter2@127.0.0.1']) {
    const { ping } = connect(t, url)
    const why = await whyAway(ping())
    t.match(why, /Error/)
    t.notMatch(why, 'hunter2')
  }
})
