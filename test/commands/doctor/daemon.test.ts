/** Does doctor say whether Hubcode's daemon answers, when the gateway is to reach it? */
import t from 'tap'
import { examineDaemon } from '../../../src/commands/doctor/daemon.ts'
import { examineOpenPorts } from '../../../src/commands/doctor/open-ports.ts'
import { examined } from '../../helpers/examined.ts'
import { closedPort, startUpstream } from '../../helpers/upstream.ts'

t.test('without GATEWAY_DAEMON_URL nothing is asked of a daemon', async (t) => {
  t.same(await examined(examineDaemon, {}), {})
  const ports = await examined(examineOpenPorts, {}, [])
  t.equal(ports['daemon-port-closed'], undefined)
})

t.test('a daemon is asked as the gateway asks it, and any answer of its own will do', async (t) => {
  const daemon = await startUpstream(t, (_request, response) => {
    response.writeHead(404).end()
  })
  const settings = { GATEWAY_DAEMON_URL: daemon.url }
  const { 'daemon-answers': found } = await examined(examineDaemon, settings)
  t.match(found, { verdict: 'pass', detail: / answered \/ with 404/ })
  t.match(daemon.requests[0], { url: '/', headers: { host: 'localhost' } })
  t.equal(daemon.requests[0]?.headers['x-forwarded-for'], undefined)
  const ports = await examined(examineOpenPorts, settings, [])
  t.match(ports['daemon-port-closed'], { verdict: 'pass' })
})

t.test(
  'a daemon that does not answer, fails or refuses our Host is named, with what to do',
  async (t) => {
    const url = `http://127.0.0.1:${await closedPort()}`
    const { 'daemon-answers': gone } = await examined(examineDaemon, { GATEWAY_DAEMON_URL: url })
    t.match(gone, { verdict: 'fail', detail: /people get 502 or 504 on \/_code$/ })
    t.match(gone?.remedy, /GATEWAY_DAEMON_URL/)
    for (const [status, verdict, remedy] of [
      [403, 'warn', /daemon\.allowedHosts/],
      [421, 'warn', /daemon\.allowedHosts/],
      [500, 'fail', /own log/],
    ] as const) {
      const daemon = await startUpstream(t, (_request, response) => {
        response.writeHead(status).end()
      })
      const settings = { GATEWAY_DAEMON_URL: daemon.url }
      t.match(await examined(examineDaemon, settings), { 'daemon-answers': { verdict, remedy } })
    }
  },
)
