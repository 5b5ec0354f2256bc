/** Does a flood that nobody reads leave the gateway's memory flat, on either side of a WebSocket? */
import type { Duplex } from 'node:stream'
import t from 'tap'
import { token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { clientFrame, serverFrame, upgrade, writeUntilStuck } from '../helpers/wire.ts'

const MEGABYTE = 1024 * 1024

/** A flood that is read may stand still for a while on a busy machine, in milliseconds. */
const PATIENCE_MS = 20_000

t.test('a flood of 250 MB that nobody reads waits at its source', async (t) => {
  const sockets: Duplex[] = []
  const service = await startUpstream(t, undefined, (request, socket) => {
    sockets.push(socket)
    socket.write(switchingProtocols(request))
  })
  const gateway = await serve(t, { GATEWAY_TERMINAL_URL: service.url })
  const auth = `Authorization: Bearer ${await token()}`
  const connect = async () => {
    const count = sockets.length
    const client = await upgrade(gateway.port, '/terminal/ws', [
      auth,
      'Sec-WebSocket-Protocol: tty',
    ])
    client.socket.removeAllListeners('data')
    await eventually(() => sockets.length === count + 1, 'switched')
    return { client: client.socket, service: sockets.at(-1) as Duplex }
  }
  const down = serverFrame(2, Buffer.alloc(60_000, 'down'))
  const up = clientFrame(2, Buffer.alloc(60_000, 'up'))

  const warm = await connect()
  let read = 0
  warm.client.on('data', (chunk: Buffer) => (read += chunk.length))
  warm.service.on('data', (chunk: Buffer) => (read += chunk.length))
  const passed =
    (await writeUntilStuck(warm.service, down, 150 * MEGABYTE, PATIENCE_MS)) +
    (await writeUntilStuck(warm.client, up, 150 * MEGABYTE, PATIENCE_MS))
  await eventually(() => read === passed, 'a flood that is read passes whole', PATIENCE_MS)
  t.ok(passed >= 300 * MEGABYTE)
  warm.client.destroy()

  const before = gateway.memory()
  const first = await connect()
  first.client.pause()
  const second = await connect()
  second.service.pause()
  const [toClient, toService] = await Promise.all([
    writeUntilStuck(first.service, down, 250 * MEGABYTE),
    writeUntilStuck(second.client, up, 250 * MEGABYTE),
  ])
  const growth = (gateway.memory() - before) / MEGABYTE
  t.ok(toClient < 40 * MEGABYTE, `the service waits after ${toClient / MEGABYTE} MB`)
  t.ok(toService < 40 * MEGABYTE, `the client waits after ${toService / MEGABYTE} MB`)
  t.ok(growth < 32, `the gateway grew by ${growth.toFixed(1)} MB`)

  // And it was only waiting: read on, and all of it arrives.
  let late = 0
  first.client.on('data', (chunk: Buffer) => (late += chunk.length)).resume()
  second.service.on('data', (chunk: Buffer) => (late += chunk.length)).resume()
  await eventually(() => late === toClient + toService, 'the rest arrives', PATIENCE_MS)
  first.client.destroy()
  second.client.destroy()
})

t.test('a hundred idle sockets cost little and stay open', async (t) => {
  const service = await startUpstream(t)
  const gateway = await serve(t, { GATEWAY_TERMINAL_URL: service.url })
  const before = gateway.memory()
  const files = gateway.openFiles()
  const clients: Duplex[] = []
  for (let i = 0; i < 120; i++) {
    const auth = `Authorization: Bearer ${await token({ subject: `user${i % 3}` })}`
    const { socket, answer } = await upgrade(gateway.port, '/terminal/ws', [
      auth,
      'Sec-WebSocket-Protocol: tty',
    ])
    t.equal(answer.status, 101)
    clients.push(socket)
  }
  const growth = (gateway.memory() - before) / MEGABYTE
  t.ok(growth < 96, `grew by ${growth.toFixed(1)} MB`)
  for (const socket of clients) socket.destroy()
  await eventually(() => gateway.openFiles() <= files + 2, 'all files closed')
})
