/** Can a service take a body that was cut for a whole one? No: its connection is reset, also when the service has read nothing yet. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { eventually } from '../../helpers/waiting.ts'
import { gather, open } from '../../helpers/wire.ts'

/** A service that reads nothing until it is told to. */
async function startSleepingService(t: Test) {
  const { promise, resolve } = Promise.withResolvers<Socket>()
  const server = createServer({ pauseOnConnect: true }, resolve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, dialled: promise }
}

for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked'])
  for (const how of ['the agent goes away', 'the lease is revoked'])
    t.test(`${framing}: ${how} in the middle of the body`, async (t) => {
      const service = await startSleepingService(t)
      const vault = await startVault(t, service.origin)
      const agent = await open(vault.port)
      t.teardown(() => agent.destroy())
      const part = framing.startsWith('C') ? 'a part' : '6\r\na part\r\n'
      agent.write(
        `POST /s/github/x HTTP/1.1\r\nHost: vault\r\n${LEASE}\r\n${framing}\r\n\r\n${part}`,
      )
      const socket = await service.dialled
      t.teardown(() => socket.destroy())
      // One that reads has a part when the body is cut; the other one finds the reset before it.
      const isReading = how === 'the lease is revoked'
      socket.on('error', () => socket.destroy())
      const received = gather(socket)
      if (isReading) {
        socket.resume()
        await received.until((text) => text.includes('a part'))
      }
      if (how === 'the agent goes away') agent.destroy()
      else vault.revoke()
      await eventually(() => vault.endings().length > 0, 'the use is over')
      socket.resume()
      t.equal((await received.over).how, 'reset')
    })
