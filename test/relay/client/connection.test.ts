/** Does a device pair with its workspace, stay connected, and come back? Tested against a small relay and a small daemon. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { RemoteConnection } from '../../../src/relay/client/connection.ts'
import { RELAY_CLOSE } from '../../../src/relay/protocol/relay-wire.ts'
import { startRelayDaemon } from '../../helpers/relay-daemon.ts'
import { startTinyRelay } from '../../helpers/tiny-relay.ts'
import { pairing } from '../../helpers/remote-device.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test('x', async (t) => {
  const server = createServer((request, response) => {
    if (request.url === '/_gateway/device-session') {
      response.end(
        JSON.stringify({
          token: 'a.b.c',
          endsAt: new Date(Date.now() + 86400000).toISOString(),
          sub: 'alice',
        }),
      )
    } else
      response.end(`hello ${request.url} ${request.headers.authorization} ${request.headers.host}`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay = await startTinyRelay()
  const daemon = await startRelayDaemon(relay.url, {
    target: (server.address() as AddressInfo).port,
  })
  const remote = RemoteConnection.pair({ ...(await pairing(await daemon.offer())) })
  await remote.whenOpen()
  const answer = await remote.fetch({ path: '/x?y' })
  t.equal(answer.status, 200)
  t.equal(await answer.text(), 'hello /x?y Bearer a.b.c localhost')
  relay.cut()
  await daemon.welcomed(2)
  await remote.whenOpen()
  t.equal((await remote.fetch({ path: '/' })).status, 200)
  remote.close()
  await eventually(() => daemon.channels[1]?.end !== undefined, 'end')
  t.match(daemon.channels[1]?.end, { how: 'closed', reason: 'done' })
  daemon.close()
  await relay.close()
  server.close()
})
