/** Does a session end when its token does, however busy it is? */
import t from 'tap'
import { HTTPS, TYPED } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { SOON_MS } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

t.test(
  'no activity extends a session: only signing in sets the cookie, which expires with the token',
  async (t) => {
    const { port } = await startWorkspace(t, {
      GATEWAY_JWT_LEEWAY_SECONDS: '0',
      GATEWAY_SESSION_RATE_LIMIT: '1000000',
    })
    const good = await token({ ttlSeconds: 3 })
    const link = `GET /_gateway/sign-in?token=${good}`
    const signedIn = await send(port, link, [HTTPS, ...TYPED])
    const [session = '', age = ''] = (signedIn.headers['set-cookie'] ?? '').split('; ')
    const maxAge = Number(age.replace('Max-Age=', ''))
    t.ok(maxAge <= 3, `the browser keeps it for ${maxAge} seconds`)
    const begun = performance.now()
    let served = 0
    for (;;) {
      const answer = await send(port, 'GET /', [`Cookie: ${session}`, HTTPS])
      if (answer.status !== 200) {
        t.match(answer, {
          status: 401,
          headers: { 'x-gateway-error': 'token-expired', 'set-cookie': /Max-Age=0/ },
        })
        break
      }
      served++
      if (answer.headers['set-cookie'] !== undefined) t.fail('a cookie is set on the way')
      if (performance.now() - begun > SOON_MS) t.fail('it never ends')
      if (performance.now() - begun > SOON_MS) break
    }
    t.ok(served > 0)
    t.ok(performance.now() - begun < SOON_MS)
    t.equal((await send(port, link, [HTTPS, ...TYPED])).status, 401, 'nor does it sign in again')
  },
)
