/** Which requests does the limits service not take? Each is refused with a reason, and takes nothing. */
import t from 'tap'
import { BEARER, jsonOf, limitsFor } from '../helpers/limits.ts'
import { send } from '../helpers/wire.ts'

const USER =
  /^user takes a text of 1 to 256 characters without control characters, in Unicode's form NFC$/
const GRANT = /^grant takes 1 to 128 characters of A-Z a-z 0-9 \. _ : -$/
const MEMBERS = /^the body takes the members user and grant alone$/
const TWICE = /^the body has a member twice$/
const NOT_JSON = /^the body is not JSON$/
const NO_OBJECT = /^the body is not a JSON object$/

/** Bodies of POST and DELETE, and why they are refused. */
const BODIES: ReadonlyArray<readonly [body: unknown, why: RegExp]> = [
  [{}, USER],
  [{ user: '' }, USER],
  [{ user: null }, USER],
  [{ user: 7 }, USER],
  [{ user: true }, USER],
  [{ user: ['ada'] }, USER],
  [{ user: { name: 'ada' } }, USER],
  [{ user: 'a'.repeat(257) }, USER],
  [{ user: 'a\nb' }, USER],
  [{ user: 'a\u0000' }, USER],
  [{ user: 'a\u007f' }, USER],
  [{ user: 'a\u0085' }, USER],
  ['{"user":"\\ud800"}', USER],
  [{ user: 'Ame\u0301lie' }, USER],
  [{ user: '\u212b' }, USER],
  [{ grant: 'a' }, USER],
  [{ user: 'ada', grant: '' }, GRANT],
  [{ user: 'ada', grant: null }, GRANT],
  [{ user: 'ada', grant: 1 }, GRANT],
  [{ user: 'ada', grant: ['a'] }, GRANT],
  [{ user: 'ada', grant: 'a b' }, GRANT],
  [{ user: 'ada', grant: 'a\n' }, GRANT],
  [{ user: 'ada', grant: 'ä' }, GRANT],
  [{ user: 'ada', grant: 'a'.repeat(129) }, GRANT],
  [{ user: 'ada', grants: 'a' }, MEMBERS],
  [{ user: 'ada', User: 'bob' }, MEMBERS],
  [{ user: 'ada', points: 0 }, MEMBERS],
  ['{"user":"ada","__proto__":{"grant":"a"}}', MEMBERS],
  ['{"__proto__":{"user":"ada"}}', MEMBERS],
  ['{"user":"ada","constructor":"a"}', MEMBERS],
  ['{"user":"ada","user":"bob"}', TWICE],
  ['{"user":"ada","\\u0075ser":"ada"}', TWICE],
  ['{"user":7,"user":"ada"}', TWICE],
  ['{"user":{"user":"x"},"user":"ada"}', TWICE],
  ['{"user":"ada","grant":"a","grant":"a"}', TWICE],
  ['null', NO_OBJECT],
  ['"ada"', NO_OBJECT],
  ['["user"]', NO_OBJECT],
  ['7', NO_OBJECT],
  ['user=ada', NOT_JSON],
  ["{'user':'ada'}", NOT_JSON],
  ['{"user":"ada"', NOT_JSON],
  ['{"user":"ada"}{"user":"bob"}', NOT_JSON],
  ['{"user":"ada",}', NOT_JSON],
  ['{"user":"a\tb"}', NOT_JSON],
  ['\ufeff{"user":"ada"}', NOT_JSON],
  ['   ', NOT_JSON],
]

t.test('a body that is not as the service takes it is refused with the reason', async (t) => {
  const limits = await limitsFor(t)
  for (const [body, why] of BODIES)
    for (const method of ['POST', 'DELETE']) {
      const answer = await limits.ask(`${method} /v1/provision`, body)
      const about = `${method} ${JSON.stringify(body)}`
      t.equal(answer.status, 400, about)
      t.match(jsonOf(answer), { code: 'bad-request', detail: why }, about)
    }
  t.same(limits.store.changes, [])
})

t.test('a query that is not as the service takes it is refused with the reason', async (t) => {
  const limits = await limitsFor(t)
  const escapes = /^the query is not UTF-8 in percent-encoding$/
  const queries: ReadonlyArray<readonly [query: string, why: RegExp]> = [
    ['', USER],
    ['?', USER],
    ['?user', USER],
    ['?user=', USER],
    ['?user=%00', USER],
    ['?user=e%CC%81', USER],
    [`?user=${'a'.repeat(257)}`, USER],
    ['?user=%', escapes],
    ['?user=%zz', escapes],
    ['?user=%ff', escapes],
    ['?user=%ED%A0%80', escapes],
    ['?user=ada&', /^the query takes user/],
    ['?user=ada&user=ada', /^the query takes user.*, each once, and nothing else$/],
    ['?user=ada&%75ser=bob', /^the query takes user/],
    ['?user=ada&x=1', /^the query takes user/],
    ['?User=ada', /^the query takes user/],
    ['?user=ada&__proto__=x', /^the query takes user/],
    ['?user[]=ada', /^the query takes user/],
  ]
  for (const [query, why] of queries)
    for (const method of ['GET', 'DELETE']) {
      const answer = await limits.ask(`${method} /v1/provision${query}`)
      t.equal(answer.status, 400, `${method} ${query}`)
      t.match(jsonOf(answer), { code: 'bad-request', detail: why }, `${method} ${query}`)
    }
  const grants = await limits.ask('DELETE /v1/provision?user=ada&grant=a%20b')
  t.match(jsonOf(grants), { status: 400, detail: GRANT })
  const looked = await limits.ask('GET /v1/provision?user=ada&grant=a')
  t.match(jsonOf(looked), {
    status: 400,
    detail: 'the query takes user, each once, and nothing else',
  })
  t.same(limits.store.changes, [])
})

t.test('body and query are for one method each, and for DELETE not both', async (t) => {
  const limits = await limitsFor(t)
  const cases: ReadonlyArray<readonly [line: string, body: unknown, why: string]> = [
    ['POST /v1/provision', undefined, 'POST takes a body: a JSON object with user'],
    ['POST /v1/provision', '', 'POST takes a body: a JSON object with user'],
    ['POST /v1/provision?user=ada', { user: 'ada' }, 'POST takes user and grant in the body alone'],
    ['POST /v1/provision?user=ada', undefined, 'POST takes user and grant in the body alone'],
    ['GET /v1/provision?user=ada', { user: 'ada' }, 'GET takes no body'],
    ['GET /v1/provision', { user: 'ada' }, 'GET takes no body'],
    [
      'DELETE /v1/provision?user=ada',
      { user: 'ada' },
      'DELETE takes user and grant in the query or in the body',
    ],
  ]
  for (const [line, body, detail] of cases) {
    const answer = await limits.ask(line, body)
    t.equal(answer.status, 400, line)
    t.match(jsonOf(answer), { code: 'bad-request', detail }, line)
  }
  t.same(limits.store.changes, [])
})

t.test('a body that is not declared as JSON is not read', async (t) => {
  const limits = await limitsFor(t)
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'application/problem+json',
    'application',
    '',
    ';',
    'application/json, text/plain',
  ]) {
    const answer = await limits.ask('POST /v1/provision', { user: 'ada' }, [
      `Content-Type: ${type}`,
    ])
    t.equal(answer.status, 415, type)
    t.match(jsonOf(answer), { code: 'unsupported-media-type', detail: /application\/json$/ }, type)
  }
  t.same(limits.store.changes, [])
  const spelt = ['Content-Type: Application/JSON; charset=utf-8']
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' }, spelt)).status, 200)
})

t.test('a body that is not UTF-8 is not read as if it were', async (t) => {
  const limits = await limitsFor(t)
  for (const user of ['\xff', '\xc0\xaf', '\xed\xa0\x80', 'caf\xe9']) {
    const body = `{"user":"${user}"}`
    const fields = [BEARER, 'Content-Type: application/json', `Content-Length: ${body.length}`]
    const answer = await send(limits.port, 'POST /v1/provision', fields, body)
    t.match(jsonOf(answer), { status: 400, detail: 'the body is not UTF-8' })
  }
  t.same(limits.store.changes, [])
})

t.test('a body has at most 4 KiB, announced or not', async (t) => {
  const limits = await limitsFor(t)
  const padded = (bytes: number) => {
    const text = '{"user":"ada"}'
    return text + ' '.repeat(bytes - text.length)
  }
  t.equal((await limits.ask('POST /v1/provision', padded(4096))).status, 200)
  limits.store.changes.length = 0
  const large = await limits.ask('POST /v1/provision', padded(4097))
  t.equal(large.status, 413)
  t.match(jsonOf(large), { code: 'body-too-large', detail: 'the body has more than 4096 bytes' })
  const chunks = `1000\r\n${padded(4096)}\r\n1\r\n \r\n0\r\n\r\n`
  const fields = [BEARER, 'Content-Type: application/json', 'Transfer-Encoding: chunked']
  const chunked = await send(limits.port, 'POST /v1/provision', fields, chunks)
  t.equal(chunked.status, 413)
  t.match(jsonOf(chunked), { code: 'body-too-large' })
  t.same(limits.store.changes, [])
})

t.test(
  'what is wrong with the caller, the address and the body is said in this order',
  async (t) => {
    const limits = await limitsFor(t)
    const plain = ['Content-Type: text/plain']
    t.equal((await send(limits.port, 'PUT /v1/none', plain, 'x')).status, 401)
    t.equal((await limits.ask('PUT /v1/none', 'x', plain)).status, 404)
    t.equal((await limits.ask('PUT /v1/provision', 'x', plain)).status, 405)
    t.equal((await limits.ask('POST /v1/provision?x', 'x'.repeat(5000), plain)).status, 415)
    t.equal((await limits.ask('POST /v1/provision?x', 'x'.repeat(5000))).status, 413)
    t.equal((await limits.ask('POST /v1/provision?x', 'x')).status, 400)
    t.same(limits.store.changes, [])
  },
)
