/** Can a path that looks like a file make a cache store a user's private response for everybody? */
import t from 'tap'
import { cookie, HTTPS } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

t.test(
  'a response to a signed-in user is never cacheable, whatever the path ends in',
  async (t) => {
    const { port } = await startWorkspace(t)
    const good = await token()
    for (const credential of [[cookie(good), HTTPS], [`Authorization: Bearer ${good}`]])
      for (const target of [
        '/dashboard/x.css',
        '/settings/a.js?v=1',
        '/api/a%2f.css',
        '/api/me;.png',
        '/terminal/x.ico',
        '/_next/static/../x.js',
        '/x%00.css',
        '/favicon.ico',
        '/robots.txt',
      ]) {
        const { headers } = await send(port, `GET ${target}`, credential)
        t.match(headers['cache-control'], /\bno-store\b/, target)
      }
  },
)

t.test('no refusal, redirect or page of the gateway is cacheable', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://login.hubify.com/' })
  for (const [requestLine, headers] of [
    ['GET /x.css', []],
    ['GET /x.css', ['Accept: text/html']],
    ['GET /.env', []],
    ['GET /_gateway/sign-in', []],
    [`GET /_gateway/sign-in?token=${await token()}`, []],
    ['GET /_gateway/x.js', []],
    ['GET /', ['Host: evil.example']],
  ] as Array<[string, string[]]>)
    t.match(
      (await send(port, requestLine, headers)).headers['cache-control'],
      'no-store',
      requestLine,
    )
})
