/** Does a browser get out again when a sibling has planted more cookies than a request can hold? */
import t from 'tap'
import { HTTPS, NAVIGATION } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { exchange, gather, open, parseAnswer, requestBytes, send } from '../helpers/wire.ts'
import { readByPeer } from '../helpers/waiting.ts'

const COOKIES = `Cookie: ${Array.from({ length: 40 }, (_, i) => `bomb${i}=${'x'.repeat(450)}`).join('; ')}`

t.test(
  'cookies that fit no more are answered 431, and the browser is told to drop them',
  async (t) => {
    const { port, dials } = await startWorkspace(t)
    for (const target of ['/', '/terminal/', `/x?${'y'.repeat(3000)}`]) {
      const answer = parseAnswer(
        await exchange(port, requestBytes(`GET ${target}`, [HTTPS, ...NAVIGATION, COOKIES])),
      )
      t.match(answer, {
        status: 431,
        headers: { 'clear-site-data': '"cookies"', 'x-gateway-error': 'headers-too-large' },
      })
    }
    t.equal(
      (await send(port, 'GET /', [HTTPS, ...NAVIGATION])).status,
      401,
      'without them it is served',
    )
    t.equal(dials(), 0)
  },
)

t.test('a link that is too long signs nobody out', async (t) => {
  const { port } = await startWorkspace(t)
  for (const headers of [[], ['Cookie: a=b']]) {
    const answer = parseAnswer(
      await exchange(port, requestBytes(`GET /${'x'.repeat(17_000)}`, [HTTPS, ...headers])),
    )
    t.equal(answer.status, 431)
    t.notOk(answer.headers['clear-site-data'])
  }
  const answer = parseAnswer(
    await exchange(port, requestBytes('GET /', [`X-Long: ${'x'.repeat(17_000)}`])),
  )
  t.notOk(answer.headers['clear-site-data'], 'nor does another field')
})

/** Sends bytes in pieces, each only when the one before has been read. */
async function inPieces(port: number, bytes: string, size: number) {
  const socket = await open(port)
  socket.setNoDelay(true)
  const { over } = gather(socket)
  for (let at = 0; at < bytes.length && !socket.destroyed; at += size) {
    socket.write(bytes.slice(at, at + size), 'latin1')
    await readByPeer(socket)
  }
  return parseAnswer((await over).text)
}

t.test('the same when the request comes in pieces, as Caddy sends it', async (t) => {
  const { port } = await startWorkspace(t)
  const values = Array.from({ length: 10 }, (_, i) => `bomb${i}=${'x'.repeat(4000)}`)
  const bomb = requestBytes('GET /', [HTTPS, ...NAVIGATION, `Cookie: ${values.join('; ')}`])
  for (const size of [4096, 5000, 8192]) {
    const answer = await inPieces(port, bomb, size)
    t.match(answer, { status: 431, headers: { 'clear-site-data': '"cookies"' } }, `${size} bytes`)
  }
  // The end of a long address, or a field behind it, begins the piece that is too much.
  const cookie = `Cookie: session=${'y'.repeat(1500)}; theme=dark`
  for (const length of [14_800, 15_200, 15_800, 16_350, 17_000]) {
    const link = requestBytes(`GET /${'x'.repeat(length)}`, [HTTPS, ...NAVIGATION, cookie])
    const answer = await inPieces(port, link, 4096)
    t.equal(answer.status, 431)
    t.notOk(answer.headers['clear-site-data'], `an address of ${length} signs nobody out`)
  }
})
