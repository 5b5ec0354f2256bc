/** Is every service mounted with its whole address space, its bodies untouched and nothing of Fastify in between? */
import t from 'tap'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send } from '../helpers/wire.ts'

const bearer = async () => `Authorization: Bearer ${await token()}`

t.test('bodies of any type and size pass, malformed ones too', async (t) => {
  const { port, services } = await startWorkspace(t)
  const large = 'x'.repeat(3_000_000)
  for (const [type, body] of [
    ['application/json', '{"broken'],
    ['application/json', ''],
    ['text/plain', large],
    ['application/x-www-form-urlencoded', '%zz=%'],
    ['multipart/form-data', 'no boundary'],
    ['what/ever; =', 'x'],
  ] as const) {
    const headers = [await bearer(), `Content-Type: ${type}`, `Content-Length: ${body.length}`]
    t.equal((await send(port, 'POST /', headers, body)).status, 200, type)
    t.equal(services.dashboard.requests.at(-1)?.headers['content-type'], type)
    t.ok(services.dashboard.requests.at(-1)?.body === body, 'byte for byte')
  }
})

t.test('a chunked body passes, and so does a request without a body', async (t) => {
  const { port, services } = await startWorkspace(t)
  await send(
    port,
    'POST /',
    [await bearer(), 'Transfer-Encoding: chunked'],
    '5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n',
  )
  t.equal(services.dashboard.requests.at(-1)?.body, 'hello world')
  for (const headers of [[], ['Content-Length: 0']]) {
    t.equal((await send(port, 'POST /', [await bearer(), ...headers])).status, 200)
    t.equal(services.dashboard.requests.at(-1)?.body, '')
  }
  t.equal(
    (await send(port, 'GET /', [await bearer(), 'Content-Length: 5'], 'hello')).status,
    200,
    'on a GET as well',
  )
  t.equal(services.dashboard.requests.at(-1)?.body, 'hello')
})

t.test('any status of a service reaches the client, those without a body too', async (t) => {
  const service = await startUpstream(t, ({ url }, response) => {
    response.writeHead(Number(url?.slice(1)), { 'X-Own': 'yes' }).end()
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  for (const status of [
    200, 201, 204, 206, 301, 304, 400, 401, 404, 405, 413, 415, 418, 429, 500, 503, 599,
  ]) {
    const answer = await send(gateway.port, `GET /${status}`, [await bearer()])
    t.equal(answer.status, status)
    t.equal(answer.headers['x-own'], 'yes')
    t.equal(answer.headers['x-gateway-error'], undefined)
  }
})

t.test('a HEAD request reaches the service as HEAD', async (t) => {
  const { port, services } = await startWorkspace(t)
  for (const [target, service] of [
    ['/', 'dashboard'],
    ['/api/x', 'api'],
    ['/terminal/', 'terminal'],
  ] as const) {
    const answer = await send(port, `HEAD ${target}`, [await bearer()])
    t.equal(answer.status, 200)
    t.equal(answer.body, '')
    t.equal(services[service].requests.at(-1)?.method, 'HEAD')
  }
})

t.test('each Set-Cookie of a service stays a header of its own', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response
      .writeHead(200, {
        'Set-Cookie': ['a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT', 'b=2; HttpOnly', 'c=3'],
      })
      .end()
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  const answer = await send(gateway.port, 'GET /', [await bearer()])
  t.equal(
    answer.headers['set-cookie'],
    'a=1; Expires=Wed, 01 Jan 2031 00:00:00 GMT\nb=2; HttpOnly\nc=3',
  )
})
