/** Does only a client with the password reach a ttyd that has none? A real WebSocket server stands in for ttyd. */
import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { startTerminalGate } from '../../embedded/terminal-gate.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'
import { clientFrame } from '../helpers/wire.ts'
import { BASIC, CREDENTIAL, dial, openShell, refusal, TOKEN } from './terminal-client.ts'

const PAGE = `<title>ttyd</title>${'x'.repeat(300_000)}`

/** A ttyd that echoes its input as output, and the gate in front of it. */
async function gate(t: Test) {
  const folder = temporaryFolder(t)
  const requests: IncomingMessage[] = []
  const messages: string[] = []
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tty' })
  let connections = 0
  const ttyd = createServer((request, response) => {
    requests.push(request)
    response.setHeader('content-type', 'text/html')
    response.setHeader('server', 'ttyd/1.7.7')
    response.end(PAGE)
  })
  ttyd.on('connection', () => connections++)
  ttyd.on('upgrade', (request, socket, head) => {
    requests.push(request)
    sockets.handleUpgrade(request, socket, head, (ws) => sockets.emit('connection', ws))
  })
  sockets.on('connection', (socket: WebSocket) => {
    socket.on('error', () => socket.terminate())
    socket.on('message', (data: Buffer) => {
      messages.push(data.toString('latin1', 0, 40))
      if (data[0] === 0x30) socket.send(data)
    })
  })
  const path = join(folder, 'ttyd.sock')
  ttyd.listen(path)
  await once(ttyd, 'listening')
  const socketPath = join(folder, 'gate.sock')
  const { url, close } = await startTerminalGate(CREDENTIAL, socketPath, path)
  t.teardown(async () => {
    await close()
    for (const socket of sockets.clients) socket.terminate()
    ttyd.closeAllConnections()
    ttyd.close()
  })
  return { url, close, socketPath, ttyd, sockets, requests, messages, dialled: () => connections }
}

/** Requests a page from the gate. */
async function get(socketPath: string, path: string, headers: Record<string, string> = BASIC) {
  const request = httpRequest({ socketPath, path, headers, agent: false })
  request.end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  return { answer, text: Buffer.concat(await answer.toArray()).toString() }
}

t.test('without the password, no request reaches ttyd', async (t) => {
  const { url, socketPath, dialled } = await gate(t)
  const wrong = [
    '',
    'Basic',
    `basic ${TOKEN}`,
    `Basic ${TOKEN}=`,
    `Bearer ${TOKEN}`,
    `Basic ${Buffer.from('user:wrong').toString('base64')}`,
  ]
  for (const authorization of wrong) {
    const headers: Record<string, string> = authorization === '' ? {} : { authorization }
    for (const path of ['/terminal', '/terminal/', '/terminal/token', '/terminal/%74oken', '/']) {
      const { answer, text } = await get(socketPath, path, headers)
      t.equal(answer.statusCode, 401, `${path} with ${authorization}`)
      t.equal(answer.headers['www-authenticate'], 'Basic realm="ttyd"')
      t.equal(text, '')
    }
    t.equal((await refusal(dial(t, url, { headers }))).statusCode, 401)
  }
  t.equal((await refusal(dial(t, url, { path: '/terminal/w' }))).statusCode, 404)
  t.equal((await refusal(dial(t, url, { protocols: ['foo'] }))).statusCode, 400)
  t.equal(dialled(), 0)
})

t.test(
  "with the password, there are ttyd's page and a token that ttyd itself does not know",
  async (t) => {
    const { socketPath, requests } = await gate(t)
    const { answer, text } = await get(socketPath, '/terminal/', {
      ...BASIC,
      'accept-encoding': 'gzip',
    })
    t.equal(answer.statusCode, 200)
    t.equal(answer.headers['content-type'], 'text/html')
    t.equal(text, PAGE)
    t.same(JSON.parse((await get(socketPath, '/terminal/token')).text), { token: TOKEN })
    t.match((await get(socketPath, '/terminal')).answer, {
      statusCode: 302,
      headers: { location: '/terminal/' },
    })
    t.equal((await get(socketPath, '/terminal/other')).answer.statusCode, 404)
    t.equal(requests.length, 1, 'the page alone comes from ttyd')
    t.equal(requests[0]?.headers.authorization, undefined)
    t.equal(requests[0]?.headers['accept-encoding'], 'gzip')
  },
)

t.test(
  'a WebSocket with the password and the token passes all bytes in both directions',
  async (t) => {
    const { url, requests, messages } = await gate(t)
    const shell = await openShell(t, url, { perMessageDeflate: true })
    const long = 'y'.repeat(3_000_000)
    shell.type(long)
    shell.type('end')
    t.equal(await shell.outputMatching(/end$/), `${long}end`)
    t.match(messages[0], `{"AuthToken":"${TOKEN}"`, 'ttyd reads the size of the window in it')
    const { headers } = requests[0] as IncomingMessage
    t.equal(headers.authorization, undefined)
    t.equal(headers['sec-websocket-extensions'], undefined, 'the first message is readable')
    t.equal(headers['sec-websocket-protocol'], 'tty')
    shell.socket.close()
    await once(shell.socket, 'close')
  },
)

const HANDSHAKE = [
  'GET /terminal/ws HTTP/1.1',
  'Host: localhost',
  `Authorization: Basic ${TOKEN}`,
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: tty',
  '',
  '',
].join('\r\n')

/** Sends a handshake with the password on a plain socket, followed by these bytes. */
function raw(t: Test, socketPath: string, bytes: Buffer): { socket: Socket; read: () => Buffer } {
  const socket = connect(socketPath)
  let read = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => (read = Buffer.concat([read, chunk])))
  socket.on('error', () => socket.destroy())
  t.teardown(() => socket.destroy())
  socket.write(Buffer.concat([Buffer.from(HANDSHAKE), bytes]))
  return { socket, read: () => read }
}

const FIRST = JSON.stringify({ AuthToken: TOKEN, columns: 80, rows: 24 })

t.test('a first message without the right token reaches no shell', async (t) => {
  const { socketPath, messages } = await gate(t)
  const unmasked = Buffer.concat([Buffer.from([0x82, FIRST.length]), Buffer.from(FIRST)])
  const compressed = clientFrame(2, FIRST)
  compressed[0] = 0xc2
  const fragment = clientFrame(2, FIRST)
  fragment[0] = 0x02
  const firsts = {
    'a wrong token': clientFrame(2, FIRST.replace(TOKEN, 'AAAA')),
    'an empty token': clientFrame(2, '{"AuthToken":"","columns":80,"rows":24}'),
    'no token': clientFrame(2, '{"columns":80,"rows":24}'),
    'a list': clientFrame(2, JSON.stringify({ AuthToken: [TOKEN] })),
    null: clientFrame(2, 'null'),
    'input at once': clientFrame(2, '0id\r'),
    nothing: clientFrame(2, ''),
    'a ping': clientFrame(9, ''),
    'no mask': unmasked,
    compression: compressed,
    'a fragment': fragment,
    'too much': clientFrame(2, FIRST + ' '.repeat(5000)),
    'a length of 64 bits': Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]),
    'an HTTP request': Buffer.from('GET /terminal/ws HTTP/1.1\r\n\r\n'),
  }
  for (const [what, first] of Object.entries(firsts)) {
    const { socket, read } = raw(t, socketPath, Buffer.concat([first, clientFrame(2, '0id\r')]))
    await once(socket, 'close')
    t.ok(read().includes(Buffer.from([0x03, 0xf0])), `1008 after ${what}`)
  }
  t.same(messages, [])
})

t.test('the first message may arrive in pieces', async (t) => {
  const { socketPath, messages, sockets } = await gate(t)
  const { socket } = raw(t, socketPath, Buffer.alloc(0))
  socket.setNoDelay(true)
  // The message is longer than 125 bytes, so its length is in the two bytes after the first two.
  for (const byte of clientFrame(2, FIRST.padEnd(200))) {
    socket.write(Buffer.from([byte]))
    await new Promise(setImmediate)
  }
  await eventually(() => messages.length === 1, 'the message')
  t.equal(messages[0], FIRST.slice(0, 40))
  socket.destroy()
  await eventually(() => sockets.clients.size === 0, 'a browser that leaves takes its shell along')
})

t.test('when ttyd has ended, requests get a 502 and its connections are closed', async (t) => {
  const { url, socketPath, ttyd, sockets } = await gate(t)
  const shell = await openShell(t, url)
  const ended = once(shell.socket, 'close')
  for (const socket of sockets.clients) socket.terminate()
  t.equal((await ended)[0], 1006)
  ttyd.close()
  await once(ttyd, 'close')
  t.equal((await get(socketPath, '/terminal/')).answer.statusCode, 502)
  const refused = dial(t, url)
  await new Promise((resolve) => refused.once('close', resolve))
})

t.test('closing the gate closes the connections on both sides', async (t) => {
  const { url, close, sockets } = await gate(t)
  const shell = await openShell(t, url)
  shell.type('x')
  await shell.outputMatching(/x/)
  const ended = once(shell.socket, 'close')
  await close()
  await ended
  await eventually(() => sockets.clients.size === 0, "ttyd's side is closed")
})
