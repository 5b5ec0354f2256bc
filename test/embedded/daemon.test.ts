/** Does the stand-in of Hubcode's daemon have the daemon's doors: a port, a socket file, and its own lists of hosts and origins? */
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { startDaemon, type DaemonOptions } from '../../embedded/daemon.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { open, send, upgrade } from '../helpers/wire.ts'

const NO_LISTS = { allowedHosts: [], allowedOrigins: [] }

async function start(t: Test, options: Partial<DaemonOptions> = {}) {
  const daemon = await startDaemon({ lists: NO_LISTS, port: 0, ...options })
  t.teardown(daemon.close)
  return { ...daemon, port: Number(new URL(daemon.url).port) }
}

t.test('it answers on its port, over HTTP and WebSocket', async (t) => {
  const { url, port } = await start(t)
  t.equal(new URL(url).hostname, '127.0.0.1')
  t.match(await (await fetch(`${url}/api/health`)).json(), { status: 'ok' })
  t.match(await (await fetch(url)).json(), { name: /stand-in/ })
  t.equal((await fetch(`${url}/nope`)).status, 404)
  const echo = await fetch(`${url}/api/echo`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"a":1}',
  })
  t.match(await echo.json(), { body: { a: 1 } })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
  await once(socket, 'open')
  socket.send('hello')
  t.equal(String((await once(socket, 'message'))[0]), 'hello')
  socket.terminate()
  t.equal((await upgrade(port, '/elsewhere', ['Host: localhost'])).answer.status, 404)
})

t.test('the socket file is for its owner alone, and goes with the daemon', async (t) => {
  const socket = join(temporaryFolder(t), 'daemon.sock')
  const daemon = await startDaemon({ lists: NO_LISTS, port: 0, socket })
  t.equal(daemon.socket, socket)
  t.equal(statSync(socket).mode & 0o777, 0o600)
  const client = await open(socket)
  client.end('GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  t.match((await client.toArray()).join(''), /^HTTP\/1\.1 200 .*"status":"ok"/s)
  await daemon.close()
  t.notOk(existsSync(socket))
})

t.test('a port that another program has is left to it', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const daemon = await start(t, { port })
  t.not(daemon.port, port)
  t.equal((await fetch(`${daemon.url}/api/health`)).status, 200)
})

t.test('two daemons with one socket file: the second has its port alone', async (t) => {
  const socket = join(temporaryFolder(t), 'daemon.sock')
  t.equal((await start(t, { socket })).socket, socket)
  const second = await start(t, { socket })
  t.equal(second.socket, undefined)
  t.equal((await fetch(`${second.url}/api/health`)).status, 200)
  const missing = await start(t, { socket: join(temporaryFolder(t), 'none', 'daemon.sock') })
  t.equal(missing.socket, undefined)
})

t.test('a host or origin that its lists do not have is refused, for WebSockets too', async (t) => {
  const lists = { allowedHosts: ['.example.com'], allowedOrigins: ['https://app.example.org'] }
  const { port } = await start(t, { lists })
  const rows: Array<[lines: string[], status: number]> = [
    [['Host: localhost'], 200],
    [['Host: 127.0.0.1:6767'], 200],
    [['Host: a.example.com'], 200],
    [['Host: evil.test'], 421],
    [['Host: badexample.com'], 421],
    [['Host: localhost', 'Origin: http://localhost'], 200],
    [['Host: localhost', 'Origin: https://app.example.org'], 200],
    [['Host: localhost', 'Origin: https://evil.test'], 403],
    [['Host: localhost', 'Origin: http://localhost:1'], 403],
  ]
  for (const [lines, status] of rows) {
    t.equal((await send(port, 'GET /api/health', lines)).status, status, lines.join(', '))
    const shaken = await upgrade(port, '/ws', lines)
    t.equal(shaken.answer.status, status === 200 ? 101 : status, lines.join(', '))
    shaken.socket.destroy()
  }
  const answer = await send(port, 'GET /', ['Host: localhost', 'Origin: https://app.example.org'])
  t.equal(answer.headers['access-control-allow-origin'], 'https://app.example.org')
})
