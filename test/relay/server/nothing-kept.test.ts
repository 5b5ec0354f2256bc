/** What does a relay write down of those who meet at it? Sums: no id, ticket, key, address or content, in its log or in its metrics. */
import t from 'tap'
import { relayExposition } from '../../../src/relay/server/relay-metrics.ts'
import { HandClock, Peer, relayFor, roomAt, seatedDaemon } from '../../helpers/relay.ts'

t.test('neither the log nor the metrics tell who met whom', async (t) => {
  const clock = new HandClock()
  const relay = await relayFor(t, { RELAY_TRUSTED_PROXIES: 'loopback' }, clock.surroundings)
  const from = (address: string) => ({ headers: { 'X-Forwarded-For': address } })
  const { daemon, key, id, path } = await seatedDaemon(relay.url, from('198.51.100.77'))
  const { device, seat } = await roomAt(relay.url, daemon, path)
  device.send(Buffer.from('plain-content'))
  await seat.next()
  const waiting = await new Peer(relay.url + path, from('203.0.113.99')).open()
  const ticket = (await daemon.knocked()).split('/').at(-1) ?? ''
  seat.send('text breaks the rule')
  await device.closed
  clock.pass(90_000)
  await waiting.closed
  await daemon.closed
  await new Peer(relay.url + path).closed
  const eventLoopDelay = { '0.5': 0 }
  const { counts, sizes, isDraining, isStoreAway } = relay
  const metrics = relayExposition({ counts, sizes, isDraining, isStoreAway, eventLoopDelay })
  await relay.drain()
  const written = relay.log() + metrics
  t.match(metrics, /relay_closes_total\{cause="badMessage"\} 1\n/)
  t.match(metrics, /relay_closes_total\{cause="timedOut"\} 2\n/)
  t.ok(ticket.length > 20)
  for (const secret of ['plain-content', ticket, '198.51.100.77', '203.0.113.99', '127.0.0.1'])
    t.notOk(written.includes(secret), secret)
  for (const secret of [key, id])
    for (const spelling of ['base64', 'base64url', 'hex'] as const)
      t.notOk(written.includes(Buffer.from(secret).toString(spelling)), spelling)
  // Every label is a word of the code's own.
  for (const [, value = ''] of metrics.matchAll(/\{[a-z]+="([^"]*)"\}/g))
    t.match(value, /^(?:[a-zA-Z]+|[0-9.]+)$/)
})
