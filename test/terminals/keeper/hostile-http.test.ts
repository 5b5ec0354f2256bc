/** What does the keeper do with HTTP that no gateway sends? It refuses it, asks ttyd nothing that it need not, and goes on. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import {
  CREDENTIAL,
  openShell,
  openTerminal,
  refusalOf,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
  tokenOf,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { startRawUpstream, startUpstream } from '../../helpers/upstream.ts'
import { elapse, eventually, watchForCrashes } from '../../helpers/waiting.ts'
import { gather } from '../../helpers/wire.ts'

const crashes = watchForCrashes()

/** Sends bytes to a Unix socket. @returns what came until the connection ended, or `want` came */
async function talk(path: string, bytes: string, want?: RegExp): Promise<string> {
  const socket: Socket = connect(path)
  socket.on('error', () => socket.destroy())
  await once(socket, 'connect')
  const received = gather(socket)
  socket.write(bytes, 'latin1')
  const text =
    want === undefined ? (await received.over).text : await received.until((so) => want.test(so))
  socket.destroy()
  return text
}

const HANDSHAKE = [
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: tty',
  `Authorization: ${basic(CREDENTIAL)}`,
  'X-Workspace-Session: session-1',
  'X-Workspace-User: alice',
].join('\r\n')

t.test('requests to its own paths that are none of its actions', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { shell } = await openShell(t, keeper, ttyd)
  const dials = ttyd.dials()
  for (const [method, path] of [
    ['POST', '/_ready'],
    ['DELETE', '/_ready'],
    ['POST', '/_terminals'],
    ['DELETE', '/_terminals'],
    ['DELETE', '/_terminals/'],
    ['DELETE', '/_terminals?sid='],
    ['PUT', '/_terminals'],
    ['PUT', '/_terminals?sid=&ends=1'],
    ['PUT', '/_terminals?sid=session-1&ends=0'],
    ['PUT', '/_terminals?sid=session-1&ends=-1'],
    ['PUT', '/_terminals?sid=session-1&ends=soon'],
    ['PUT', '/_terminals/x?sid=session-1&ends=1'],
    ['GET', '/_terminals/x'],
    ['PATCH', '/_terminals?sid=session-1'],
    ['OPTIONS', '/_terminals'],
  ] as const)
    t.equal((await keeper.ask(method, path)).status, 400, `${method} ${path}`)
  for (const path of [
    '/_terminals/%',
    '/_terminals/%zz',
    '/_terminals/%2e',
    '/_terminals/../x',
    `/_terminals/${'x'.repeat(5000)}`,
  ])
    t.match(await keeper.ask('DELETE', path), { status: 200, body: '{"ended":0}' })
  t.match(await keeper.ask('DELETE', '/_terminals?sid=%&sid=session-1'), { body: '{"ended":0}' })
  for (const path of ['/_ready', '/_terminals'])
    t.match(await keeper.ask('HEAD', path), { status: 200, body: '' })
  t.equal(ttyd.dials(), dials)
  t.notOk(shell.hasEnded())
  t.equal(keeper.terminals.size, 1)
})

t.test('targets and framings that are odd', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const get = (target: string, more = '') =>
    `GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${more}\r\n`
  for (const target of [
    '//',
    '///_terminals',
    '/%',
    '/_terminals%2f',
    '/?%ff',
    '*',
    'http://x/_terminals',
    'http://[::1',
    'x:y',
    '/terminal/?a=%E0%A4%A',
    '/\xff\xfe',
    '/#x',
  ])
    await talk(keeper.path, get(target))
  for (const bytes of [
    'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    'GET /_ready HTTP/1.1\r\n\r\n',
    'GET /_ready HTTP/9.9\r\nHost: x\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'nonsense\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    '\0'.repeat(1000),
    `GET /_ready HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`,
    'POST /_terminals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'POST /_terminals HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
  ])
    await talk(keeper.path, bytes)
  t.match(
    await talk(
      keeper.path,
      'PUT /_terminals?sid=x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}',
    ),
    /HTTP\/1.1 200 OK[^]*{"renewed":0}$/,
  )
  t.match(
    await talk(
      keeper.path,
      `${get('/_ready').replace('Connection: close\r\n', '')}${get('/_terminals')}`,
    ),
    /"protocol":1[^]*"terminals":/,
    'pipelined',
  )
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'the terminal works')
  t.equal(keeper.terminals.size, 1)
  t.same(crashes, [])
})

t.test('a handshake that is none never reaches ttyd', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const lacking = (name: string, value = '') =>
    refusalOf(keeper.path, `/terminal/ws?tab=${TAB}`, { [name]: value })
  for (const [name, value] of [
    ['Sec-WebSocket-Key', 'short'],
    ['Sec-WebSocket-Key', ''],
    ['Sec-WebSocket-Version', '12'],
    ['Sec-WebSocket-Version', '8'],
    ['Sec-WebSocket-Protocol', ''],
    ['Sec-WebSocket-Protocol', 'chat, tty2'],
    ['Upgrade', 'h2c'],
    ['Upgrade', 'websocket, h2c'],
  ] as const)
    t.match(await lacking(name, value), { status: 400 }, `${name}: ${value}`)
  t.match(
    await talk(keeper.path, `POST /terminal/ws HTTP/1.1\r\n${HANDSHAKE}\r\n\r\n`),
    /^HTTP\/1.1 400 /,
  )
  t.equal(ttyd.dials(), 0)
  t.equal(keeper.terminals.size, 0)
  t.equal((await openTerminal(t, keeper.path)).arrival, 'new')
})

t.test('each answer names the arrival of its own handshake', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  await refusalOf(keeper.path, `/terminal/ws?tab=${TAB}`, { 'Sec-WebSocket-Key': 'short' })
  const text = await talk(
    keeper.path,
    `GET /terminal/ws?tab=${TAB} HTTP/1.1\r\n${HANDSHAKE}\r\n\r\n`,
    /\r\n\r\n/,
  )
  t.equal(text.match(/x-workspace-terminal: new/gi)?.length, 1)
})

t.test('frames in the packet of the handshake are not lost', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const first = JSON.stringify({ AuthToken: tokenOf(CREDENTIAL), columns: 80, rows: 24 })
  const frame = (text: string) => `\x81${String.fromCharCode(0x80 | text.length)}\0\0\0\0${text}`
  const bytes = `GET /terminal/ws?tab=${TAB} HTTP/1.1\r\n${HANDSHAKE}\r\n\r\n${frame(first)}${frame('0early')}`
  void talk(keeper.path, bytes, /never/)
  const shell = await ttyd.shell(0)
  await eventually(() => shell.received.includes('0early'), 'the input')
})

t.test(
  'a target and headers reach ttyd as they are, without those between gateway and keeper',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const target = `/terminal/ws?arg=a:b&arg={}|^\`"'&arg=../x&tab=${TAB}`
    const text = await talk(
      keeper.path,
      `GET ${target} HTTP/1.1\r\n${HANDSHAKE}\r\nOrigin: https://houston.hubify.com\r\nX-Workspace-Session-Mark: login k1\r\nX-Forwarded-User: alice\r\n\r\n`,
      /\r\n\r\n/,
    )
    t.match(text, /^HTTP\/1.1 101 /)
    const [handshake] = ttyd.requests
    t.equal(handshake?.url, target)
    t.match(handshake?.headers, {
      host: 'x',
      origin: 'https://houston.hubify.com',
      'x-forwarded-user': 'alice',
      authorization: basic(CREDENTIAL),
    })
    t.same(
      Object.keys(handshake?.headers ?? {}).filter((name) => name.startsWith('x-workspace')),
      [],
    )
  },
)

t.test('plain requests pass with their bodies, and answers as ttyd gives them', async (t) => {
  const ttyd = await startUpstream(t, (request, response) => {
    let size = 0
    request.on('data', (chunk: Buffer) => (size += chunk.length))
    request.on('end', () => {
      response.writeHead(207, 'Odd Words', [
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'X-Size',
        String(size),
      ])
      response.end('x'.repeat(100_000))
    })
  })
  const keeper = await startTestKeeper(t, ttyd)
  const chunked =
    'POST /terminal/x?a=%zz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n'
  const text = await talk(keeper.path, chunked)
  t.match(text, /^HTTP\/1.1 207 Odd Words\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Size: 3\r\n/)
  t.ok(text.split('x').length > 100_000)
  t.match(ttyd.requests[0], { url: '/terminal/x?a=%zz', headers: { host: 'h' } })
})

t.test('an answer of ttyd that is none ends the connection, and nothing else', async (t) => {
  for (const answer of [
    '',
    'nonsense\r\n\r\n',
    'HTTP/1.1 099 Low\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort',
    `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`,
  ]) {
    const ttyd = await startRawUpstream(t, (socket) => {
      socket.once('data', () => socket.end(answer))
    })
    const keeper = await startTestKeeper(t, ttyd)
    const text = await talk(keeper.path, 'GET /terminal/token HTTP/1.1\r\nHost: x\r\n\r\n')
    t.notMatch(text, /HTTP\/1.1 (?:099|101|5)/)
    t.equal((await keeper.ask('GET', '/_ready')).status, 200)
  }
  t.same(crashes, [])
})

t.test('a client that leaves ends its request at ttyd', async (t) => {
  let closed = 0
  const ttyd = await startRawUpstream(t, (socket) => socket.on('close', () => closed++).resume())
  const keeper = await startTestKeeper(t, ttyd)
  const socket = connect(keeper.path)
  socket.write('GET /terminal/token HTTP/1.1\r\nHost: x\r\n\r\n')
  await eventually(() => ttyd.dials() === 1, 'ttyd is asked')
  await elapse(10, 'ttyd does not answer')
  socket.destroy()
  await eventually(() => closed === 1, 'its connection ends')
})
