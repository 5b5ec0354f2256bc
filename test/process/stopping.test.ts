/** Does the program stop in time and without losing a request, whatever connections are open? */
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { TTY } from '../helpers/socket-pairs.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { elapse, eventually, SOON_MS } from '../helpers/waiting.ts'
import {
  clientFrame,
  closeCode,
  gather,
  handshake,
  open,
  requestBytes,
  send,
  upgrade,
} from '../helpers/wire.ts'

const authorization = async () => `Authorization: Bearer ${await token()}`

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(
    `${signal} finishes the request in flight, closes sockets with 1012 and exits 0`,
    async (t) => {
      let held: ServerResponse | undefined
      const service = await startUpstream(t, (_request, response) => (held = response))
      const terminal = await startUpstream(t)
      const program = await serve(t, {
        GATEWAY_DASHBOARD_URL: service.url,
        GATEWAY_TERMINAL_URL: terminal.url,
        GATEWAY_DRAIN_SECONDS: '4',
      })
      const auth = await authorization()
      const request = await open(program.port)
      const answer = gather(request)
      request.write(requestBytes('GET /slow', [auth]))
      const idle = await open(program.port)
      const idleEnd = gather(idle).over
      const socket = await upgrade(program.port, '/terminal/ws', [auth, TTY])
      socket.socket.on('end', () => socket.socket.end())
      await eventually(() => held !== undefined, 'in flight')
      program.child.kill(signal)
      await socket.closed
      t.equal(closeCode(socket), 1012)
      await idleEnd
      t.equal(program.child.exitCode, null, 'it waits for the request')
      await t.rejects(open(program.port), 'nothing new is accepted')
      held?.end('finished')
      t.match((await answer.over).text, /^HTTP\/1\.1 200 .*finished/is)
      t.equal(await program.exited, 0)
      t.match(program.stdout(), '"stopped"')
    },
  )
}

t.test('connections that are open when the drain time is over are destroyed', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    socket.once('data', (head: Buffer) => {
      const path = /^GET (\S+)/.exec(String(head))?.[1]
      if (path === '/events')
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n')
      if (path === '/refused') socket.write('HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\n')
    })
  })
  const program = await serve(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_TERMINAL_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '1',
  })
  const auth = await authorization()
  const streams = await Promise.all(Array.from({ length: 5 }, () => open(program.port)))
  streams[0]?.write(requestBytes('GET /events', [auth]))
  streams[1]?.write(requestBytes('GET /silent', [auth]))
  streams[2]?.write(requestBytes('GET /terminal/ws', handshake([auth, TTY])))
  streams[3]?.write(requestBytes('GET /refused', handshake([auth])))
  streams[4]?.write('POST / HTTP/1.1\r\nHost: houston')
  const ends = streams.map((stream) => gather(stream).over)
  await eventually(() => service.dials() === 4, 'all under way')
  const begun = performance.now()
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  const took = performance.now() - begun
  t.ok(took > 900 && took < 15_000, `${took} ms`)
  await Promise.all(ends)
})

t.test('a hundred WebSockets that ignore the close frame do not delay the stop', async (t) => {
  const terminal = await startUpstream(t)
  const program = await serve(t, {
    GATEWAY_TERMINAL_URL: terminal.url,
    GATEWAY_DRAIN_SECONDS: '50',
  })
  for (let i = 0; i < 100; i++) {
    const auth = `Authorization: Bearer ${await token({ subject: `u${i >> 5}` })}`
    const { socket } = await upgrade(program.port, '/terminal/ws', [auth, TTY])
    if (i % 2 === 0) socket.pause()
    if (i % 5 === 0) socket.write(clientFrame(2, Buffer.alloc(1000)).subarray(0, 500))
  }
  const begun = performance.now()
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.ok(performance.now() - begun < 25_000)
})

t.test('a second signal ends the program at once, with 1', async (t) => {
  const service = await startRawUpstream(t, () => {})
  const program = await serve(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '30',
  })
  const socket = await open(program.port)
  socket.write(requestBytes('GET /', [await authorization()]))
  await eventually(() => service.dials() === 1, 'in flight')
  program.child.kill('SIGTERM')
  await program.logged('draining')
  program.child.kill('SIGINT')
  t.equal(await program.exited, 1)
})

t.test('a signal right after the log line about listening is handled', async (t) => {
  for (const [signal, message] of [
    ['SIGTERM', 'draining'],
    ['SIGHUP', 'keys replaced'],
    ['SIGUSR2', 'nothing to be done on SIGUSR2 without GATEWAY_HOT_RESTART'],
  ] as const) {
    const program = await serve(t)
    program.child.kill(signal)
    await program.logged(message)
    if (signal !== 'SIGTERM') program.child.kill('SIGTERM')
    t.equal(await program.exited, 0, signal)
  }
})

t.test('a drain time of 0 means no waiting', async (t) => {
  const service = await startRawUpstream(t, () => {})
  const program = await serve(t, { GATEWAY_DASHBOARD_URL: service.url, GATEWAY_DRAIN_SECONDS: '0' })
  const socket = await open(program.port)
  socket.write(requestBytes('GET /', [await authorization()]))
  await eventually(() => service.dials() === 1, 'in flight')
  const begun = performance.now()
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.ok(performance.now() - begun < SOON_MS)
})

t.test('budgets survive a restart, also a budget that is used up', async (t) => {
  const first = await serve(t, { GATEWAY_RATE_LIMIT: '3' })
  for (const status of [401, 401, 401, 429])
    t.equal((await send(first.port, 'GET /')).status, status)
  first.child.kill('SIGTERM')
  t.equal(await first.exited, 0)
  t.ok(existsSync(join(first.stateDir, 'budgets.json')))
  t.notMatch(readFileSync(join(first.stateDir, 'budgets.json'), 'utf8'), 'eyJ')
  const second = await serve(t, { GATEWAY_RATE_LIMIT: '3', GATEWAY_STATE_DIR: first.stateDir })
  t.equal((await send(second.port, 'GET /')).status, 429)
})

t.test('the program runs on when the reader of its output goes away', async (t) => {
  const service = await startUpstream(t)
  const program = await serve(t, { GATEWAY_DASHBOARD_URL: service.url })
  program.child.stdout?.destroy()
  program.child.stderr?.destroy()
  const auth = await authorization()
  for (let i = 0; i < 200; i++) {
    const answer = await send(program.port, `GET /${i}`, [auth])
    if (answer.status !== 200) t.equal(answer.status, 200)
  }
  await elapse(700, 'it does not end within this')
  t.equal((await send(program.port, 'GET /', [auth])).status, 200)
  program.child.kill('SIGTERM')
  const [code] = (await once(program.child, 'exit')) as [number]
  t.equal(code, 0)
})
