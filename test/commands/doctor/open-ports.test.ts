/** Is a service that can be reached past the gateway noticed? */
import t from 'tap'
import { examineOpenPorts } from '../../../src/commands/doctor/open-ports.ts'
import { examined } from '../../helpers/examined.ts'
import { startUpstream } from '../../helpers/upstream.ts'

t.test('a port that is open at an address of this machine is a fault', async (t) => {
  const { url } = await startUpstream(t)
  // 127.0.0.2 plays an address beyond loopback on which nothing listens, 127.0.0.1 one on which the service does.
  const closed = await examined(examineOpenPorts, { GATEWAY_API_URL: url }, ['127.0.0.2'])
  t.match(closed['openclaw-port-closed'], { verdict: 'pass' })
  const open = await examined(examineOpenPorts, { GATEWAY_API_URL: url }, ['127.0.0.1'])
  t.match(open['openclaw-port-closed'], { verdict: 'fail', remedy: /gateway\.bind/ })
})

t.test('a socket has no port, and a service elsewhere is not dialled', async (t) => {
  const findings = await examined(examineOpenPorts, {
    GATEWAY_API_URL: 'unix:/run/openclaw.sock',
    GATEWAY_TERMINAL_URL: 'http://192.0.2.200:8080',
  })
  t.match(findings['openclaw-port-closed'], { verdict: 'pass', detail: /Unix socket/ })
  t.match(findings['terminal-port-closed'], { verdict: 'warn', detail: /not on loopback/ })
  t.match(findings['dashboard-port-closed'], { verdict: 'pass', detail: /no other address/ })
})
