/** Does what a service answers end with the session it is for, visibly incomplete, and with nothing else? */
import type { IncomingMessage, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { NAVIGATION, signInPage } from '../helpers/door.ts'
import { startBefore, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually, SOON_MS } from '../helpers/waiting.ts'
import { countWatched } from '../helpers/watched.ts'
import { dechunk, gather, open, parseAnswer, requestBytes } from '../helpers/wire.ts'

const bearer = (jwt: string) => `Authorization: Bearer ${jwt}`

/** A gateway before a service whose answers the test holds, and the tokens of two sessions. */
async function start(t: Test, begin: (response: ServerResponse, request: IncomingMessage) => void) {
  const held: ServerResponse[] = []
  const closed = new Map<ServerResponse, Promise<unknown>>()
  const service = await startUpstream(t, (request, response) => {
    held.push(response)
    closed.set(response, new Promise((resolve) => response.once('close', resolve)))
    begin(response, request)
  })
  /** The answer to the request for a path. Requests that are under way at once arrive in any order. */
  const answerTo = (path: string): ServerResponse => {
    const found = held.find(({ req }) => req.url === path)
    if (found === undefined) throw new Error(`${path} has not arrived`)
    return found
  }
  const gateway = await startBefore(t, service)
  const { sessions, verifier, watchdog } = gateway.running.parts
  const [mine, other] = [await token(), await token()]
  return {
    ...gateway,
    held,
    answerTo,
    /** Waits until the connection of an answer has ended. */
    hasClosed: async (response = held[0]) => {
      if (response === undefined) throw new Error('nothing has arrived')
      await closed.get(response)
    },
    watched: countWatched(watchdog),
    mine,
    other,
    /** Sends bytes on a connection of its own. */
    async ask(bytes: string) {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(bytes)
      return { socket, received }
    },
    /** Ends the session of a token, and waits until the service is told. */
    async end(jwt = mine) {
      sessions.end([(await verifier.verify(jwt)).session], 'revoked')
    },
    /** Waits until the service has this many requests. */
    arrived: (count: number) => eventually(() => held.length === count, `${count} requests`),
  }
}

t.test('an event stream ends with its session, without the end of its chunks', async (t) => {
  const gateway = await start(t, (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const mine = await gateway.ask(requestBytes('GET /api/mine', [bearer(gateway.mine)]))
  const other = await gateway.ask(requestBytes('GET /api/other', [bearer(gateway.other)]))
  for (const { received } of [mine, other]) await received.until((text) => text.includes('data: 1'))
  const begun = performance.now()
  await gateway.end()
  const { text } = await mine.received.over
  t.ok(performance.now() - begun < SOON_MS)
  t.match(parseAnswer(text), { status: 200, headers: { 'transfer-encoding': 'chunked' } })
  t.equal(dechunk(parseAnswer(text).body), undefined, 'it does not look complete')
  await gateway.hasClosed(gateway.answerTo('/mine'))
  t.match(await gateway.logLine(({ msg }) => msg === 'request'), {
    status: 200,
    reason: 'session ended',
  })
  gateway.answerTo('/other').write('data: 2\n\n')
  t.match(await other.received.until((soFar) => soFar.includes('data: 2')), 'data: 2')
  other.socket.destroy()
  await gateway.settled()
})

t.test('an answer with a length is cut before it', async (t) => {
  for (const [length, begun] of [
    [100, 10],
    [10_000_000, 200_000], // large bodies are written straight to the client's socket
  ] as const) {
    const gateway = await start(t, (response) => {
      response.writeHead(200, { 'Content-Length': length })
      response.write(Buffer.alloc(begun, 'x'))
    })
    const { received } = await gateway.ask(requestBytes('GET /file', [bearer(gateway.mine)]))
    await received.until((text) => parseAnswer(text).body.length === begun)
    await gateway.end()
    t.equal(parseAnswer((await received.over).text).body.length, begun)
    await gateway.settled()
  }
})

t.test('an answer to HTTP/1.0, which ends with its connection, is reset', async (t) => {
  const gateway = await start(t, (response) => void response.write('begin'))
  const request = `GET / HTTP/1.0\r\nHost: houston.hubify.com\r\n${bearer(gateway.mine)}\r\n\r\n`
  const { received } = await gateway.ask(request)
  await received.until((text) => text.includes('begin'))
  await gateway.end()
  t.equal((await received.over).how, 'reset')
  await gateway.settled()
})

t.test('an answer that its client does not read ends too', async (t) => {
  const gateway = await start(t, (response) => {
    response.writeHead(200, { 'Content-Type': 'text/plain' })
    response.write(Buffer.alloc(30_000_000, 'x'))
  })
  const socket = await open(gateway.port)
  socket.pause()
  socket.write(requestBytes('GET /file', [bearer(gateway.mine)]))
  await gateway.arrived(1)
  await gateway.end()
  await gateway.hasClosed()
  await gateway.settled()
  socket.destroy()
})

t.test('a request that has no answer yet gets 401, and a page of a person too', async (t) => {
  const gateway = await start(t, () => {})
  for (const [fields, type] of [
    [[], 'application/problem+json'],
    [NAVIGATION, 'text/html; charset=utf-8'],
  ] as const) {
    const jwt = await token()
    const at = gateway.held.length
    const { received } = await gateway.ask(requestBytes('GET /slow', [bearer(jwt), ...fields]))
    await gateway.arrived(at + 1)
    await gateway.end(jwt)
    t.match(parseAnswer((await received.over).text), {
      status: 401,
      headers: { 'x-gateway-error': 'token-invalid', 'content-type': type, connection: 'close' },
    })
    await gateway.hasClosed(gateway.held[at])
  }
  t.match(await gateway.logLine(({ msg }) => msg === 'request'), {
    stage: 'upstream',
    status: 401,
    code: 'token-invalid',
    reason: 'session ended',
  })
  await gateway.settled()
})

t.test(
  'a request whose body is still coming ends, before its service has it or after',
  async (t) => {
    const gateway = await start(t, (_response, request) => void request.resume())
    const head = (jwt: string) =>
      requestBytes('POST /upload', [bearer(jwt), 'Content-Length: 1000'])
    const waiting = await gateway.ask(head(gateway.mine))
    const begun = await gateway.ask(`${head(gateway.mine)}part`)
    const other = await gateway.ask(`${head(gateway.other)}part`)
    await gateway.arrived(2)
    await eventually(() => gateway.underWay() === 3, 'all three under way')
    await gateway.end()
    for (const { received, socket } of [waiting, begun]) {
      const answer = parseAnswer(await received.until((text) => text.includes('\r\n\r\n')))
      t.match(answer, { status: 401, headers: { 'x-gateway-error': 'token-invalid' } })
      socket.destroy()
    }
    await eventually(() => gateway.underWay() === 1, 'one is left')
    t.equal(gateway.held.length, 2, 'what had not begun never reached the service')
    other.socket.write('x'.repeat(996))
    await eventually(() => gateway.held.some(({ req }) => req.complete), 'the other one arrives')
    other.socket.destroy()
    await gateway.settled()
  },
)

t.test('an answer that waits behind others of its pipeline ends in its turn', async (t) => {
  const gateway = await start(t, (response, { url }) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write(`data: ${url}\n\n`)
  })
  const first = requestBytes('GET /first', [bearer(gateway.other)])
  const second = requestBytes('GET /second', [bearer(gateway.mine)])
  const { received } = await gateway.ask(first + second)
  await gateway.arrived(2)
  await received.until((text) => text.includes('/first'))
  await gateway.end()
  await gateway.hasClosed(gateway.answerTo('/second'))
  gateway.answerTo('/first').end('data: last\n\n')
  const { text } = await received.over
  t.match(text, 'data: last', 'the answer of another session goes on to its end')
  t.notMatch(text, '/second')
  await gateway.settled()
})

t.test('an answer ends when its token expires, and not before', async (t) => {
  const gateway = await start(t, (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    response.write('data: 1\n\n')
  })
  const short = await token({ ttlSeconds: 2 })
  const { session } = await gateway.running.parts.verifier.verify(short)
  const { received } = await gateway.ask(requestBytes('GET /events', [bearer(short)]))
  const lasting = await gateway.ask(requestBytes('GET /events', [gateway.auth]))
  await received.until((text) => text.includes('data: 1'))
  const { text } = await received.over
  t.equal(dechunk(parseAnswer(text).body), undefined)
  t.ok(Date.now() >= session.endsAt, 'not before')
  t.equal(lasting.socket.destroyed, false)
  lasting.socket.destroy()
  await gateway.settled()
})

t.test('half a request to the gateway itself cannot be finished after its session', async (t) => {
  const gateway = await start(t, () => {})
  const { apiTokens, sessions } = gateway.running.parts
  const body = JSON.stringify({ name: 'ci' })
  const head = (fields: readonly string[]) =>
    requestBytes('POST /_gateway/v1/api-tokens', [
      ...[...fields, 'Content-Type: application/json'],
      `Content-Length: ${body.length}`,
    ])
  for (const ends of ['while it waits', 'as its rest arrives', 'never'] as const) {
    const fields = await signInPage(gateway.port, await token())
    await eventually(() => gateway.watched() === 0, 'the connection of the sign-in has ended')
    const { received, socket } = await gateway.ask(head(fields) + body.slice(0, 5))
    await eventually(() => gateway.watched() === 2, 'the rest of the body is awaited')
    const signedIn = [...sessions.browsers()].map(({ session }) => session)
    if (ends !== 'never') sessions.end(signedIn, 'revoked')
    if (ends !== 'while it waits') socket.write(body.slice(5))
    const answer = parseAnswer(await received.until((text) => text.includes('\r\n\r\n')))
    t.equal(answer.status, ends === 'never' ? 200 : 401, ends)
    socket.destroy()
    t.equal(apiTokens.list().length, ends === 'never' ? 1 : 0)
  }
  await eventually(() => gateway.watched() === 0, 'nothing is awaited any more')
})

t.test('nothing of an ended answer is kept', async (t) => {
  const gateway = await start(t, (response) => void response.write('begin'))
  const asked = await Promise.all(
    Array.from({ length: 20 }, () => gateway.ask(requestBytes('GET /', [bearer(gateway.mine)]))),
  )
  await Promise.all(asked.map(({ received }) => received.until((text) => text.includes('begin'))))
  t.ok(gateway.watched() >= 20)
  await gateway.end()
  await Promise.all(asked.map(({ received }) => received.over))
  await gateway.settled()
  await eventually(() => gateway.watched() === 0, 'the watchdog watches none of them any more')
})
