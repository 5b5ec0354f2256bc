/** Does a device reach the workspace over the real relay, the real link and the real gateway, by the same rules as a browser? */
import t, { type Test } from 'tap'
import { openTerminal } from '../../../src/relay/client/terminal.ts'
import { linkFor } from '../../helpers/link.ts'
import { LinkTestClock } from '../../helpers/link-clock.ts'
import { startLinked } from '../../helpers/linked.ts'
import { relayFor } from '../../helpers/relay.ts'
import { failure, pairing, watch } from '../../helpers/remote-device.ts'
import { startTtyd } from '../../helpers/ttyd.ts'
import { Arrivals, eventually } from '../../helpers/waiting.ts'

/** A relay, a gateway and a link, all real, and a way to let a device in. */
async function startAll(t: Test, settings: Record<string, string> = {}) {
  const workspace = await startLinked(t, settings)
  const relay = await relayFor(t)
  const clock = new LinkTestClock()
  clock.turn(Date.now() - clock.now())
  const link = await linkFor(t, relay.url, { GATEWAY_LINK_SOCKET: workspace.linkSocket }, { clock })
  const pair = async (isApproved: boolean) =>
    watch(t, await pairing(await link.offer({ isApproved })))
  return { ...workspace, link, pair }
}

t.test('a device is let in by its owner, and asks as the owner', async (t) => {
  const { link, pair, services, logLine } = await startAll(t)
  const { remote, until, paired } = await pair(false)
  const { code } = await until('waiting')
  const [listed] = await link.devices()
  t.match(listed, { code, state: 'waiting', name: 'Laptop', id: paired[0]?.id })
  t.equal(services.dashboard.requests.length, 0)
  t.equal(
    (await link.ask('POST', `/v1/devices/${listed?.id}/approve`, { sub: 'alice' })).status,
    200,
  )
  await until('open')
  const answer = await remote.fetch({ path: '/hello' })
  t.equal(answer.status, 200)
  await answer.text()
  t.match(await logLine(({ path }) => path === '/hello'), {
    user: 'alice',
    client: `device:${listed?.id}`,
  })
  const refused = await remote.fetch({ path: '/.env' })
  t.equal(refused.status, 403)
  t.equal(refused.headers.get('X-Gateway-Error'), 'sensitive-file')
  t.equal(services.dashboard.requests.length, 1)
})

t.test('a device opens the terminal with ttyd’s own password', async (t) => {
  const ttyd = await startTtyd(t, 'user:secret words')
  const { pair } = await startAll(t, {
    GATEWAY_TERMINAL_URL: ttyd.url,
  })
  const { remote } = await pair(true)
  await remote.whenOpen()
  let shown = ''
  const arrivals = new Arrivals()
  const options = {
    ...{ columns: 80, rows: 24, onClose() {} },
    onOutput(bytes: Uint8Array) {
      shown += Buffer.from(bytes).toString()
      arrivals.wake()
    },
  }
  await t.rejects(openTerminal(remote, options), { ...failure('refused'), want: 'password' })
  const password = { user: 'user', password: 'secret words' }
  const terminal = await openTerminal(remote, { ...options, password })
  terminal.input('echo hello')
  await arrivals.until(() => (shown === 'echo hello' ? true : undefined))
  terminal.close()
})

t.test('a device that the owner removes is cut, and does not come back', async (t) => {
  const { link, pair, services } = await startAll(t)
  const { remote, until, paired } = await pair(true)
  await remote.whenOpen()
  await (await remote.fetch({ path: '/' })).text()
  t.equal((await link.ask('DELETE', `/v1/devices/${paired[0]?.id}`)).status, 200)
  t.equal((await until('ended')).problem.problem, 'revoked')
  await t.rejects(remote.fetch({ path: '/' }), failure('revoked'))
  await eventually(() => services.dashboard.requests.length === 1, 'one request in all')
})

t.test('a link lets one device in, and no second', async (t) => {
  const { link } = await startAll(t)
  const offer = await link.offer({ isApproved: true })
  const first = watch(t, await pairing(offer))
  await first.remote.whenOpen()
  const second = watch(t, await pairing(offer))
  t.equal((await second.until('ended')).problem.problem, 'nobody-there')
  t.equal((await link.devices()).length, 1)
})
