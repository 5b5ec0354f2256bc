/** Does a request of the gateway's own end, whatever the service sends, and leave no connection and no timer behind? */
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/config/load.ts'
import { openServices } from '../../src/services/service.ts'
import { askForSmall } from '../../src/services/ask.ts'
import { testSettings } from '../helpers/gateway.ts'
import { startRawUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'

const HEAD = { method: 'GET', path: '/health', headers: ['Host', 'a'] }

/** A service that sends these bytes. */
async function saying(t: Test, answer: string) {
  const { url } = await startRawUpstream(t, (socket) => {
    socket.on('data', () => socket.write(answer, 'latin1'))
  })
  const services = openServices(loadConfig(testSettings({ GATEWAY_HEALTH_URL: url })))
  t.teardown(() => {
    for (const { pool } of Object.values(services)) pool.close()
  })
  return services.health
}

const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length

t.test('a small response comes whole, and its connection is used again', async (t) => {
  const service = await saying(
    t,
    'HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nd\xc3\r\n1\r\n\xa9\r\n0\r\n\r\n',
  )
  const before = timers()
  for (let i = 0; i < 3; i++) {
    const answer = await askForSmall(service, HEAD, { maxBytes: 7, timeoutMs: 10_000 })
    t.match(answer, { status: 200, body: 'abcdé' })
    t.same(answer.fields.slice(0, 2), ['X-A', 'b'])
    t.equal(service.pool.size, 1)
  }
  t.ok(timers() <= before, 'no timer is left')
})

t.test('every failure closes the connection and stops the timer', async (t) => {
  const cases = [
    ['', 'upstream-timeout', 200],
    ['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', 'upstream-timeout', 200],
    ['HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcdefgh', 'upstream-unreachable', 60_000],
    [
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\r\nefgh\r\n0\r\n\r\n',
      'upstream-unreachable',
      60_000,
    ],
    ['nonsense', 'upstream-unreachable', 60_000],
  ] as const
  for (const [answer, code, timeoutMs] of cases) {
    const service = await saying(t, answer)
    const before = timers()
    await t.rejects(askForSmall(service, HEAD, { maxBytes: 7, timeoutMs }), { code }, answer)
    t.equal(service.pool.size, 0, answer)
    await eventually(() => timers() <= before, 'no timer is left')
  }
  const service = await saying(t, '')
  const unwritable = { ...HEAD, path: '/a b' }
  await t.rejects(askForSmall(service, unwritable, { maxBytes: 7, timeoutMs: 60_000 }), {
    code: 'internal-error',
  })
  t.equal(service.pool.size, 0)
})
