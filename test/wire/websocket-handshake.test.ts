/** Is a WebSocket opened exactly when the gateway and the service both agree, and is everything else an HTTP answer? */
import { promisify } from 'node:util'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import t from 'tap'
import { startBefore, startWorkspace, token } from '../helpers/gateway.ts'
import { TTY } from '../helpers/socket-pairs.ts'
import {
  closedPort,
  startDeafUpstream,
  startRawUpstream,
  startUpstream,
  switchingProtocols,
} from '../helpers/upstream.ts'
import { eventually, SOON_MS, until, watchForCrashes } from '../helpers/waiting.ts'
import {
  clientFrame,
  gather,
  handshake,
  open,
  requestBytes,
  serverFrame,
  upgrade,
} from '../helpers/wire.ts'

t.jobs = 4 // one of these waits for ten seconds
const crashes = watchForCrashes()

/** Sends a handshake and waits for the connection to end. */
async function refused(port: number, path: string, headers: readonly string[]) {
  const socket = await open(port)
  const received = gather(socket)
  socket.write(requestBytes(`GET ${path}`, handshake(headers)))
  return { socket, ...(await received.over) }
}

t.test(
  'a service that is silent to a handshake is a 504 after ten seconds',
  { buffered: true },
  async (t) => {
    const service = await startRawUpstream(t, (socket) => {
      socket.resume()
      // Signs of life do not put the end off: without one, this test would meet its own limit.
      const hints = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 500)
      socket.on('close', () => clearInterval(hints))
    })
    const gateway = await startBefore(t, service)
    const { text } = await refused(gateway.port, '/api/ws', [gateway.auth])
    t.match(text, /^HTTP\/1\.1 504 .*x-gateway-error: upstream-timeout/is)
  },
)

t.test(
  'a refused handshake gets an HTTP answer, the connection ends, and no service is dialled',
  { buffered: true },
  async (t) => {
    const { port, dials, running } = await startWorkspace(t)
    const auth = `Authorization: Bearer ${await token()}`
    const cookie = `Cookie: __Host-workspace_session=${await token()}`
    const https = 'X-Forwarded-Proto: https'
    const cases: ReadonlyArray<readonly [string, readonly string[], number]> = [
      ['/api/ws', [], 401],
      ['/terminal/ws', [TTY], 401],
      ['/api/ws', ['Authorization: Bearer a.b.c'], 401],
      ['/api/ws', [cookie, https], 403],
      ['/api/ws', [cookie, https, 'Origin: https://evil.example'], 403],
      ['/api/ws', [cookie, https, 'Origin: null'], 403],
      ['/api/ws', [auth, 'Origin: https://evil.example'], 403],
      ['/api/.env', [auth], 403],
      ['/api/ws', [auth, 'Host: evil.example'], 421],
      ['/terminal/ws', [auth], 400],
      ['/terminal/w', [auth, TTY], 400],
      ['/api/ws', [auth, 'Sec-WebSocket-Version: 8'], 426],
      ['/api/ws', [auth, 'Sec-WebSocket-Key: short'], 400],
      ['/api/ws', [auth, 'Content-Length: 3'], 400],
      ['/health', [auth], 400],
      ['/_gateway/sign-in', [auth], 400],
    ]
    for (const [path, headers, status] of cases) {
      const { text, how } = await refused(port, path, headers)
      t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), `${path} ${headers.at(-1)}`)
      t.match(text, /x-gateway-error: /i)
      t.match(text, /connection: close/i)
      t.equal(how, 'ended')
    }
    t.equal(dials(), 0)
    t.equal(running.parts.openSockets.size, 0)
  },
)

t.test(
  'frames behind a refused handshake do not cost the client its answer',
  { buffered: true },
  async (t) => {
    const { port } = await startWorkspace(t)
    for (const size of [10, 100_000]) {
      const socket = await open(port)
      const received = gather(socket)
      socket.write(requestBytes('GET /api/ws', handshake()))
      socket.write(clientFrame(2, Buffer.alloc(size)))
      t.match((await received.over).text, /^HTTP\/1\.1 401 .*\r\n\r\n\{.*\}\n$/s, `${size} bytes`)
    }
  },
)

t.test(
  'a refusal of the service reaches the client as it is, and the connection ends',
  { buffered: true },
  async (t) => {
    const answers: Record<string, string> = {
      '/401':
        'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="ttyd"\r\nContent-Length: 6\r\n\r\ndenied',
      '/404': 'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnever\r\n0\r\n\r\n',
      '/200': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Powered-By: it\r\n\r\nhello',
      '/301': 'HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n',
      '/500': 'HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops',
      '/close': 'HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nuntil the end',
      '/early':
        'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno',
    }
    let frames = 0
    const service = await startRawUpstream(t, (socket) => {
      socket.once('data', (head: Buffer) => {
        const path = /^GET (\S+)/.exec(String(head))?.[1] ?? ''
        socket.write(answers[path] ?? '')
        if (path === '/close') socket.end()
        socket.on('data', () => frames++)
      })
    })
    const gateway = await startBefore(t, service)
    for (const [path, answer] of Object.entries(answers)) {
      const { text } = await refused(gateway.port, path, [gateway.auth])
      t.match(
        text,
        new RegExp(`^HTTP/1\\.1 ${path === '/close' || path === '/early' ? 403 : path.slice(1)} `),
        path,
      )
      const body = answer.slice(answer.lastIndexOf('\r\n\r\n') + 4)
      if (path !== '/404') t.ok(text.endsWith(`\r\n\r\n${body}`) || text.includes(body), body)
      t.match(text, /connection: close/i)
      t.match(text, /^ratelimit: "address";r=\d+;t=\d+\r$/im)
      t.match(text, /^cache-control: private, no-store\r$/im)
      t.notMatch(text, /x-gateway-error/i)
    }
    const { bytes } = await gateway.logLine((line) => line['path'] === '/200')
    t.equal(bytes, 'hello'.length)
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(
      Buffer.concat([
        Buffer.from(requestBytes('GET /200', handshake([gateway.auth]))),
        clientFrame(1, 'to nobody'),
      ]),
    )
    t.match((await received.over).text, 'hello')
    t.equal(frames, 0, 'no tunnel behind a refusal')
    await gateway.settled()
  },
)

t.test('a refusal that breaks off, or pauses for too long, is a cut', async (t) => {
  let breakOff = () => {}
  const service = await startRawUpstream(t, (socket) => {
    socket.once('data', (head: Buffer) => {
      socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nbeginning')
      if (String(head).includes('/cut')) breakOff = () => void socket.resetAndDestroy()
      if (String(head).includes('/end')) breakOff = () => void socket.end()
    })
  })
  const gateway = await startBefore(t, service, { GATEWAY_IDLE_SECONDS: '1' })
  for (const path of ['/cut', '/end', '/pause']) {
    const begun = performance.now()
    breakOff = () => {}
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(requestBytes(`GET ${path}`, handshake([gateway.auth])))
    await received.until((text) => text.endsWith('beginning'))
    breakOff()
    const { text } = await received.over
    t.match(text, 'beginning', path)
    t.ok(performance.now() - begun < SOON_MS)
  }
  await gateway.settled()
})

t.test(
  'a service that is down, hangs up or does not listen is a 502 or 504',
  { buffered: true },
  async (t) => {
    const url = `http://127.0.0.1:${await closedPort()}`
    const down = await startBefore(t, { url })
    const dead = await refused(down.port, '/terminal/ws', [down.auth, TTY])
    t.match(dead.text, /^HTTP\/1\.1 502 .*x-gateway-error: upstream-unreachable/is)
    t.match(dead.text, /connection: close/i)
    t.notMatch(dead.text, /127\.0\.0\.1|ECONN/)
    for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const service = await startRawUpstream(t, (socket) => {
        socket.once('data', () => socket[how]())
      })
      const gateway = await startBefore(t, service)
      t.match(
        (await refused(gateway.port, '/terminal/ws', [gateway.auth, TTY])).text,
        /^HTTP\/1\.1 502 /,
        how,
      )
      t.equal(service.dials(), 1, 'asked once')
      await gateway.settled()
    }
    const deaf = await startBefore(t, await startDeafUpstream(t))
    const begun = performance.now()
    t.match((await refused(deaf.port, '/api/ws', [deaf.auth])).text, /^HTTP\/1\.1 504 /)
    t.ok(performance.now() - begun < 20_000) // the kernel’s own limit is two minutes
    await deaf.settled()
  },
)

t.test('a switch that is none is a 502, and there is no tunnel', { buffered: true }, async (t) => {
  let answer: (request: IncomingMessage) => string = () => ''
  let frames = 0
  let connections = 0
  const service = await startUpstream(t, undefined, (request, socket) => {
    connections++
    socket.on('close', () => connections--)
    socket.write(answer(request), 'latin1')
    socket.on('data', () => frames++)
  })
  const gateway = await startBefore(t, service)
  const without = (field: string) => (request: IncomingMessage) =>
    switchingProtocols(request).replace(new RegExp(`^${field}:.*\r\n`, 'im'), '')
  const garbage = serverFrame(1, 'x').toString('latin1')
  const lies: ReadonlyArray<readonly [string, typeof answer]> = [
    [
      'wrong accept',
      (request) =>
        switchingProtocols(request).replace(/Accept: .*/, 'Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA='),
    ],
    ['no accept', without('Sec-WebSocket-Accept')],
    [
      'two accepts',
      (request) =>
        switchingProtocols(request, 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n'),
    ],
    [
      'accept of the key itself',
      (request) =>
        switchingProtocols(request).replace(
          /Accept: .*/,
          `Accept: ${request.headers['sec-websocket-key']}`,
        ),
    ],
    ['no Upgrade', without('Upgrade')],
    ['no Connection', without('Connection')],
    [
      'neither',
      (request) =>
        without('Connection')({ headers: request.headers } as IncomingMessage).replace(
          /^Upgrade:.*\r\n/m,
          '',
        ),
    ],
    [
      'another protocol',
      (request) => switchingProtocols(request).replace('Upgrade: websocket', 'Upgrade: h2c'),
    ],
    [
      'two protocols',
      (request) =>
        switchingProtocols(request).replace('Upgrade: websocket', 'Upgrade: websocket, h2c'),
    ],
    [
      'subprotocol that was not offered',
      (request) => switchingProtocols(request, 'Sec-WebSocket-Protocol: other\r\n'),
    ],
    ['two subprotocols', (request) => switchingProtocols(request, 'Sec-WebSocket-Protocol: b\r\n')],
    [
      'bytes that are no frames',
      (request) => `${switchingProtocols(request)}HTTP/1.1 200 OK\r\n\r\n`,
    ],
    [
      'masked frames',
      (request) => `${switchingProtocols(request)}${clientFrame(1, 'x').toString('latin1')}`,
    ],
    ['an illegal field', (request) => switchingProtocols(request, 'X-A: a\rb\r\n')],
    [
      'HTTP/1.0',
      (request) =>
        switchingProtocols(request)
          .replace('HTTP/1.1 101', 'HTTP/1.0 101')
          .replace(/Accept: .*/, 'Accept: x'),
    ],
    [
      'status 200',
      (request) =>
        `${switchingProtocols(request, 'Content-Length: 0\r\n').replace('101 Switching Protocols', '200 OK')}${garbage}`,
    ],
  ]
  for (const [name, lie] of lies) {
    answer = lie
    const { text } = await refused(gateway.port, '/api/ws', [
      gateway.auth,
      'Sec-WebSocket-Protocol: tty, b',
    ])
    t.match(text, name === 'status 200' ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 502 /, name)
    t.notMatch(text, /HTTP\/1\.1 101/)
  }
  t.equal(frames, 0)
  await gateway.settled()
  await eventually(() => connections === 0, 'the connections to the service are given up')
})

t.test('a switch in the spelling of ttyd is one', async (t) => {
  const service = await startUpstream(t, undefined, (request, socket) => {
    const spelled = switchingProtocols(request)
      .replace('Upgrade: websocket', 'upgrade: WebSocket')
      .replace('Connection: Upgrade', 'connection: upgrade')
    socket.write(spelled)
  })
  const gateway = await startBefore(t, service)
  const { answer, socket } = await upgrade(gateway.port, '/terminal/ws', [gateway.auth, TTY])
  t.equal(answer.status, 101)
  t.match(answer.headers, { upgrade: 'WebSocket', 'sec-websocket-protocol': 'tty' })
  socket.destroy()
  await gateway.settled()
})

t.test(
  'the handshake reaches the service as the client sent it, less what is ours',
  { buffered: true },
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const session = await token()
    const key = 'dGhlIHNhbXBsZSBub25jZQ=='
    const opened = await upgrade(port, '/terminal/ws?arg=%2Fx&b', [
      `Cookie: a=1; __Host-workspace_session=${session}; b=2`,
      'X-Forwarded-Proto: https',
      'Origin: https://houston.hubify.com',
      'Authorization: Basic dXNlcjpwYXNz',
      'Sec-WebSocket-Protocol: foo, tty',
      'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
      `Sec-WebSocket-Key: ${key}`,
      'X-Forwarded-User: root',
      'User-Agent: test',
    ])
    t.equal(opened.answer.status, 101)
    t.match(opened.answer.headers, {
      'sec-websocket-accept': 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
      upgrade: 'websocket',
    })
    t.match(opened.answer.headers['sec-websocket-extensions'], 'permessage-deflate')
    const [seen] = services.terminal.requests
    t.equal(seen?.url, '/terminal/ws?arg=%2Fx&b')
    t.match(seen?.headers, {
      host: 'houston.hubify.com',
      origin: 'https://houston.hubify.com',
      authorization: 'Basic dXNlcjpwYXNz',
      'sec-websocket-protocol': 'foo, tty',
      'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits',
      'sec-websocket-key': key,
      'sec-websocket-version': '13',
      upgrade: 'websocket',
      connection: 'Upgrade',
      'user-agent': 'test',
      'x-forwarded-user': 'alice',
    })
    t.notMatch(JSON.stringify(seen?.rawHeaders), session)
    t.match(seen?.headers.cookie, /a=1.*b=2/)
    opened.socket.destroy()
  },
)

t.test(
  'what comes with either handshake is not lost, and stays in order',
  { buffered: true },
  async (t) => {
    for (const size of [1, 1000, 300_000]) {
      const sent: Buffer[] = Array.from({ length: 5 }, (_, i) =>
        clientFrame(2, Buffer.alloc(size, i)),
      )
      const told: Buffer[] = Array.from({ length: 5 }, (_, i) =>
        serverFrame(2, Buffer.alloc(size, i + 100)),
      )
      let heard = Buffer.alloc(0)
      const service = await startUpstream(
        t,
        undefined,
        (request: IncomingMessage, socket: Duplex, head: Buffer) => {
          heard = Buffer.concat([heard, head])
          socket.on('data', (chunk: Buffer) => (heard = Buffer.concat([heard, chunk])))
          socket.write(
            Buffer.concat([Buffer.from(switchingProtocols(request)), ...told.slice(0, 3)]),
          )
          for (const frame of told.slice(3)) socket.write(frame)
        },
      )
      const gateway = await startBefore(t, service)
      const opened = await upgrade(
        gateway.port,
        '/terminal/ws',
        [gateway.auth, TTY],
        Buffer.concat(sent.slice(0, 3)),
      )
      for (const frame of sent.slice(3)) opened.socket.write(frame)
      const all = Buffer.concat(told)
      t.ok((await opened.until(all.length)).equals(all), `${size} bytes a frame, to the client`)
      await eventually(() => heard.length >= Buffer.concat(sent).length, 'all heard')
      t.ok(heard.equals(Buffer.concat(sent)), 'to the service')
      opened.socket.destroy()
      await gateway.settled()
    }
  },
)

t.test('a request behind an upgrade never reaches the service', { buffered: true }, async (t) => {
  for (const path of ['/terminal/ws', '/api/ws', '/ws']) {
    let heard = ''
    const service = await startUpstream(t, undefined, (request, socket, head) => {
      heard += head.toString('latin1')
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')))
      socket.write(switchingProtocols(request))
    })
    const gateway = await startBefore(t, service)
    const hidden = requestBytes('GET /hidden', [gateway.auth])
    const opened = await upgrade(gateway.port, path, [gateway.auth, TTY], Buffer.from(hidden))
    await opened.closed
    const later = await upgrade(gateway.port, path, [gateway.auth, TTY])
    later.socket.write(hidden)
    await later.closed
    t.notMatch(heard, 'hidden', path)
    t.equal(service.requests.filter(({ url }) => url === '/hidden').length, 0)
    await gateway.settled()
  }
})

t.test(
  'a client that leaves while the service thinks ends the attempt',
  { buffered: true },
  async (t) => {
    let gone = 0
    const service = await startRawUpstream(t, (socket) => {
      socket.resume()
      socket.on('close', () => gone++)
    })
    const gateway = await startBefore(t, service)
    for (let i = 0; i < 20; i++) {
      const socket = await open(gateway.port)
      socket.write(requestBytes('GET /api/ws', handshake([gateway.auth])))
      await eventually(() => service.dials() === i + 1, 'dialled')
      if (i % 2 === 0) socket.destroy()
      else socket.resetAndDestroy()
      await eventually(() => gone === i + 1, 'given up')
    }
    await gateway.settled()
  },
)

t.test(
  'clients that leave before they are even answered take no place for ever',
  { buffered: true },
  async (t) => {
    const service = await startUpstream(t)
    const gateway = await startBefore(t, service)
    for (let round = 0; round < 3; round++) {
      const auth = `Authorization: Bearer ${await token()}` // a new token, which takes a moment to verify
      for (let i = 0; i < 80; i++) {
        const socket = await open(gateway.port)
        socket.write(
          requestBytes(
            'GET /api/ws',
            handshake([i === 0 ? auth : `Authorization: Bearer ${await token()}`]),
          ),
        )
        socket.resetAndDestroy()
      }
    }
    await gateway.settled()
    const connections = promisify(
      gateway.running.app.server.getConnections.bind(gateway.running.app.server),
    )
    await until('the gateway has noticed every reset', async () => (await connections()) === 0)
    for (let i = 0; i < 60; i++) {
      const { answer, socket } = await upgrade(gateway.port, '/api/ws', [gateway.auth])
      t.equal(answer.status, 101, `socket ${i}`)
      socket.destroy()
    }
  },
)

t.test('nothing of all this went uncaught', async (t) => {
  t.same(crashes, [])
})
