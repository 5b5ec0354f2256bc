/** What does an address of the gateway answer to a method, or to a path, that it does not have? */
import t from 'tap'
import { assertRefused } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

t.test('a method that an address has no use for is answered 405 with those it has', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  for (const [path, allowed, others] of [
    ['/_gateway/sign-in', 'GET, HEAD, POST', ['PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/sign-out', 'POST', ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/signed-out', 'GET, HEAD', ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/renew', 'GET, HEAD, POST', ['PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway', 'GET, HEAD', ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/', 'GET, HEAD, POST', ['PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/verify-2fa', 'GET, HEAD, POST', ['PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/second-factor/app', 'POST', ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']],
    ['/_gateway/live', 'GET, HEAD', ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']],
  ] as const) {
    for (const method of others) {
      const answer = await send(port, `${method} ${path}`)
      t.equal(answer.status, 405, `${method} ${path}`)
      t.equal(answer.headers['x-gateway-error'], 'method-not-allowed')
      t.equal(answer.headers['allow'], allowed)
      const headers = ['Content-Type: application/json', 'Content-Length: 8']
      t.equal(
        (await send(port, `${method} ${path}`, headers, '{"broken')).status,
        405,
        'whatever its body',
      )
    }
  }
  t.equal(workspace.dials(), 0)
})

t.test(
  'addresses that the gateway does not have are nobody’s: 401 outside, 404 inside',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const path of [
      '/_gateway//',
      '/_gateway/x',
      '/_gateway/x/',
      '/_gateway/verify-2fa/',
      '/_gateway/second-factor',
      '/_gateway/sign-in/',
      '/_gateway/sign-in/x',
      '/_gateway/Sign-In',
      '/_gateway//sign-in',
      '/_gateway/health',
      '/_gateway/terminal',
    ]) {
      for (const method of ['GET', 'POST']) {
        const outside = await send(workspace.port, `${method} ${path}`, ['Content-Length: 0'])
        await assertRefused(t, workspace, outside, {
          code: 'sign-in-required',
          stage: 'authentication',
        })
        const inside = await send(workspace.port, `${method} ${path}`, [
          bearer,
          'Content-Length: 0',
        ])
        await assertRefused(t, workspace, inside, { code: 'not-found', stage: 'authentication' })
      }
    }
  },
)

t.test('no request names the address that answers 405 for the others', async (t) => {
  const workspace = await startWorkspace(t)
  for (const path of ['/wrong-method', '/wrong-method/own', '/%77rong-method'])
    t.equal((await send(workspace.port, `GET ${path}`)).status, 401, path)
  const bearer = `Authorization: Bearer ${await token()}`
  t.equal((await send(workspace.port, 'GET /wrong-method', [bearer])).status, 200)
  t.equal(workspace.dials(), 1, 'it is a path of the dashboard’s')
})
