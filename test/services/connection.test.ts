/** Are connections to a service used again only when that is safe, and does every body arrive as it was sent? */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseServiceUrl } from '../../src/config/values.ts'
import type { GatewayError } from '../../src/answers/errors.ts'
import { ConnectionPool } from '../../src/services/pool.ts'
import type { RequestHead } from '../../src/services/request-text.ts'
import { startBefore } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { closedPort, startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { eventually, later } from '../helpers/waiting.ts'
import { open, requestBytes } from '../helpers/wire.ts'

/** The outcome of a request. */
interface Outcome {
  status?: number
  body: string
  error?: GatewayError
}

function poolOf(t: Test, url: string): ConnectionPool {
  const pool = new ConnectionPool(parseServiceUrl(url))
  t.teardown(() => pool.close())
  return pool
}

/** Sends a request and waits for its outcome. */
function ask(
  pool: ConnectionPool,
  head: Partial<RequestHead> = {},
  body?: Buffer[],
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  const outcome: Outcome = { body: '' }
  const connection = pool.take()
  connection.send(
    { method: 'GET', path: '/', headers: ['Host', 'a'], hasBody: body !== undefined, ...head },
    {
      onInformational() {},
      onConnect() {
        if (body === undefined) return
        connection.write(body)
        connection.finish()
      },
      onHead(status) {
        outcome.status = status
        return false
      },
      onBody(piece) {
        outcome.body += piece.toString('latin1')
        return true
      },
      onEnd: () => resolve(outcome),
      onError: (error) => resolve({ ...outcome, error }),
    },
  )
  return promise
}

/** A service that sends these bytes as its response to each request, and keeps its connections. */
async function answering(t: Test, answer: string, onSent: (socket: Socket) => void = () => {}) {
  const heads: string[] = []
  const sockets: Socket[] = []
  const service = await startRawUpstream(t, (socket) => {
    sockets.push(socket)
    socket.on('data', (bytes: Buffer) => {
      heads.push(bytes.toString('latin1'))
      socket.write(answer, 'latin1')
      onSent(socket)
    })
  })
  return { url: service.url, heads, sockets, pool: poolOf(t, service.url) }
}

const HI = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'

t.test('a connection carries one request after the other', async (t) => {
  const { pool, heads, sockets } = await answering(t, HI)
  for (let i = 0; i < 3; i++) t.match(await ask(pool), { status: 200, body: 'hi' })
  t.equal(sockets.length, 1)
  t.equal(heads[0], 'GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n')
  await Promise.all([ask(pool), ask(pool), ask(pool)])
  t.equal(sockets.length, 3, 'and never two at once')
  t.equal(pool.size, 3)
})

t.test(
  'a body has its length, or is sent in chunks; a POST without a body has length 0',
  async (t) => {
    const { pool, heads } = await answering(t, HI)
    const seen = async (head: Partial<RequestHead>, body?: Buffer[]) => {
      heads.length = 0
      await ask(pool, head, body)
      await eventually(() => heads.join('').includes('\r\n\r\n'), 'the request')
      return heads.join('')
    }
    const pieces = ['ab', '', 'c'].map((text) => Buffer.from(text))
    const length = ['Host', 'a', 'content-length', '3']
    t.match(
      await seen({ method: 'POST', headers: length }, pieces),
      /\r\ncontent-length: 3\r\n.*\r\n\r\nabc$/s,
    )
    const chunked = await seen({ method: 'POST' }, pieces)
    t.match(chunked, /\r\nTransfer-Encoding: chunked\r\n/)
    t.match(chunked, /\r\n\r\n3\r\nabc\r\n0\r\n\r\n$/, 'what is there together is one chunk')
    const empty = await seen({ method: 'POST' }, [Buffer.alloc(0)])
    t.match(empty, /\r\n\r\n0\r\n\r\n$/, 'no bytes are no chunk, which would be the last')
    for (const method of ['POST', 'PUT', 'PATCH'])
      t.match(await seen({ method }), /\r\nContent-Length: 0\r\n/, method)
    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS'])
      t.notMatch(await seen({ method }), /content-length|transfer-encoding/i, method)
  },
)

t.test('no part of a request can start a second request', async (t) => {
  const { pool, sockets } = await answering(t, HI)
  const evil = 'a\r\nX-Forwarded-User: root\r\n\r\nGET /evil HTTP/1.1'
  const heads: Array<Partial<RequestHead>> = [
    { path: `/${evil}` },
    { path: '/a b' },
    { headers: ['Host', evil] },
    { headers: ['Host', 'a', evil, 'b'] },
    { headers: ['Host', 'a', 'X-A', 'b\0'] },
    { headers: ['Host', 'a', 'X-A', 'b\nX-B: c'] },
    { headers: ['Host', 'a', 'X-A', '\u010a'] },
  ]
  for (const head of heads)
    t.throws(() => void ask(pool, head), { code: 'internal-error' }, JSON.stringify(head))
  t.equal(sockets.length, 0)
})

t.test('a connection is not used again when', async (t) => {
  const { pool: closing } = await answering(t, HI)
  const cases: ReadonlyArray<readonly [why: string, answer: string, body?: Buffer[]]> = [
    [
      'the service says close',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi',
    ],
    ['it is an old one', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi'],
    ['more came than was announced', `${HI}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`],
    [
      'it is to be let go at once',
      `HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nhi`,
    ],
  ]
  for (const [why, answer] of cases) {
    const { pool, sockets } = await answering(t, answer)
    for (let i = 0; i < 2; i++) t.match(await ask(pool), { status: 200, body: 'hi' }, why)
    t.equal(sockets.length, 2, why)
    await eventually(() => sockets.every(({ destroyed }) => destroyed), why)
    t.equal(pool.size, 0, why)
  }
  closing.close()
})

t.test(
  'a connection is used again only after a request that the service surely has read',
  async (t) => {
    const length = { headers: ['Host', 'a', 'Content-Length', '3'] }
    const body = [Buffer.from('abc')]
    const cases: ReadonlyArray<
      readonly [again: boolean, head: Partial<RequestHead>, body?: Buffer[]]
    > = [
      ...['GET', 'HEAD', 'POST', 'DELETE'].map((method) => [true, { method }] as const),
      ...['POST', 'PUT', 'PATCH'].map((method) => [true, { method, ...length }, body] as const),
      ...['GET', 'HEAD', 'DELETE', 'OPTIONS'].map(
        (method) => [false, { method, ...length }, body] as const,
      ),
      ...['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map(
        (method) => [false, { method }, body] as const,
      ),
    ]
    for (const [again, head, pieces] of cases) {
      const answer = head.method === 'HEAD' ? 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' : HI
      const { pool, sockets } = await answering(t, answer)
      t.match(await ask(pool, head, pieces), { status: 200 })
      t.match(await ask(pool, { method: head.method ?? 'GET' }), { status: 200 })
      t.equal(sockets.length, again ? 1 : 2, `${head.method} ${pieces ? head.headers?.at(-2) : ''}`)
    }
  },
)

t.test(
  'a connection that was opened ahead becomes idle, and its opener is called back',
  async (t) => {
    const { pool, sockets } = await answering(t, HI)
    const heard: string[] = []
    const receiver = {
      onConnect: () => heard.push('connected'),
      onError: () => heard.push('error'),
    }
    t.type(pool.reach(receiver), 'object')
    t.same(heard, [], 'not before it is there')
    await eventually(() => heard.length === 1, 'connected')
    t.equal(pool.reach(receiver), undefined)
    t.same(heard, ['connected', 'connected'], 'one that waits proves that the service is there')
    t.match(await ask(pool), { status: 200, body: 'hi' })
    t.equal(sockets.length, 1)
    await eventually(() => pool.size === 0, 'it is let go like any other')

    const nobody = poolOf(t, `http://127.0.0.1:${await closedPort()}`)
    nobody.reach(receiver)
    await eventually(() => heard.length === 3, 'told')
    t.equal(heard.at(-1), 'error')
    t.equal(nobody.size, 0)

    pool.reach(receiver)?.destroy()
    t.match(await ask(pool), { status: 200, body: 'hi' })
    t.equal(heard.length, 3, 'who ends it hears nothing')
  },
)

t.test('a response before the end of the request closes the connection', async (t) => {
  const { pool, sockets } = await answering(t, HI)
  const { promise, resolve } = Promise.withResolvers<void>()
  const connection = pool.take()
  const head = { method: 'POST', path: '/', headers: ['Host', 'a'], hasBody: true }
  connection.send(head, {
    onConnect: () => void connection.write([Buffer.from('the first of many')]),
    onInformational() {},
    onHead: () => false,
    onBody: () => true,
    onEnd: resolve,
    onError: (error) => t.fail(error.message),
  })
  await promise
  t.equal(pool.size, 0)
  await ask(pool)
  t.equal(sockets.length, 2)
})

t.test('after destroy(), no callback of a connection is called', async (t) => {
  const { pool, sockets } = await answering(t, HI)
  for (const moment of ['asked', 'connected', 'head', 'body']) {
    const heard: string[] = []
    const connection = pool.take()
    const hear = (what: string) => {
      heard.push(what)
      if (what === moment) connection.destroy()
    }
    connection.send(
      { method: 'GET', path: '/', headers: ['Host', 'a'], hasBody: false },
      {
        onConnect: () => hear('connected'),
        onInformational() {},
        onHead(status) {
          hear('head')
          return status === 0
        },
        onBody() {
          hear('body')
          return true
        },
        onEnd: () => hear('end'),
        onError: () => hear('error'),
      },
    )
    hear('asked')
    await eventually(() => heard.at(-1) === moment, moment)
    t.equal(pool.size, 0)
    await eventually(() => sockets.every(({ destroyed }) => destroyed), 'closed')
    t.equal(heard.at(-1), moment)
  }
  t.match(await ask(pool), { status: 200, body: 'hi' })
})

t.test('a connection whose large body was lent copies a small one', async (t) => {
  const large = 'x'.repeat(1_000_000)
  const small = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'
  const rest = ['34', '5']
  let sendRest = () => {}
  const service = await startRawUpstream(t, (socket) => {
    let asked = 0
    socket.on('data', () => {
      if (asked++ === 0) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${large.length}\r\n\r\n${large}`)
        return
      }
      socket.write(`${small}12`)
      sendRest = () => {
        // Each piece is read into the same memory as the piece before.
        const piece = rest.shift()
        if (piece !== undefined) socket.write(piece)
      }
    })
  })
  const pool = poolOf(t, service.url)
  const pieces: Buffer[] = []
  const askOnce = () =>
    new Promise<void>((resolve, reject) => {
      pool.take().send(
        { method: 'GET', path: '/', headers: ['Host', 'a'], hasBody: false },
        {
          onConnect() {},
          onInformational() {},
          onHead: (_status, _fields, length) => length === large.length,
          onBody(piece) {
            pieces.push(piece)
            sendRest()
            return true
          },
          onEnd: resolve,
          onError: reject,
        },
      )
    })
  await askOnce()
  t.ok(
    pieces.some((piece, i) => piece.length > 8192 && piece.buffer === pieces[i + 1]?.buffer),
    'one buffer is read into again and again',
  )
  const last = Buffer.from(pieces.at(-1) ?? [])
  const lent = pieces.splice(0).at(-1)
  await askOnce()
  t.equal(String(Buffer.concat(pieces)), '12345')
  t.ok(lent?.equals(last), 'and what was lent last is left alone')
  t.equal(service.dials(), 1)
})

t.test('a response before the kernel has the whole request closes the connection', async (t) => {
  const sockets: Socket[] = []
  const { url } = await startRawUpstream(t, (socket) => {
    sockets.push(socket)
    // The service reads no body, so the kernel's buffers fill up, and the rest stays in the gateway.
    socket.once('data', () => socket.pause().write(HI))
  })
  const pool = poolOf(t, url)
  const body = Buffer.alloc(64 * 1024 * 1024)
  const headers = ['Host', 'a', 'Content-Length', String(body.length)]
  t.match(await ask(pool, { method: 'POST', headers }, [body]), { status: 200, body: 'hi' })
  t.equal(pool.size, 0)
  t.match(await ask(pool), { status: 200, body: 'hi' })
  t.equal(sockets.length, 2)
})

t.test('a response that begins before the end of the request and ends after it', async (t) => {
  const sockets: Socket[] = []
  const { url } = await startRawUpstream(t, (socket) => {
    sockets.push(socket)
    socket.once('data', () => {
      socket.write(HI.slice(0, -1))
      socket.on('data', () => socket.write('i'))
    })
  })
  const pool = poolOf(t, url)
  const connection = pool.take()
  const headers = ['Host', 'a', 'Content-Length', '3']
  const { promise, resolve } = Promise.withResolvers<void>()
  connection.send(
    { method: 'POST', path: '/', headers, hasBody: true },
    {
      onConnect: () => void connection.write([Buffer.from('ab')]),
      onInformational() {},
      onHead: () => false,
      onBody(piece) {
        if (piece.toString() !== 'h') return true
        connection.write([Buffer.from('c')])
        connection.finish()
        return true
      },
      onEnd: resolve,
      onError: (error) => t.fail(error.message),
    },
  )
  await promise
  t.equal(pool.size, 1)
  t.not(connection.idleUntil, 0, 'the connection waits for its next request')
})

t.test('no state of one request is left to the next', async (t) => {
  for (const answer of [HI, `${HI} and more`]) {
    const { pool, sockets } = await answering(t, answer)
    const heard: string[] = []
    const connection = pool.take()
    const headers = ['Host', 'a', 'Content-Length', '0'] // in chunks, the connection would not be used again
    connection.send(
      { method: 'POST', path: '/', headers, hasBody: true },
      {
        onConnect() {
          connection.onWritable = () => heard.push('writable')
          connection.finish()
        },
        onInformational() {},
        onHead: () => false,
        onBody: () => false, // pauses, although the body is over
        onEnd: () => heard.push('end'),
        onError: () => heard.push('error'),
      },
    )
    await eventually(() => heard.length > 0, 'the end')
    t.equal(connection.onWritable, undefined)
    t.match(await ask(pool), { status: 200, body: 'hi' }, 'a connection that is not paused')
    t.same(heard, ['end'])
    t.equal(sockets.length, answer === HI ? 1 : 2)
  }
})

t.test('a request that is sent in onEnd does not get the rest of the same read', async (t) => {
  const { pool, sockets } = await answering(
    t,
    `${HI}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`,
  )
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  pool.take().send(
    { method: 'GET', path: '/', headers: ['Host', 'a'], hasBody: false },
    {
      onConnect() {},
      onInformational() {},
      onHead: () => false,
      onBody: () => true,
      onEnd: () => resolve(ask(pool)),
      onError: (error) => t.fail(error.message),
    },
  )
  t.match(await promise, { status: 200, body: 'hi' })
  t.equal(sockets.length, 2)
})

t.test(
  'no request is sent behind the body of another that the service does not read',
  async (t) => {
    const { pool, sockets } = await answering(t, HI, (socket) => {
      if (sockets.length === 1) socket.pause()
    })
    const body = [Buffer.alloc(32 * 1024 * 1024)] // more than the kernel takes
    t.match(await ask(pool, { method: 'POST' }, body), { status: 200, body: 'hi' })
    t.equal(pool.size, 0)
    t.match(await ask(pool), { status: 200, body: 'hi' })
    t.equal(sockets.length, 2)
  },
)

/** A pool whose service gives these responses, and the numbers of stray bytes that it reported. */
async function straying(t: Test, response: string) {
  const { url, sockets } = await answering(t, response)
  const reported: number[] = []
  const pool = new ConnectionPool(parseServiceUrl(url), {
    onStrayBytes: (count) => reported.push(count),
  })
  t.teardown(() => pool.close())
  return { pool, sockets, reported }
}

t.test('bytes behind the end of a response are counted, once for each connection', async (t) => {
  const long = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123456'
  for (const [response, head, count] of [
    [long, {}, 1],
    [`${HI} and more`, {}, 9],
    [`HTTP/1.1 204 No Content\r\n\r\nhello`, {}, 5],
    [HI, { method: 'HEAD' }, 2],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\r\n', {}, 2],
    [`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi!`, {}, 1],
    [HI, {}, 0],
    ['SSH-2.0', {}, 0],
  ] as const) {
    const { pool, reported } = await straying(t, response)
    for (const requests of [1, 2]) {
      await ask(pool, head)
      t.same(reported, count === 0 ? [] : Array.from({ length: requests }, () => count), response)
      t.equal(pool.strayBytes, count * requests)
    }
  }
})

t.test('bytes on a connection without a request are counted', async (t) => {
  const { pool, sockets, reported } = await straying(t, HI)
  await ask(pool)
  sockets[0]?.write('x'.repeat(200_000)) // more than one read; the first one ends the connection
  await eventually(() => pool.size === 0, 'the end of the connection')
  t.equal(reported.length, 1)
  t.ok(Number(reported[0]) > 0 && Number(reported[0]) <= 65_536)
  t.equal(pool.strayBytes, reported[0])
})

/**
 * Sends a request on a kept connection, and has something happen to that connection before the request has left. The service is
 * on a Unix socket, because there the other side has at once what was written.
 * @returns the error and whether the request may be repeated
 */
async function disturb(t: Test, method: string, how: (socket: Socket) => void) {
  const path = join(temporaryFolder(t), 'service.sock')
  const sockets: Socket[] = []
  const heads: string[] = []
  const server = createTcpServer((socket) => {
    sockets.push(socket)
    socket.on('data', (bytes: Buffer) => {
      heads.push(bytes.toString('latin1'))
      socket.write(HI)
    })
  }).listen(path)
  t.teardown(() => server.close())
  await once(server, 'listening')
  const pool = poolOf(t, `unix:${path}`)
  await ask(pool)
  const { promise, resolve } = Promise.withResolvers<[GatewayError, boolean]>()
  // A timer's callback: sockets are read after it, and before the request leaves at the end of the turn.
  later(1, () => {
    const [socket] = sockets
    if (socket !== undefined) how(socket)
    const head = { method, path: '/second', headers: ['Host', 'a'], hasBody: false }
    pool.take().send(head, {
      onConnect() {},
      onInformational() {},
      onHead: () => t.fail('a response'),
      onBody: () => true,
      onEnd: () => t.fail('a response'),
      onError: (error, mayRepeat) => resolve([error, mayRepeat]),
    })
  })
  const [error, mayRepeat] = await promise
  t.equal(heads.length, 1, 'the second request has not left')
  t.equal(pool.size, 0)
  return { reason: error.reason, mayRepeat, strayBytes: pool.strayBytes }
}

t.test(
  'a response to a request that has not left is counted, and nothing is repeated',
  async (t) => {
    const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
    for (const method of ['GET', 'POST'])
      t.same(await disturb(t, method, (socket) => void socket.write(forged)), {
        reason: 'an answer to what was not asked',
        mayRepeat: false,
        strayBytes: forged.length,
      })
  },
)

t.test(
  'a kept connection that ends before its GET has left lets the GET be repeated',
  async (t) => {
    for (const [method, mayRepeat] of [
      ['GET', true],
      ['HEAD', true],
      ['POST', false],
    ] as const)
      t.same(await disturb(t, method, (socket) => void socket.destroy()), {
        reason: 'closed without an answer',
        mayRepeat,
        strayBytes: 0,
      })
  },
)

t.test('bytes of a response that its receiver did not want are not counted', async (t) => {
  const { pool, reported } = await straying(t, HI)
  const connection = pool.take()
  connection.send(
    { method: 'GET', path: '/', headers: ['Host', 'a'], hasBody: false },
    {
      onConnect() {},
      onInformational() {},
      onHead() {
        connection.destroy()
        return false
      },
      onBody: () => t.fail('a body'),
      onEnd: () => t.fail('an end'),
      onError: () => t.fail('an error'),
    },
  )
  await eventually(() => pool.size === 0, 'the end of the connection')
  t.match(await ask(pool), { status: 200, body: 'hi' })
  t.same(reported, [])
})

t.test('bytes that a service sends before the request are no response', async (t) => {
  const service = await startRawUpstream(t, (socket) => void socket.write(HI))
  const { promise, resolve } = Promise.withResolvers<GatewayError>()
  const connection = poolOf(t, service.url).take()
  const head = { method: 'POST', path: '/', headers: ['Host', 'a'], hasBody: true }
  connection.send(head, {
    onConnect() {},
    onInformational() {},
    onHead: () => t.fail('an answer'),
    onBody: () => true,
    onEnd: () => t.fail('an answer'),
    onError: resolve,
  })
  t.match(await promise, {
    code: 'upstream-unreachable',
    reason: 'an answer to what was not asked',
  })
})

t.test('bytes of a service on an idle connection close it', async (t) => {
  const { pool, sockets } = await answering(t, HI)
  await ask(pool)
  sockets[0]?.write('HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n')
  await eventually(() => pool.size === 0, 'the end of the connection')
  t.match(await ask(pool), { status: 200, body: 'hi' })
  t.equal(sockets.length, 2)
})

t.test('a connection that the service closes is not used again', async (t) => {
  const { pool, sockets } = await answering(t, HI)
  await ask(pool)
  sockets[0]?.end()
  await eventually(() => pool.size === 0, 'the end of the connection')
  t.match(await ask(pool), { status: 200, body: 'hi' })
})

t.test('an idle connection is closed before the service’s announced timeout', async (t) => {
  const { pool, sockets } = await answering(
    t,
    'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=3, max=100\r\nContent-Length: 2\r\n\r\nhi',
  )
  await ask(pool)
  await ask(pool)
  t.equal(sockets.length, 1)
  await eventually(() => pool.size === 0, 'letting go')
})

t.test('a service is found by name, at either address of it, and by path', async (t) => {
  const answer: RequestListener = (_request, response) => {
    response.setHeader('Content-Length', 300_000)
    response.end('x'.repeat(300_000))
  }
  const { port } = await startUpstream(t, answer)
  t.match((await ask(poolOf(t, `http://localhost:${port}`))).body.length, 300_000)
  const path = join(temporaryFolder(t), 'service.sock')
  const server = createServer(answer).listen(path)
  t.teardown(() => server.close())
  await once(server, 'listening')
  const pool = poolOf(t, `unix:${path}`)
  t.equal((await ask(pool)).body.length, 300_000)
  t.equal((await ask(pool)).body.length, 300_000)
  t.equal(pool.size, 1)
  pool.close()
})

t.test('every failure has a code and a reason', async (t) => {
  const reasonOf = async (url: string) => (await ask(poolOf(t, url))).error
  t.match(await reasonOf(`http://127.0.0.1:${await closedPort()}`), {
    code: 'upstream-unreachable',
    reason: 'ECONNREFUSED',
  })
  t.match(await reasonOf('unix:/nowhere/at-all.sock'), { reason: 'ENOENT' })
  t.match(await reasonOf((await answering(t, '', (socket) => socket.end())).url), {
    reason: 'closed without an answer',
  })
  t.match(await reasonOf((await answering(t, HI.slice(0, -1), (socket) => socket.end())).url), {
    reason: 'closed before the end of its answer',
  })
  t.match(
    await reasonOf((await answering(t, HI, (socket) => socket.resetAndDestroy())).url),
    undefined,
  )
  t.match(await reasonOf((await answering(t, '', (socket) => socket.resetAndDestroy())).url), {
    reason: 'ECONNRESET',
  })
  t.match(await reasonOf((await answering(t, 'SSH-2.0\r\n')).url), { reason: 'no HTTP/1.1' })
})

/** Bytes that differ at every place, so that a shifted body is found. */
function pattern(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed
  for (let i = 0; i + 4 <= length; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes.writeUInt32LE(state, i)
  }
  return bytes
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

t.test('large bodies arrive whole at the same time, at fast and slow clients', async (t) => {
  const LENGTHS = [65_536, 65_537, 262_144, 262_145, 1_000_000, 6_000_001]
  const service = await startUpstream(t, ({ url }, response) => {
    const [kind, seed] = (url ?? '').slice(1).split('-')
    const body = pattern(Number(seed), LENGTHS[Number(seed) % LENGTHS.length] ?? 0)
    if (kind === 'counted') response.setHeader('Content-Length', body.length)
    if (kind === 'closing') response.setHeader('Connection', 'close')
    response.end(body)
  })
  const gateway = await startBefore(t, service)
  const download = async (kind: string, seed: number) => {
    const socket = await open(gateway.port)
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      if (seed % 3 === 0) return
      socket.pause() // a slow reader: much of the body waits in the gateway
      later(seed % 3, () => void socket.resume())
    })
    // Several responses on one connection: one that is still being sent must not get bytes of another.
    const paths = [`/${kind}-${seed}`, `/counted-${seed + 1}`, `/counted-${seed + 7}`]
    for (const path of paths.slice(0, -1)) socket.write(requestBytes(`GET ${path}`, [gateway.auth]))
    socket.write(requestBytes(`GET ${paths.at(-1)}`, [gateway.auth, 'Connection: close']))
    await once(socket, 'close')
    let rest: Buffer = Buffer.concat(chunks)
    for (const path of paths) {
      const expected = pattern(
        Number(path.split('-')[1]),
        LENGTHS[Number(path.split('-')[1]) % LENGTHS.length] ?? 0,
      )
      const [body, behind] = firstAnswer(rest)
      t.equal(digest(body), digest(expected), `${path}, ${body.length} bytes`)
      rest = behind
    }
    t.equal(rest.length, 0)
  }
  const kinds = ['counted', 'chunked', 'closing']
  await Promise.all(Array.from({ length: 18 }, (_, i) => download(kinds[i % 3] ?? '', i)))
  await gateway.settled()
})

/** The body of the first response in these bytes, and the bytes behind it. */
function firstAnswer(bytes: Buffer): [body: Buffer, behind: Buffer] {
  const end = bytes.indexOf('\r\n\r\n') + 4
  const head = bytes.toString('latin1', 0, end)
  const length = /^content-length: (\d+)/im.exec(head)?.[1]
  if (length !== undefined)
    return [bytes.subarray(end, end + Number(length)), bytes.subarray(end + Number(length))]
  const pieces: Buffer[] = []
  for (let at = end; ;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (size === 0) return [Buffer.concat(pieces), bytes.subarray(lineEnd + 4)]
    pieces.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = lineEnd + 2 + size + 2
  }
}
