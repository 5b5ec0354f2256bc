/** How does a request pass? Audited before it leaves, whole or visibly broken, and ended with its lease. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { eventually } from '../../helpers/waiting.ts'
import { dechunk, gather, open, requestBytes, send } from '../../helpers/wire.ts'
import { closedPort, startUpstream } from '../../helpers/upstream.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

t.test('the row of a use is written before anything is dialled, and completed after', async (t) => {
  let rowsAtDial = -1
  const rowsNow = () => vault.rows.length
  const service = await startByteService(t, () => {
    rowsAtDial = rowsNow()
    return answerText('hello', [], '201 Created')
  })
  const vault = await startVault(t, service.origin)
  await send(vault.port, 'GET /s/github/repos/a?token=x', [LEASE])
  await eventually(() => vault.endings().length > 0, 'the last row')
  t.equal(rowsAtDial, 1)
  const facts = { agent: 'coder', service: 'github', entry: 'entry-1', lease: '0a1b2c3d' }
  t.match(vault.rows, [
    {
      op: 'use',
      ...facts,
      version: 2,
      host: `127.0.0.1:${service.port}`,
      method: 'GET',
      path: '/repos/a',
    },
    { op: 'use', ...facts, of: 1, status: 201, bytes: 5, ms: Number, reason: 'done' },
  ])
  t.notMatch(JSON.stringify(vault.rows), 'token=x', 'the query is not written')
})

t.test('a request that cannot be audited is refused, and nothing is dialled', async (t) => {
  const service = await startByteService(t, () => answerText('hello'))
  const vault = await startVault(t, service.origin)
  vault.failAudit()
  const { status, headers } = await send(vault.port, 'GET /s/github/x', [LEASE])
  t.same([status, headers['x-vault-error']], [503, 'audit-unavailable'])
  t.equal(service.dials(), 0)
})

t.test('long bodies pass unchanged in both directions', async (t) => {
  const digest = (data: Buffer) => createHash('sha256').update(data).digest('hex')
  const body = Buffer.alloc(3_000_000, 'The quick brown fox 0123456789. ')
  const { url } = await startUpstream(t, (request, response) => void request.pipe(response))
  const { port } = await startVault(t, url)
  const answer = await fetch(`http://127.0.0.1:${port}/s/github/x`, { method: 'POST', body })
  t.equal(digest(Buffer.from(await answer.arrayBuffer())), digest(body))
})

t.test('answers without a body keep their heads', async (t) => {
  const service = await startByteService(t, (head) => {
    if (head.startsWith('HEAD'))
      return 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n'
    if (head.includes('/304'))
      return 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nConnection: close\r\n\r\n'
    return 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'
  })
  const { port } = await startVault(t, service.origin)
  const head = await send(port, 'HEAD /s/github/x', [LEASE])
  t.same([head.status, head.headers['content-length'], head.body], [200, '7', ''])
  const unchanged = await send(port, 'GET /s/github/304', [LEASE])
  t.same([unchanged.status, unchanged.headers['etag'], unchanged.body], [304, '"x"', ''])
  const none = await send(port, 'DELETE /s/github/204', [LEASE])
  t.same([none.status, none.headers['content-length'], none.body], [204, undefined, ''])
})

t.test('connections are kept for the entry, and opened again when they were closed', async (t) => {
  const service = await startUpstream(t)
  const { port } = await startVault(t, service.url)
  for (let i = 0; i < 3; i++) t.equal((await send(port, 'GET /s/github/x', [LEASE])).status, 200)
  t.equal(service.dials(), 1)
  service.server.closeAllConnections()
  t.equal((await send(port, 'GET /s/github/x', [LEASE])).status, 200)
  t.equal(service.dials(), 2)
})

t.test('a service that is not there is 502', async (t) => {
  const vault = await startVault(t, `http://127.0.0.1:${await closedPort()}`)
  const { status, headers, body } = await send(vault.port, 'GET /s/github/x', [LEASE])
  t.same([status, headers['x-vault-error']], [502, 'service-unreachable'])
  t.match(body, /cannot be reached \(ECONNREFUSED\).*vault show github/)
  t.same(vault.endings(), ['service-unreachable'])
})

t.test('an answer that breaks off reaches the agent as broken', async (t) => {
  for (const length of ['Content-Length: 99', 'Transfer-Encoding: chunked']) {
    const service = await startByteService(
      t,
      () => `HTTP/1.1 200 OK\r\n${length}\r\n\r\n4\r\nhalf\r\n`,
    )
    const vault = await startVault(t, service.origin)
    const { status, body } = await send(vault.port, 'GET /s/github/x', [LEASE])
    t.equal(status, 200)
    if (length.startsWith('T')) t.equal(dechunk(body), undefined)
    else t.ok(body.length < 99)
    t.same(vault.endings(), ['failed'])
  }
})

t.test('an agent that goes away ends the request to the service', async (t) => {
  let isClosed = false
  const service = await startUpstream(t, (_request, response) => {
    response.on('close', () => (isClosed = true))
    response.write('data: 1\n\n')
  })
  const vault = await startVault(t, service.url)
  const socket = await open(vault.port)
  socket.write(requestBytes('GET /s/github/x', [LEASE]))
  await once(socket, 'data')
  socket.destroy()
  await eventually(() => isClosed && vault.endings().length > 0, 'the service sees it')
  t.same(vault.endings(), ['aborted'])
})

t.test('a revoked lease cuts a stream on both sides', async (t) => {
  let isClosed = false
  const service = await startUpstream(t, (_request, response) => {
    response.on('close', () => (isClosed = true))
    response.write('data: 1\n\n')
  })
  const vault = await startVault(t, service.url)
  const socket = await open(vault.port)
  const received = gather(socket)
  socket.write(requestBytes('GET /s/github/x', [LEASE]))
  await received.until((text) => text.includes('data: 1'))
  vault.revoke()
  const { text } = await received.over
  t.notMatch(text, /\r\n0\r\n\r\n$/, 'not as if it were whole')
  await eventually(() => isClosed, 'the service sees it')
  t.same(vault.endings(), ['cut'])
})

t.test(
  'a lease that is revoked before the answer is a refusal, and one before the request dials nothing',
  async (t) => {
    const service = await startUpstream(t, () => {})
    const vault = await startVault(t, service.url)
    const pending = send(vault.port, 'GET /s/github/x', [LEASE])
    await eventually(() => service.requests.length === 1, 'the service was asked')
    vault.revoke()
    t.equal((await pending).headers['x-vault-error'], 'lease-revoked')
    t.equal(
      (await send(vault.port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
      'lease-revoked',
    )
    t.equal(service.dials(), 1)
  },
)

t.test('a service that does not answer, or stops in the middle, is given up', async (t) => {
  const silent = await startUpstream(t, () => {})
  const first = await startVault(t, silent.url, { timeouts: { firstByteMs: 20 } })
  const { status, headers } = await send(first.port, 'GET /s/github/x', [LEASE])
  t.same([status, headers['x-vault-error']], [504, 'service-timeout'])
  const stopping = await startUpstream(t, (_request, response) => void response.write('half'))
  const second = await startVault(t, stopping.url, { timeouts: { idleMs: 20 } })
  t.equal(dechunk((await send(second.port, 'GET /s/github/x', [LEASE])).body), undefined)
  t.same(second.endings(), ['failed'])
})

t.test('a name that is not resolved in time is given up', async (t) => {
  const { port } = await startVault(t, 'https://service.test', {
    timeouts: { connectMs: 20 },
    lookup: () => new Promise(() => {}),
  })
  t.equal(
    (await send(port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
    'service-timeout',
  )
})

t.test('an answer that comes before the end of the body is passed on', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(413, { Connection: 'close' }).end('too long')
  })
  const { port } = await startVault(t, url)
  const socket = await open(port)
  const received = gather(socket)
  socket.write(requestBytes('POST /s/github/x', [LEASE, 'Content-Length: 100000'], 'abc'))
  t.match(await received.until((text) => text.endsWith('0\r\n\r\n')), /^HTTP\/1\.1 413 /)
  socket.destroy()
})

t.test(
  'a request is repeated when its kept connection is closed at that moment, unless it may change something',
  async (t) => {
    const seen = new WeakSet<object>()
    const service = await startUpstream(t, (request, response) => {
      if (seen.has(request.socket)) request.socket.destroy()
      else response.end('ok')
      seen.add(request.socket)
    })
    const { port } = await startVault(t, service.url)
    const statuses: number[] = []
    for (const method of ['GET', 'GET', 'POST'])
      statuses.push((await send(port, `${method} /s/github/x`, [LEASE])).status)
    t.same(statuses, [200, 200, 502])
    t.equal(service.dials(), 2)
  },
)

t.test(
  'a request that must not be sent twice takes no connection that has been idle for more than a second',
  async (t) => {
    const service = await startUpstream(t)
    let ms = 0
    const { port } = await startVault(t, service.url, { stopwatch: () => ms })
    const ask = async (method: string, idleMs: number) => {
      ms += idleMs
      t.equal((await send(port, `${method} /s/github/x`, [LEASE])).status, 200)
      return service.dials()
    }
    t.equal(await ask('GET', 0), 1)
    t.equal(await ask('POST', 900), 1)
    t.equal(await ask('GET', 3000), 1, 'a GET can be repeated')
    t.equal(await ask('POST', 1100), 2)
    t.equal(await ask('POST', 900), 2)
  },
)

t.test('a connection is kept for five minutes at most, however busy it is', async (t) => {
  const service = await startUpstream(t)
  let ms = 0
  const { port } = await startVault(t, service.url, { stopwatch: () => ms })
  const dials: number[] = []
  for (const idleMs of [0, 299_000, 1000, 0, 0]) {
    ms += idleMs
    await send(port, 'GET /s/github/x', [LEASE])
    dials.push(service.dials())
  }
  t.same(dials, [1, 1, 1, 2, 2])
})

t.test(
  'a service that takes a body for a second request does not answer another agent with it',
  async (t) => {
    let answerLate = (): void => {}
    const service = await startByteService(t, (_head, socket) => {
      const answers = (text: string) =>
        `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`
      answerLate = () => void socket.write(answers('of the hidden request'))
      socket.write(answers('first'))
      return undefined
    })
    const vault = await startVault(t, service.origin)
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    const length = `Content-Length: ${hidden.length}`
    const answer = await send(vault.port, 'POST /s/github/x', [LEASE, length], hidden)
    t.equal(answer.body, 'first')
    vault.useAs('researcher')
    const lateForFirst = answerLate
    const others = send(vault.port, 'GET /s/github/mine', [LEASE])
    await eventually(() => service.received().includes('GET /mine'), 'the request of the other')
    lateForFirst()
    t.equal((await others).body, 'first')
    t.equal(service.dials(), 2)
  },
)

t.test('no idle connection to a service outlives a change of its entry', async (t) => {
  let count = 0
  const held: ServerResponse[] = []
  const service = await startUpstream(t, (request, response) => {
    if (request.url === '/held') held.push(response)
    else response.end('ok')
  })
  service.server.on('connection', (socket: Socket) => {
    count++
    socket.on('close', () => count--)
  })
  const vault = await startVault(t, service.url)
  const running = send(vault.port, 'GET /s/github/held', [LEASE])
  await eventually(() => held.length === 1, 'a request that runs')
  await send(vault.port, 'GET /s/github/x', [LEASE])
  vault.useAs('researcher')
  await send(vault.port, 'GET /s/github/x', [LEASE])
  t.equal(count, 3)
  vault.change({ grants: [] })
  await eventually(() => count === 1, 'idle connections are closed')
  held[0]?.end('whole')
  t.equal((await running).body.includes('whole'), true, 'what runs goes on')
  await eventually(() => count === 0, 'its connection is not kept')
})

t.test('a request that runs goes on when the connections of many others are kept', async (t) => {
  const held: ServerResponse[] = []
  const service = await startUpstream(t, (request, response) => {
    if (request.url === '/held') held.push(response)
    else response.end('ok')
  })
  const vault = await startVault(t, service.url)
  const running = send(vault.port, 'GET /s/github/held', [LEASE])
  await eventually(() => held.length === 1, 'a request that runs')
  for (let i = 0; i < 257; i++) {
    vault.useAs(`agent-${i}`)
    await send(vault.port, 'GET /s/github/x', [LEASE])
  }
  held[0]?.end('whole')
  t.match((await running).body, 'whole')
})

t.test('a service that puts its answer off without end is given up', async (t) => {
  const interim = (count: number) => 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n'.repeat(count)
  let isClosed = false
  const service = await startByteService(t, (head, socket) => {
    if (head.includes('/patient')) return interim(100) + answerText('at last')
    socket.on('close', () => (isClosed = true))
    const more = () => {
      while (socket.writable && socket.write(interim(500)));
    }
    socket.on('drain', more)
    more()
    return undefined
  })
  const vault = await startVault(t, service.origin)
  t.equal((await send(vault.port, 'GET /s/github/patient', [LEASE])).body, 'at last')
  const { status, headers } = await send(vault.port, 'GET /s/github/endless', [LEASE])
  t.same([status, headers['x-vault-error']], [502, 'answer-malformed'])
  await eventually(() => isClosed, 'the connection is closed')
})
