/** Do idle connections, and those with an unfinished request, slow other requests down? */
import t from 'tap'
import { token } from '../helpers/gateway.ts'
import { serve } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { open, requestBytes, send } from '../helpers/wire.ts'

t.test('two thousand idle connections do not slow the next request', async (t) => {
  const auth = `Authorization: Bearer ${await token()}`
  const beginnings = [
    '',
    'GET / HT',
    'GET / HTTP/1.1\r\nHost: a',
    requestBytes('POST /upload', [auth, 'Content-Length: 9'], 'a'),
  ]
  const service = await startUpstream(t)
  const program = await serve(t, { GATEWAY_DASHBOARD_URL: service.url })
  const idle = []
  for (let i = 0; i < 2000; i++) {
    const socket = await open(program.port)
    socket.write(beginnings[i % beginnings.length] ?? '')
    idle.push(socket)
  }
  const times: number[] = []
  for (let i = 0; i < 20; i++) {
    const begun = performance.now()
    t.equal((await send(program.port, 'GET /', [auth])).status, 200)
    times.push(performance.now() - begun)
  }
  const median = times.toSorted((a, b) => a - b)[10] ?? Infinity
  t.ok(median < 200, `half of them within ${median} ms`)
  for (const socket of idle) socket.destroy()
})
