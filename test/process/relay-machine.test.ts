/** Does the machine of a relay in examples/fly fit the relay: its settings, its port, its check, and the time that it has to stop? */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { loadRelayConfig, RELAY_SETTINGS } from '../../src/config/relay-settings.ts'
import { commandNamed } from '../../src/commands/help.ts'
import { relayFor } from '../helpers/relay.ts'

const FILE = readFileSync('examples/fly/relay.toml', 'utf8').replace(/^\s*#.*$/gm, '')

/** The text of a value, such as `path = "/healthz"`, behind a heading. */
function valueOf(heading: string, name: string): string {
  const [, section = ''] = FILE.split(heading)
  const [, value] = new RegExp(`^\\s*${name} = "?([^"\\n]+)"?$`, 'm').exec(section) ?? []
  if (value === undefined) throw new Error(`relay.toml has no ${name} behind ${heading}`)
  return value
}

const settings = Object.fromEntries(
  [...FILE.matchAll(/^\s*(RELAY_[A-Z_]+) = "([^"]*)"$/gm)].map(([, name, value]) => [name, value]),
)

t.test('a relay starts with the settings of its machine, alone and with others', async (t) => {
  t.ok(Object.keys(settings).length > 3)
  const onFly = { ...settings, FLY_MACHINE_ID: '3287e1aa', PATH: '/bin' }
  t.doesNotThrow(() => loadRelayConfig(onFly))
  t.doesNotThrow(() => loadRelayConfig({ ...onFly, RELAY_STORE_URL: 'redis://store:6379' }))
  t.equal(commandNamed(valueOf('[processes]', 'app')), 'relay')
})

t.test('the machine waits for longer than connections are closed over', async (t) => {
  const { drainSeconds } = loadRelayConfig(settings)
  const waits = Number(/^kill_timeout = "(\d+)s"$/m.exec(FILE)?.[1])
  t.ok(waits > drainSeconds + 5, `${waits} s for ${drainSeconds} s`)
  t.match(FILE, 'kill_signal = "SIGTERM"')
})

t.test('the proxy reaches the port of the relay, and asks for its health', async (t) => {
  t.equal(valueOf('[http_service]', 'internal_port'), RELAY_SETTINGS.port.default)
  const { url } = await relayFor(t)
  const path = valueOf('[[http_service.checks]]', 'path')
  const answer = await fetch(`${url.replace(/^ws:/, 'http:')}${path}`)
  t.equal(answer.status, 200)
  t.equal((await answer.text()).trim(), 'ok')
  t.equal(valueOf('[metrics]', 'port'), settings['RELAY_METRICS_PORT'])
  t.equal(valueOf('[http_service]', 'auto_stop_machines'), 'off')
})
