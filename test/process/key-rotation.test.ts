/** Is the signing key replaced under load without a failed request, and does a session end with its own key only? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { HTTPS, signIn } from '../helpers/door.ts'
import { SECRET, token } from '../helpers/gateway.ts'
import { startLoad, type Tally } from '../helpers/load.ts'
import { serve, temporaryFolder } from '../helpers/process.ts'
import { TTY } from '../helpers/socket-pairs.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { closeCode, gather, open, requestBytes, upgrade } from '../helpers/wire.ts'

const NEXT = 'the-next-key-of-houston-9d2b77c1e04f5a38'

/** How many requests are answered between two changes of the keys. TEST_REQUESTS changes it. */
const REQUESTS = Number(process.env['TEST_REQUESTS'] ?? 250)

const ORIGIN = 'Origin: https://houston.hubify.com'

t.test('a key is rotated under load without a failed request', async (t) => {
  const folder = temporaryFolder(t)
  const [current, previous] = [join(folder, 'current'), join(folder, 'previous')]
  const service = await startUpstream(t, (request, response) => {
    if (request.url === '/events') {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write('data: begun\n\n')
    } else response.end('an answer')
  })
  writeFileSync(current, SECRET)
  writeFileSync(previous, '') // as docs/secrets.md says: there from the first start, and empty
  const program = await serve(t, {
    GATEWAY_JWT_SECRET: undefined,
    GATEWAY_JWT_SECRET_FILE: current,
    GATEWAY_JWT_PREVIOUS_SECRETS_FILE: previous,
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_TERMINAL_URL: service.url,
    GATEWAY_SESSION_RATE_LIMIT: '1000000',
  })
  const { port } = program
  const ring = async (...secrets: string[]) => {
    writeFileSync(current, secrets[0] ?? '')
    writeFileSync(previous, secrets.slice(1).join(','))
    const logged = program.stdout().length
    program.child.kill('SIGHUP')
    await eventually(() => program.stdout().includes('"keys replaced"', logged), 'keys replaced')
  }
  const load = (headers: Record<string, string>) =>
    startLoad({
      options: { host: '127.0.0.1', port, headers: { Host: 'houston.hubify.com', ...headers } },
      fresh: 0,
      kept: 3,
    })
  const more = async () => {
    const before = service.requests.length
    await eventually(() => service.requests.length >= before + REQUESTS, 'requests', 60_000)
  }
  /** A browser that is signed in: its requests, a terminal and an event stream. */
  const browser = async (secret: string) => {
    const line = await signIn(port, await token({ secret }))
    const socket = await open(port)
    const stream = gather(socket)
    socket.write(requestBytes('GET /events', [line, HTTPS]))
    await stream.until((text) => text.includes('begun'))
    return {
      endLoad: load({ Cookie: line.slice('Cookie: '.length), 'X-Forwarded-Proto': 'https' }),
      terminal: await upgrade(port, '/terminal/ws', [line, HTTPS, ORIGIN, TTY]),
      ...{ socket, stream },
    }
  }
  const startProgram = async (secret: string) =>
    load({ Authorization: `Bearer ${await token({ secret })}` })

  const begun = performance.now()
  const old = await browser(SECRET)
  t.equal(old.terminal.answer.status, 101)
  const endOldProgram = await startProgram(SECRET)
  await more()
  await ring(NEXT, SECRET)
  const fresh = await browser(SECRET) // its ticket is under the old key, its session under the new one
  const endNewProgram = await startProgram(NEXT)
  await more()
  await ring(SECRET, NEXT)
  await more()
  await ring(NEXT, SECRET)
  await more()
  const tallies: Tally[] = [await old.endLoad(), await endOldProgram()]
  t.equal(old.terminal.socket.destroyed, false)
  for (const { terminal } of [old, fresh]) terminal.socket.on('end', () => terminal.socket.end())
  await ring(NEXT)
  await old.terminal.closed
  t.equal(closeCode(old.terminal), 4401)
  await old.stream.over
  await more()
  tallies.push(await fresh.endLoad(), await endNewProgram())
  for (const { failures, answered } of tallies) {
    t.same(failures, {})
    t.ok(answered > 10, String(answered))
  }
  t.equal(fresh.terminal.socket.destroyed, false, 'the session of the key that stays goes on')
  t.equal(fresh.socket.destroyed, false)
  fresh.socket.destroy()
  fresh.terminal.socket.destroy()
  const perSecond = (service.requests.length / (performance.now() - begun)) * 1000
  t.comment(`${service.requests.length} requests, ${Math.round(perSecond)} a second`)
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
})
