/** How does `workspace-gateway relay` start, tell, and stop? As a real process. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { run } from '../../helpers/process.ts'
import { Peer, roomAt, seatedDaemon } from '../../helpers/relay.ts'

const LOCAL = { RELAY_HOST: '127.0.0.1', RELAY_PORT: '0', RELAY_DRAIN_SECONDS: '0' }

async function start(t: Test, env: Record<string, string> = {}) {
  const program = run(t, ['relay'], { ...LOCAL, ...env })
  const port = Number((await program.logged('relaying'))['port'])
  return { ...program, port, url: `ws://127.0.0.1:${port}` }
}

t.test('SIGTERM closes every connection with 1012, and the relay ends with 0', async (t) => {
  const relay = await start(t)
  const { daemon, path } = await seatedDaemon(relay.url)
  const { device, seat } = await roomAt(relay.url, daemon, path)
  const waiting = await new Peer(relay.url + path).open()
  await daemon.knocked()
  device.send(Buffer.from('last words'))
  t.equal(String(await seat.next()), 'last words')
  relay.child.kill('SIGTERM')
  const codes = await Promise.all(
    [daemon, device, seat].map(async ({ closed }) => (await closed)[0]),
  )
  t.same(codes, [1012, 1012, 1012])
  t.ok([1012, 4404].includes((await waiting.closed)[0]), 'or the daemon was closed first')
  t.equal(await relay.exited, 0)
})

t.test('connections are closed one after the other, over the seconds of the setting', async (t) => {
  const relay = await start(t, { RELAY_DRAIN_SECONDS: '600', RELAY_TRUSTED_PROXIES: 'loopback' })
  for (let i = 0; i < 20; i++)
    await seatedDaemon(relay.url, { headers: { 'X-Forwarded-For': `203.0.113.${i}` } })
  relay.child.kill('SIGTERM')
  t.match(await relay.logged('stopping'), { seconds: 600, daemons: 20, places: 20 })
  const late = new Peer(`${relay.url}/v1/daemon`)
  await late.closed
  t.equal(relay.child.exitCode, null, 'it is not over yet')
  relay.child.kill('SIGTERM')
  t.equal(await relay.exited, 1, 'a second signal ends it at once')
})

t.test('signals that mean something to the gateway end nothing', async (t) => {
  const relay = await start(t)
  const { daemon, path } = await seatedDaemon(relay.url)
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
    relay.child.kill(signal)
    await relay.logged(`nothing to be done on ${signal} for the relay`)
  }
  await roomAt(relay.url, daemon, path)
})

t.test('metrics are on a port of their own, and nowhere else', async (t) => {
  const relay = await start(t, { RELAY_METRICS_PORT: '0' })
  const { daemon, path } = await seatedDaemon(relay.url)
  const { device, seat } = await roomAt(relay.url, daemon, path)
  device.send(Buffer.alloc(1000))
  await seat.next()
  await new Peer(relay.url + path).open()
  await daemon.knocked()
  const { host, port } = await relay.logged('metrics served')
  const address = String(host).includes(':') ? `[${String(host)}]` : String(host)
  const text = await (await fetch(`http://${address}:${String(port)}/metrics`)).text()
  for (const line of [
    'relay_daemons 1',
    'relay_places 1',
    'relay_rooms{state="waiting"} 1',
    'relay_rooms{state="complete"} 1',
    'relay_knocks_total 2',
    'relay_joined_total 1',
    'relay_messages_total 1',
    'relay_bytes_total 1000',
    'relay_store_away 0',
    'relay_draining 0',
  ])
    t.ok(text.split('\n').includes(line), line)
  t.match(text, /^process_resident_memory_bytes \d+$/m)
  t.equal((await fetch(`http://127.0.0.1:${relay.port}/metrics`)).status, 404)
})

t.test('what is wrong with the settings is said, and ends with 78 or 69', async (t) => {
  const wrong = run(t, ['relay'], {
    RELAY_PORT: '7654',
    RELAY_METRICS_PORT: '7654',
    RELAY_STORE_URL: 'http://hunter2@x',
    RELAY_PROT: '1',
  })
  t.equal(await wrong.exited, 78)
  for (const text of [
    'RELAY_METRICS_PORT "7654"',
    'RELAY_STORE_URL',
    'RELAY_PROT is not a setting; did you mean RELAY_PORT?',
  ])
    t.ok(wrong.stderr().includes(text), text)
  t.notMatch(wrong.stderr(), /hunter2/)
  const lonely = run(t, ['relay'], { ...LOCAL, RELAY_STORE_URL: 'redis://127.0.0.1:1' })
  t.equal(await lonely.exited, 78)
  t.match(lonely.stderr(), /RELAY_PUBLIC_URL is missing/)
  const usage = run(t, ['relay', 'now'], LOCAL)
  t.equal(await usage.exited, 64)
  const foreign = run(t, ['relay'], { ...LOCAL, RELAY_HOST: '203.0.113.1' })
  t.equal(await foreign.exited, 78)
  t.match(foreign.stderr(), /RELAY_HOST "203\.0\.113\.1"/)
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const second = run(t, ['relay'], { ...LOCAL, RELAY_PORT: String(port) })
  t.equal(await second.exited, 69)
  t.match(second.stderr(), `RELAY_PORT ${port} is taken`)
})
