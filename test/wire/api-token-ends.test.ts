/** Does everything that hangs on an API token end with it, soon and properly, and nothing else? */
import { once } from 'node:events'
import t from 'tap'
import type { MadeApiToken } from '../../src/identity/api-tokens.ts'
import { startPairs } from '../helpers/socket-pairs.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, open, requestBytes, serverFrame, type Upgraded } from '../helpers/wire.ts'

/** The contract: whatever a session has open ends this soon after it, in milliseconds. */
const SOON_ENOUGH_MS = 2000

/** The code of the close frame that came last. */
function closeCode({ received }: Upgraded): number | undefined {
  const bytes = received()
  for (let at = bytes.length - 4; at >= 0; at--) {
    const length = bytes[at + 1] ?? 0
    if (bytes[at] === 0x88 && at + 2 + length === bytes.length) return bytes.readUInt16BE(at + 2)
  }
  return undefined
}

const bearer = ({ token }: MadeApiToken) => `Authorization: Bearer ${token}`

const ENDS: ReadonlyArray<
  readonly [
    what: string,
    end: (gateway: Awaited<ReturnType<typeof startPairs>>, made: MadeApiToken) => void,
  ]
> = [
  ['is revoked', ({ running }, { apiToken }) => void running.parts.apiTokens.revoke(apiToken)],
  [
    'is found in a leak',
    ({ running }, { token }) => void running.parts.apiTokens.revokeLeaked(token),
  ],
  [
    'is rotated without overlap',
    ({ running }, { apiToken }) => void running.parts.apiTokens.rotate(apiToken, 0),
  ],
  [
    'is rotated, and its overlap is over',
    ({ running }, { apiToken }) => void running.parts.apiTokens.rotate(apiToken, 300),
  ],
]

for (const [what, end] of ENDS)
  t.test(`when a token ${what}, its sockets close with 4401 and its streams end`, async (t) => {
    const gateway = await startPairs(t)
    const { apiTokens } = gateway.running.parts
    const { server } = gateway.service
    server.removeAllListeners('request')
    server.on('request', (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write('data: begin\n\n')
    })
    const make = (name: string) =>
      apiTokens.create({
        name,
        subject: 'alice',
        scopes: ['api', 'terminal'],
        expiresAt: undefined,
      })
    const [mine, other] = [make('mine'), make('other')]
    /** A terminal, a WebSocket of the API and an event stream of a token. */
    const openAll = async (made: MadeApiToken) => {
      const sockets = [
        await gateway.connect(bearer(made)),
        await gateway.connect(bearer(made), '/api/ws'),
      ]
      const socket = await open(gateway.port)
      const stream = gather(socket)
      socket.write(requestBytes('GET /api/events', [bearer(made)]))
      await stream.until((text) => text.includes('begin'))
      for (const { client } of sockets) client.socket.on('end', () => client.socket.end())
      return { sockets, stream, socket }
    }
    const ending = await openAll(mine)
    const lasting = await openAll(other)
    const begun = performance.now()
    end(gateway, mine)
    await Promise.all([...ending.sockets.map(({ client }) => client.closed), ending.stream.over])
    t.ok(performance.now() - begun < SOON_ENOUGH_MS + 500, `${performance.now() - begun} ms`)
    for (const { client } of ending.sockets) t.equal(closeCode(client), 4401)
    const refused = await gateway.connect(bearer(mine))
    t.equal(refused.client.answer.status, 401, 'and the token opens nothing more')
    for (const { client, service } of lasting.sockets) {
      const seen = client.received().length
      service.write(serverFrame(1, 'still here'))
      await client.until(seen + 12)
      t.equal(client.socket.destroyed, false)
    }
    t.equal(lasting.socket.destroyed, false, 'another token’s stream goes on')
    for (const { client } of lasting.sockets) client.socket.destroy()
    lasting.socket.destroy()
    await gateway.settled()
  })

t.test('a socket ends soon after its token has expired', async (t) => {
  const gateway = await startPairs(t)
  const expiresAt = Date.now() + 1500
  const made = gateway.running.parts.apiTokens.create({
    name: 'short',
    subject: 'alice',
    scopes: ['terminal'],
    expiresAt,
  })
  const { client } = await gateway.connect(bearer(made))
  t.equal(client.answer.status, 101)
  client.socket.on('end', () => client.socket.end())
  await client.closed
  const late = Date.now() - expiresAt
  t.ok(late >= 0 && late < SOON_ENOUGH_MS + 500, `${late} ms after its end`)
  t.equal(closeCode(client), 4401)
  await gateway.settled()
})

t.test('a token that is revoked while the service thinks opens nothing', async (t) => {
  const gateway = await startPairs(t)
  const { apiTokens } = gateway.running.parts
  const made = apiTokens.create({
    name: 'a',
    subject: 'alice',
    scopes: ['api'],
    expiresAt: undefined,
  })
  const { server } = gateway.service
  const [accept] = server.listeners('upgrade')
  server.removeAllListeners('upgrade')
  const arrived = once(server, 'upgrade')
  const connecting = gateway.connect(bearer(made), '/api/ws')
  const handshake = await arrived
  apiTokens.revoke(made.apiToken)
  accept?.(...handshake)
  const { client } = await connecting
  await client.closed
  t.equal(closeCode(client), 4401)
  await eventually(() => gateway.running.parts.openSockets.size === 0, 'it is gone')
})
