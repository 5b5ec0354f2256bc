/** Which allowed origin is found in bytes that the HTTP parser rejected? */
import t from 'tap'
import { allowedOriginIn, corsFields } from '../../src/rules/cors.ts'

const APP = 'https://app.example.com'
const ALLOWED = [APP, 'http://localhost:5173']

t.test('an allowed origin is found only in exactly one whole Origin line', async (t) => {
  const head = 'GET /x HTTP/1.1\r\nHost: houston.hubify.com\r\n'
  const rows: Array<[packet: string, origin: string | undefined]> = [
    [`${head}Origin: ${APP}\r\nX: y`, APP],
    [`${head}ORIGIN:${APP} \r\n`, APP],
    [`${head}Origin: http://localhost:5173\r\n`, 'http://localhost:5173'],
    [`${head}Origin: ${APP}\r\nOrigin: ${APP}\r\n`, undefined],
    [`${head}Origin: ${APP}.evil.example\r\n`, undefined],
    [`${head}Origin: null\r\n`, undefined],
    [`${head}X-Origin: ${APP}\r\n`, undefined],
    [`${head}Origin: ${APP}\r\nX-Origin: x\r\n`, APP],
    [`${head}X: Origin: ${APP}\r\n`, undefined],
    [`${head}Origin: ${APP}, ${APP}\r\n`, undefined],
    [head, undefined],
    ['', undefined],
  ]
  for (const [packet, origin] of rows) t.equal(allowedOriginIn(packet, ALLOWED), origin, packet)
  t.equal(allowedOriginIn(`${head}Origin: ${APP}\r\n`, []), undefined, 'none is allowed')
  t.equal(allowedOriginIn(`${head}Origin: ${APP}\r\n`, [APP]), APP, 'one is allowed')
})

t.test('a cross-origin script may read the headers about retries and errors', async (t) => {
  t.same(corsFields(APP), {
    'Access-Control-Allow-Origin': APP,
    'Access-Control-Allow-Credentials': 'true',
    'Access-Control-Expose-Headers':
      'Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, X-Gateway-Error, X-Workspace-Token-Expires, WWW-Authenticate',
    Vary: 'Origin',
  })
})
