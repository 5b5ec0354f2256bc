/** Does the port of `exec` relay requests byte for byte and at once, and nothing but requests for the leased services? */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { request, type IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { startClientRelay } from '../../src/vault/client-relay.ts'
import { startFakeVault } from '../helpers/fake-vault.ts'
import { eventually, openFiles } from '../helpers/waiting.ts'

async function startRelay(t: Test, services = ['github']) {
  const vault = await startFakeVault(t)
  const relay = await startClientRelay(vault.socket, services)
  t.teardown(() => relay.close().catch(() => {}))
  const baseUrl = relay.baseUrl('github')
  return { vault, relay, baseUrl, port: Number(new URL(baseUrl).port) }
}

/** Sends text on a connection, and collects what comes back. */
function open(t: Test, port: number, sent: string): { socket: Socket; got: () => string } {
  let got = ''
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.setEncoding('latin1').on('data', (piece: string) => (got += piece))
  socket.write(sent)
  t.teardown(() => socket.destroy())
  return { socket, got: () => got }
}

t.test('a request goes on as it is, and so does the answer', async (t) => {
  const { vault, baseUrl } = await startRelay(t)
  let seen: IncomingMessage | undefined
  let body = ''
  vault.onRequest = (incoming, response) => {
    seen = incoming
    const answerIt = async () => {
      body = await text(incoming)
      response.writeHead(207, 'So So', ['X-Twice', 'a', 'X-Twice', 'b', 'Content-Length', '2'])
      response.end('ok')
    }
    void answerIt()
  }
  const headers = {
    authorization: 'Bearer hvl_1',
    'X-Case': 'y',
    connection: 'x-gone',
    'x-gone': '1',
  }
  const sent = request(`${baseUrl}/repos/a%20b?q=%2F`, { method: 'PATCH', headers })
  sent.end('hello')
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  t.equal(seen?.url, '/s/github/repos/a%20b?q=%2F')
  t.equal(seen?.method, 'PATCH')
  t.match(seen?.headers, { authorization: 'Bearer hvl_1', host: new URL(baseUrl).host })
  t.ok(seen?.rawHeaders.includes('X-Case'))
  t.notOk('x-gone' in (seen?.headers ?? {}), 'what Connection names ends here')
  t.equal(body, 'hello')
  t.equal(answer.statusCode, 207)
  t.equal(answer.statusMessage, 'So So')
  t.same(answer.rawHeaders.slice(0, 4), ['X-Twice', 'a', 'X-Twice', 'b'])
  t.equal(await text(answer), 'ok')
})

t.test('a HEAD request and a POST without a body keep their framing', async (t) => {
  const { vault, baseUrl } = await startRelay(t)
  const seen: Array<Record<string, unknown>> = []
  vault.onRequest = (incoming, response) => {
    seen.push(incoming.headers)
    response.writeHead(200, { 'Content-Length': 5 })
    response.end(incoming.method === 'HEAD' ? undefined : 'hello')
  }
  const head = await fetch(`${baseUrl}/a`, { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), '5')
  t.equal(await (await fetch(`${baseUrl}/a`, { method: 'POST' })).text(), 'hello')
  t.notOk('transfer-encoding' in (seen[1] ?? {}))
})

t.test('heads and events are not delayed, in either direction', async (t) => {
  const { vault, baseUrl } = await startRelay(t)
  const uploaded: string[] = []
  vault.onRequest = (incoming, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders()
    incoming.setEncoding('utf8').on('data', (piece: string) => {
      uploaded.push(piece)
      response.write(`data: ${piece}\n\n`)
    })
    incoming.on('end', () => response.end())
  }
  const sent = request(`${baseUrl}/stream`, { method: 'POST' })
  sent.flushHeaders()
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  let got = ''
  answer.setEncoding('utf8').on('data', (piece: string) => (got += piece))
  sent.write('one')
  await eventually(() => got === 'data: one\n\n', 'the first event, while the request is open')
  sent.write('two')
  await eventually(() => got.endsWith('data: two\n\n'), 'the second event')
  sent.end()
  await once(answer, 'end')
  t.same(uploaded, ['one', 'two'])
})

t.test('only requests for the leased services pass, whatever the spelling', async (t) => {
  const { vault, port } = await startRelay(t)
  let count = 0
  vault.onRequest = (_, response) => {
    count++
    response.end()
  }
  const refused = [
    '/v1/leases',
    '/',
    '/s/githubx/a',
    '/s/other/a',
    '/s/github/../../v1/leases',
    '/s/github/..;/..;/v1/leases',
    '/s/github/%2e%2e/%2e%2e/v1/leases',
    '/s/github/%252e%252e/a',
    '/s/github/..%2f..%2fv1/leases',
    '/s/github/..%5c..%5cv1/leases',
    '//s/github/a',
    'http://127.0.0.1/s/github/a',
    '/S/github/a',
  ]
  for (const target of refused) {
    const close = 'Host: localhost\r\nConnection: close\r\n'
    for (const method of ['GET', 'POST']) {
      const one = open(t, port, `${method} ${target} HTTP/1.1\r\n${close}\r\n`)
      await once(one.socket, 'close')
      t.match(one.got(), /^HTTP\/1\.1 404 [^]*X-Vault-Error: not-found/, target)
      t.match(one.got(), 'without dot segments', 'what is wrong with half of them')
    }
    const handshake = `Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    const one = open(t, port, `GET ${target} HTTP/1.1\r\n${handshake}\r\n`)
    await once(one.socket, 'close')
    t.match(one.got(), /^HTTP\/1\.1 404 /, target)
  }
  t.equal(count, 0)
  t.same(vault.asked, [], 'and nobody gets a lease through the port')
  const [passed] = await Promise.all([fetch(`http://127.0.0.1:${port}/s/github?x=/../`)])
  t.equal(passed.status, 200)
})

t.test('a page of a browser reaches neither the vault nor a service', async (t) => {
  const { vault, port } = await startRelay(t)
  let count = 0
  vault.onRequest = (_, response) => void response.end(String(count++))
  const handshake = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
  for (const fields of [
    'Host: evil.example\r\n',
    'Host: localhost\r\nHost: evil.example\r\n',
    'Host: localhost\r\nOrigin: https://evil.example\r\n',
    'Host: localhost\r\nSec-Fetch-Site: cross-site\r\n',
  ])
    for (const more of ['Connection: close\r\n', handshake]) {
      const one = open(t, port, `GET /s/github/a HTTP/1.1\r\n${fields}${more}\r\n`)
      await once(one.socket, 'close')
      t.match(one.got(), /^HTTP\/1\.1 400 /, fields)
    }
  t.equal(count, 0)
})

t.test('a WebSocket is relayed in both directions, also what comes early', async (t) => {
  const { vault, port } = await startRelay(t)
  vault.onUpgrade = (incoming, tunnel, head) => {
    tunnel.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: ${incoming.headers['sec-websocket-key']}\r\n\r\nearly`,
    )
    tunnel.write(head)
    tunnel.pipe(tunnel)
  }
  const { socket, got } = open(
    t,
    port,
    'GET /s/github/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n<first>',
  )
  await eventually(() => got().includes('<first>'), 'what was sent with the handshake')
  t.match(got(), /^HTTP\/1\.1 101 Switching Protocols\r\n[^]*X-Key: k\r\n[^]*\r\n\r\nearly<first>$/)
  socket.write('<more>')
  await eventually(() => got().endsWith('<more>'), 'an echo')
  socket.destroy()
})

t.test(
  'a refused handshake is an ordinary answer, and an offer of HTTP/2 is ignored',
  async (t) => {
    const { vault, port } = await startRelay(t)
    vault.onUpgrade = (_, tunnel) =>
      void tunnel.end(
        'HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nX-Vault-Error: upgrade-not-allowed\r\n\r\n2\r\nno\r\n0\r\n\r\n',
      )
    const one = open(
      t,
      port,
      'GET /s/github/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    )
    await once(one.socket, 'close')
    t.match(
      one.got(),
      /^HTTP\/1\.1 403 Forbidden\r\nX-Vault-Error: upgrade-not-allowed\r\n[^]*\r\n\r\nno$/,
    )
    const two = open(
      t,
      port,
      'POST /s/github/a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi',
    )
    await once(two.socket, 'close')
    t.match(two.got(), /^HTTP\/1\.1 200 OK[^]*from the service/)
  },
)

t.test('an answer that breaks off does not look complete', async (t) => {
  const { vault, baseUrl } = await startRelay(t)
  vault.onRequest = (_, response) => {
    response.write('half')
    response.socket?.destroySoon()
  }
  const answer = await fetch(`${baseUrl}/a`)
  await t.rejects(answer.text())
})

t.test('who goes away ends the request behind it', async (t) => {
  const { vault, port } = await startRelay(t)
  let isOpen = false
  vault.onRequest = (_, response) => {
    isOpen = true
    response.write('begun')
    response.on('close', () => (isOpen = false))
  }
  const { socket, got } = open(t, port, 'GET /s/github/a HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await eventually(() => got().includes('begun'), 'the beginning')
  socket.destroy()
  await eventually(() => !isOpen, 'the request behind it ends')
  t.notOk(isOpen)
})

t.test('without the vault a request and a handshake get a problem document', async (t) => {
  const { vault, baseUrl, port } = await startRelay(t)
  await vault.stop()
  const answer = await fetch(`${baseUrl}/a`, { method: 'POST', body: 'x'.repeat(1_000_000) })
  t.equal(answer.status, 502)
  t.equal(answer.headers.get('x-vault-error'), 'vault-unreachable')
  t.match(await answer.json(), { code: 'vault-unreachable', status: 502 })
  const handshake = 'Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
  const one = open(t, port, `GET /s/github/ws HTTP/1.1\r\n${handshake}\r\n`)
  await once(one.socket, 'close')
  t.match(one.got(), /^HTTP\/1\.1 502 /)
})

t.test('the end closes the port and every connection', async (t) => {
  const before = openFiles()
  const { vault, relay, port } = await startRelay(t)
  vault.onRequest = (_, response) => void response.write('begun')
  vault.onUpgrade = (_, tunnel) => {
    tunnel.write('HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    tunnel.pipe(tunnel)
  }
  const handshake = 'Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
  const all = [
    open(t, port, 'GET /s/github/a HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    open(t, port, `GET /s/github/ws HTTP/1.1\r\n${handshake}\r\n`),
  ]
  await eventually(() => all.every(({ got }) => got() !== ''), 'both have begun')
  const closed = all.map(({ socket }) => once(socket, 'close'))
  await relay.close()
  await Promise.all(closed)
  await vault.stop()
  await eventually(() => openFiles() <= before, 'no file descriptor is left')
  const late = connect(port, '127.0.0.1')
  t.match(await once(late, 'error'), [{ code: 'ECONNREFUSED' }])
})
