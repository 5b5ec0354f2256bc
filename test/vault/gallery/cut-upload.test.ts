/** Attack: a request is cut in the middle of its body, so that the service takes the part for the whole. It gets a reset. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'
import { gather, open, requestBytes } from '../../helpers/wire.ts'
import { runAgainstVault, type VaultPlace } from './attack.ts'

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

const FRAMINGS = ['Content-Length: 100', 'Transfer-Encoding: chunked'] as const
const CUTS = ['the agent goes away', 'the grant is revoked'] as const

/** Whether the service takes the body for a whole one. */
const attack =
  (framing: (typeof FRAMINGS)[number], how: (typeof CUTS)[number]) =>
  async (t: Test, { aim, vault, port }: VaultPlace) => {
    const asleep = await startSleepingService(t)
    const { service, lease, endings } = await aim(asleep.origin)
    const agent = await open(port)
    t.teardown(() => agent.destroy())
    const part = framing.startsWith('C') ? 'a part' : '6\r\na part\r\n'
    const fields = ['Host: 127.0.0.1', lease, framing]
    agent.write(requestBytes(`POST /s/${service}/x`, fields, part))
    const socket = await asleep.dialled
    t.teardown(() => socket.destroy())
    // One that reads has a part when the body is cut; the other one finds the reset before it.
    const isReading = how === 'the grant is revoked'
    socket.on('error', () => socket.destroy())
    const received = gather(socket)
    if (isReading) {
      socket.resume()
      await received.until((text) => text.includes('a part'))
    }
    if (how === 'the agent goes away') agent.destroy()
    else await vault.command(`/v1/entries/${service}/revoke`, { agents: ['coder'] })
    await endings()
    socket.resume()
    return (await received.over).how !== 'reset'
  }

await runAgainstVault(
  import.meta.url,
  Object.fromEntries(
    FRAMINGS.flatMap((framing) =>
      CUTS.map((how) => [`${framing}: ${how}`, attack(framing, how)] as const),
    ),
  ),
)
