/** Attack: an agent asks for a long answer and does not read it, or a service for a long body. */
import t from 'tap'
import { eventually, standsStill } from '../../helpers/waiting.ts'
import { open, requestBytes } from '../../helpers/wire.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const CHUNK = Buffer.alloc(65_536, 'x')

/** More than the kernel takes for two loopback connections, and less than is sent without a bound. */
const MOST = 40 * 1024 * 1024

t.test('an answer is not read faster than the agent takes it', async (t) => {
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
  const vault = await startVault(t, url)
  const socket = await open(vault.port)
  socket.pause()
  socket.write(requestBytes('GET /s/github/x', [LEASE]))
  await eventually(() => sent > 0, 'the answer has begun')
  await standsStill(() => sent, 'the service')
  t.ok(sent < MOST, `${sent} bytes`)
  vault.revoke()
  await eventually(() => vault.endings().length > 0, 'a revocation ends it all the same')
  t.same(vault.endings(), ['cut'])
  socket.destroy()
})

t.test('a body is not read faster than the service takes it', async (t) => {
  const { url } = await startUpstream(t, (request) => void request.pause())
  const { port } = await startVault(t, url)
  const socket = await open(port)
  let sent = 0
  socket.write(requestBytes('POST /s/github/x', [LEASE, `Content-Length: ${4 * MOST}`]))
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
  t.ok(sent < MOST, `${sent} bytes`)
  socket.destroy()
})
