/** Does a rotation disturb the requests that run? An agent asks all the time, and the owner gives new credentials in between. */
import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { startRunningVault } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { elapse, eventually } from '../helpers/waiting.ts'

const ROTATIONS = 20
const CLIENTS = 10
const PAUSE_MS = 200 // ten clients make 50 requests a second

const credential = (version: number) => `ghp_credential-number-${version}-of-the-test`

t.test('credentials are rotated under 50 requests a second, and no request fails', async (t) => {
  // The service takes the newest credential, and earlier ones for a while, as services do: on a busy machine a request may be late.
  let newest = 1
  const used: number[] = []
  const { url } = await startUpstream(t, (asked, response) => {
    const version = Array.from({ length: 5 }, (_, i) => newest - i).find(
      (one) => asked.headers.authorization === `Bearer ${credential(one)}`,
    )
    if (version !== undefined) used.push(version)
    response.writeHead(version === undefined ? 401 : 200).end()
  })
  const vault = await startRunningVault(t)
  await vault.add(url, { value: credential(1) })
  const lease = await vault.lease()
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())

  const statuses: number[] = []
  const load = { isOver: false }
  const client = async () => {
    while (!load.isOver) {
      statuses.push(await statusOf(agent, vault.coder, lease))
      await elapse(PAUSE_MS, 'the load is 50 requests a second')
    }
  }
  const clients = Array.from({ length: CLIENTS }, client)
  for (let version = 2; version <= ROTATIONS + 1; version++) {
    newest = version
    // Of an overlap nothing is seen here. The vault then masks the credential before, too.
    const overlap = version % 2 === 0 ? 600 : 0
    await vault.command('/v1/entries/github/rotate', { value: credential(version), overlap })
    await eventually(() => used.includes(version), 'a request has the new credential')
  }
  load.isOver = true
  await Promise.all(clients)
  t.same(
    statuses.filter((status) => status !== 200),
    [],
    'every request succeeded',
  )
  t.equal(used.length, statuses.length, 'each was made once')
  t.same(
    [...new Set(used)].toSorted((a, b) => a - b),
    Array.from({ length: ROTATIONS + 1 }, (_, i) => i + 1),
    'each credential was used',
  )
  t.ok(statuses.length >= ROTATIONS, `${statuses.length} requests`)
})

/** Asks once. A connection that fails rejects, which fails the test. */
async function statusOf(agent: Agent, socketPath: string, lease: string): Promise<number> {
  const asked = request({
    ...{ agent, socketPath, path: '/s/github/x' },
    headers: { authorization: `Bearer ${lease}` },
  })
  asked.end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  answer.resume()
  await once(answer, 'end')
  return answer.statusCode ?? 0
}

t.test(
  'idle connections to the service are closed by the time the owner is answered',
  async (t) => {
    let count = 0
    const { url, server } = await startUpstream(t)
    server.on('connection', (socket: Socket) => {
      count++
      socket.on('close', () => count--)
    })
    const vault = await startRunningVault(t)
    await vault.add(url)
    const lease = await vault.lease()
    const agent = new Agent()
    for (const [path, body] of [
      ['rotate', { value: credential(2) }],
      ['revoke', { agents: ['coder'] }],
    ] as const) {
      t.equal(await statusOf(agent, vault.coder, lease), 200)
      t.equal(count, 1)
      await vault.command(`/v1/entries/github/${path}`, body)
      await vault.command('/v1/status') // a way there and back, behind the end of the connection
      t.equal(count, 0, path)
    }
  },
)
