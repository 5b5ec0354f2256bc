/** Is a client that resets its connection before it is accepted nobody? The kernel still gives what it sent, but not its address. */
import { execFileSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { startWorkspace } from '../helpers/gateway.ts'
import { relayFor } from '../helpers/relay.ts'
import { eventually } from '../helpers/waiting.ts'

const CLIENTS = 20

/** Connects, sends a request and resets, for each client. Its arguments: the port and the request. */
const RESETTING = `
  const { connect } = require('node:net')
  const [port, request] = process.argv.slice(1)
  for (let i = 0; i < ${CLIENTS}; i++) {
    const socket = connect(Number(port), '127.0.0.1')
    socket.on('error', () => {})
    socket.on('connect', () => socket.write(request, () => socket.resetAndDestroy()))
  }
`

/**
 * Sends requests whose connections are reset before this process can accept them, because it waits for the clients to end.
 * @returns how many requests were read of clients whose address was lost, once all connections are closed
 */
async function readOfLostPeers(t: Test, port: number, lines: readonly string[]): Promise<number> {
  const accepted: Socket[] = []
  const lost = new Set<Socket>()
  let requests = 0
  const noteConnection = (message: unknown): void => {
    const { socket } = message as { socket: Socket }
    accepted.push(socket)
    if (socket.remoteAddress === undefined) lost.add(socket)
  }
  const noteRequest = (message: unknown): void => {
    if (lost.has((message as { socket: Socket }).socket)) requests++
  }
  subscribe('net.server.socket', noteConnection)
  subscribe('http.server.request.start', noteRequest)
  t.teardown(() => unsubscribe('net.server.socket', noteConnection))
  t.teardown(() => unsubscribe('http.server.request.start', noteRequest))
  execFileSync(process.execPath, ['-e', RESETTING, String(port), `${lines.join('\r\n')}\r\n\r\n`])
  await eventually(() => accepted.length >= CLIENTS, 'all are accepted')
  await eventually(() => accepted.every(({ destroyed }) => destroyed), 'all are closed')
  t.ok(lost.size > 0, 'the address of some is lost')
  return requests
}

t.test(
  'no forwarding field of a lost peer is believed, and no request of it is read',
  async (t) => {
    const { port, dials, logLines } = await startWorkspace(t, {
      GATEWAY_TRUSTED_PROXIES: '192.0.2.1',
    })
    const request = [
      'GET /lost HTTP/1.1',
      'Host: houston.hubify.com',
      'X-Forwarded-For: 203.0.113.9',
    ]
    t.equal(await readOfLostPeers(t, port, request), 0)
    t.same(
      logLines().filter(({ client }) => client === '203.0.113.9'),
      [],
    )
    t.equal(dials(), 0, 'no service was dialled')
  },
)

t.test('the relay reads no request of a lost peer', async (t) => {
  const { address } = await relayFor(t, { RELAY_TRUSTED_PROXIES: '192.0.2.1' })
  t.equal(await readOfLostPeers(t, address.port, ['GET /healthz HTTP/1.1', 'Host: relay']), 0)
})
