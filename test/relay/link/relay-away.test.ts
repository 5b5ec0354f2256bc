/** Does the link say why its relay is away, in its status and its log, so that an owner knows what to mend? */
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { relayProblem } from '../../../src/relay/link/relay-problem.ts'
import { RELAY_CLOSE } from '../../../src/relay/protocol/relay-wire.ts'
import { linkFor, targetFor } from '../../helpers/link.ts'
import { until } from '../../helpers/waiting.ts'

async function portOf(t: Test, server: Server | HttpServer): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** What a link with this relay says. */
async function problemWith(t: Test, relay: string): Promise<{ problem: string; log: string }> {
  const target = await targetFor(t)
  const link = await linkFor(t, relay, { LINK_TARGET: target.url })
  const problem = await until('it has failed', async () => (await link.status()).problem)
  t.equal(target.sockets.length, 0)
  return { problem, log: link.log() }
}

const answers = (status: number) =>
  createHttpServer((_request, response) => void response.writeHead(status).end('secret words'))

t.test('why a relay is away is in the status and in the log', async (t) => {
  const plain = await portOf(t, answers(404))
  const rows: Array<[relay: string, problem: RegExp]> = [
    ['ws://127.0.0.1:1', /nothing listens there; start the relay.*LINK_RELAY_URL.*ECONNREFUSED/],
    [`ws://127.0.0.1:${plain}`, /HTTP 404 instead of a WebSocket.*LINK_RELAY_URL/],
    [`ws://127.0.0.1:${await portOf(t, answers(200))}`, /HTTP 200 instead of a WebSocket/],
    [
      `ws://127.0.0.1:${await portOf(t, answers(301))}`,
      /LINK_RELAY_URL must be the address to which/,
    ],
    [`ws://127.0.0.1:${await portOf(t, answers(429))}`, /too many connections/],
    [`ws://127.0.0.1:${await portOf(t, answers(502))}`, /behind its proxy may be down/],
    [`wss://localhost:${plain}`, /speaks no TLS/],
    [
      `ws://127.0.0.1:${await portOf(
        t,
        createServer((socket) => void socket.end('SSH-2.0-secret words\r\n')),
      )}`,
      /what answers there is no relay/,
    ],
  ]
  for (const [relay, pattern] of rows) {
    const { problem, log } = await problemWith(t, relay)
    t.match(problem, pattern, relay)
    t.notMatch(problem, 'secret words')
    t.ok(log.includes(JSON.stringify(problem)), 'the log has the same')
  }
})

t.test('names, certificates and other failures have their words', async (t) => {
  const rows: Array<[code: string, text: RegExp]> = [
    ['ENOTFOUND', /LINK_RELAY_URL has no address.*ENOTFOUND/],
    ['EAI_AGAIN', /DNS/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /NODE_EXTRA_CA_CERTS/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /NODE_EXTRA_CA_CERTS/],
    ['CERT_HAS_EXPIRED', /expired, or the clock/],
    ['CERT_NOT_YET_VALID', /clock/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /another host/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', /no TLS/],
    ['EPIPE', /cannot be reached \(EPIPE\)/],
  ]
  for (const [code, text] of rows)
    t.match(relayProblem(Object.assign(new Error('secret words'), { code }), 1006), text)
  t.match(relayProblem(new Error('secret words'), 1006), /no relay/)
  t.match(relayProblem(undefined, 1006), /was cut \(closed with 1006\)/)
  t.match(relayProblem(undefined, RELAY_CLOSE.restart), /restarts/)
})
