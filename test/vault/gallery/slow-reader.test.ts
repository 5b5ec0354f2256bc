/** Attack: an agent asks for a long answer and does not read it, or a service for a long body. */
import { eventually, standsStill } from '../../helpers/waiting.ts'
import { open, requestBytes } from '../../helpers/wire.ts'
import { runAgainstVault } from './attack.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const CHUNK = Buffer.alloc(65_536, 'x')

/** More than the kernel takes for two loopback connections, and less than is sent without a bound. */
const MOST = 40 * 1024 * 1024

await runAgainstVault(import.meta.url, {
  'an answer that the agent does not take': async (t, { aim, vault, port }) => {
    let sent = 0
    const { url } = await startUpstream(t, (_request, response) => {
      const more = () => {
        while (sent < 2 * MOST && !response.destroyed) {
          sent += CHUNK.length
          if (!response.write(CHUNK)) {
            response.once('drain', more)
            return
          }
        }
      }
      more()
    })
    const { service, lease, endings } = await aim(url)
    const socket = await open(port)
    socket.pause()
    socket.write(requestBytes(`GET /s/${service}/x`, ['Host: 127.0.0.1', lease]))
    await eventually(() => sent > 0, 'the answer has begun')
    await standsStill(() => sent, 'the service')
    await vault.command(`/v1/entries/${service}/revoke`, { agents: ['coder'] })
    t.same(await endings(), ['cut'], 'a revocation ends it all the same')
    socket.destroy()
    return sent >= MOST
  },
  'a body that the service does not take': async (t, { aim, port }) => {
    const { url } = await startUpstream(t, (request) => void request.pause())
    const { service, lease } = await aim(url)
    const socket = await open(port)
    let sent = 0
    const fields = ['Host: 127.0.0.1', lease, `Content-Length: ${4 * MOST}`]
    socket.write(requestBytes(`POST /s/${service}/x`, fields))
    const more = () => {
      while (sent < 2 * MOST && !socket.destroyed) {
        sent += CHUNK.length
        if (!socket.write(CHUNK)) {
          socket.once('drain', more)
          return
        }
      }
    }
    more()
    await standsStill(() => sent, 'the agent')
    t.ok(sent > 0)
    socket.destroy()
    return sent >= MOST
  },
})
