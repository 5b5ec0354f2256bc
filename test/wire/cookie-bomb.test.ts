/** Does a browser get out again when a sibling has planted more cookies than a request can hold? */
import t from 'tap'
import { HTTPS, NAVIGATION } from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { exchange, parseAnswer, requestBytes, send } from '../helpers/wire.ts'

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
