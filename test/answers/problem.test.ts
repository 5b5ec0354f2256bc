/** Does each error become a complete and safe response? */
import * as fc from 'fast-check'
import t from 'tap'
import { DETAILS } from '../../src/answers/details.ts'
import { ERRORS, fixedRetryAfter, GatewayError, type ErrorCode } from '../../src/answers/errors.ts'
import {
  ownHeaders,
  problemAnswer,
  rawAnswer,
  withBody,
  type Answer,
} from '../../src/answers/problem.ts'
import { anyText } from '../helpers/any-text.ts'
import { PAGES } from '../helpers/pages.ts'

const CODES = Object.keys(ERRORS) as ErrorCode[]
const PROGRAM = { requestId: 'id-1' }
const PERSON = { requestId: 'id-1', pages: PAGES, returnTo: '/logs?a=b' }

const withCode = (code: ErrorCode) => new GatewayError(code, { retryAfter: undefined })

interface Detailed {
  readonly detail: string
}

/** The values of a header, in order. */
function values({ headers }: Answer, name: string): string[] {
  return headers.filter(
    (_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name.toLowerCase(),
  )
}

t.test('a program gets problem details, with the code in the body and in a header', async (t) => {
  for (const code of CODES) {
    const answer = problemAnswer(withCode(code), PROGRAM)
    const { status, title } = ERRORS[code]
    t.equal(answer.status, status)
    t.same(JSON.parse(answer.body), {
      type: `urn:workspace-gateway:${code}`,
      title,
      status,
      code,
      detail: DETAILS[code],
      instance: 'id-1',
    })
    t.same(values(answer, 'Content-Type'), ['application/problem+json'])
    t.same(values(answer, 'X-Gateway-Error'), [code])
    t.same(values(answer, 'X-Request-Id'), ['id-1'])
    t.same(values(answer, 'Cache-Control'), ['no-store'])
    t.same(values(answer, 'X-Content-Type-Options'), ['nosniff'])
    t.same(values(answer, 'Referrer-Policy'), ['no-referrer'])
    t.same(values(answer, 'Content-Length'), [String(Buffer.byteLength(answer.body))])
  }
})

t.test('a person gets a page without any active content', async (t) => {
  for (const code of CODES) {
    const answer = problemAnswer(withCode(code), PERSON)
    t.equal(answer.status, ERRORS[code].status)
    t.match(answer.body, /^<!doctype html>/)
    const titles = [ERRORS[code].title, 'Sign in', 'A second factor is missing']
    t.ok(titles.some((title) => answer.body.includes(title)))
    t.same(values(answer, 'Content-Type'), ['text/html; charset=utf-8'])
    t.match(values(answer, 'Content-Security-Policy'), [/^default-src 'none'; /])
    t.same(values(answer, 'X-Gateway-Error'), [code])
    t.same(values(answer, 'Cache-Control'), ['no-store'])
    t.same(values(answer, 'Content-Length'), [String(Buffer.byteLength(answer.body))])
  }
})

t.test('a client that is not signed in gets a challenge (RFC 6750, RFC 9470)', async (t) => {
  const challenges: Partial<Record<ErrorCode, string>> = {
    'sign-in-required': 'Bearer realm="workspace"',
    'token-invalid': 'Bearer realm="workspace", error="invalid_token"',
    'token-expired': 'Bearer realm="workspace", error="invalid_token", error_description="expired"',
    'ticket-used': 'Bearer realm="workspace", error="invalid_token", error_description="used"',
    'step-up-required':
      'Bearer realm="workspace", error="insufficient_user_authentication", max_age=600',
    'scope-missing': 'Bearer realm="workspace", error="insufficient_scope"',
  }
  for (const code of CODES)
    for (const audience of [PROGRAM, PERSON]) {
      const expected = challenges[code] === undefined ? [] : [challenges[code]]
      t.same(values(problemAnswer(withCode(code), audience), 'WWW-Authenticate'), expected)
    }
})

t.test('a person who must sign in gets the form, with the path to return to', async (t) => {
  for (const code of CODES) {
    const { body } = problemAnswer(withCode(code), PERSON)
    const isSignIn = ERRORS[code].status === 401 && code !== 'step-up-required'
    t.equal(body.includes('action="/_gateway/sign-in"'), isSignIn, code)
    t.equal(body.includes('value="/logs?a=b"'), isSignIn)
  }
  const { body } = problemAnswer(withCode('step-up-required'), PERSON)
  t.match(body, '<a href="/logs?a=b">Try again</a>', 'who is signed in gets no such form')
  const plain = problemAnswer(new GatewayError('sign-in-required'), PERSON).body
  t.notMatch(plain, /role="alert"/, 'nothing went wrong yet')
  t.match(
    problemAnswer(new GatewayError('token-expired'), PERSON).body,
    /role="alert">The session has expired\./,
  )
})

t.test(
  'an error’s own detail replaces the default of its code, for programs and people',
  async (t) => {
    const error = new GatewayError('bad-target', { reason: 'for the log', detail: 'What to do.' })
    t.equal((JSON.parse(problemAnswer(error, PROGRAM).body) as Detailed).detail, 'What to do.')
    t.match(problemAnswer(error, PERSON).body, '<p>What to do.</p>')
    t.notMatch(problemAnswer(error, PERSON).body, 'for the log')
  },
)

t.test('Retry-After is that of the table, once, and a page loads itself again then', async (t) => {
  const refresh = (answer: Answer) =>
    /<meta http-equiv="refresh" content="([^"]*)"/.exec(answer.body)?.[1]
  const repeatable = { ...PERSON, repeatable: true }
  for (const code of CODES) {
    const seconds = fixedRetryAfter(code)
    const expected = seconds === undefined ? [] : [String(seconds)]
    t.same(values(problemAnswer(withCode(code), PROGRAM), 'Retry-After'), expected)
    t.equal(refresh(problemAnswer(withCode(code), repeatable)), expected[0])
    t.equal(refresh(problemAnswer(withCode(code), PERSON)), undefined, 'a POST')
    const [, raw] = /\r\nRetry-After: ([^\r]*)\r\n/.exec(rawAnswer(code, 'id-1')) ?? []
    t.equal(raw, expected[0], 'also where the parser refused the request')
    const own = problemAnswer(new GatewayError(code, { retryAfter: 37 }), repeatable)
    t.same(
      values(own, 'Retry-After'),
      ['37'],
      'the seconds of the error replace those of the table',
    )
    t.equal(refresh(own), ERRORS[code].status === 401 ? undefined : '37')
  }
})

t.test('the headers of an error are sent, each value on its own line', async (t) => {
  const error = new GatewayError('bad-request', {
    headers: { 'Set-Cookie': ['a=; Max-Age=0', 'b=; Max-Age=0'], Allow: 'GET' },
  })
  const answer = problemAnswer(error, PROGRAM)
  t.same(values(answer, 'set-cookie'), ['a=; Max-Age=0', 'b=; Max-Age=0'])
  t.same(values(answer, 'allow'), ['GET'])
})

t.test('no internal information of an error is sent', async (t) => {
  const hidden = 'connect ECONNREFUSED 127.0.0.1:3001'
  const error = new GatewayError('upstream-unreachable', {
    reason: hidden,
    cause: new Error(hidden),
  })
  for (const audience of [PROGRAM, PERSON]) {
    const { headers, body } = problemAnswer(error, audience)
    t.notMatch(headers.join('\n') + body, /ECONNREFUSED|127\.0|3001|at .*\.ts/)
  }
})

t.test('the Content-Length is counted in bytes', async (t) => {
  const answer = withBody(200, ownHeaders('id-1'), 'text/plain', 'é🦊')
  t.same(values(answer, 'Content-Length'), ['6'])
})

t.test(
  'bytes that are not a request get a valid HTTP response, and the connection is closed',
  async (t) => {
    for (const code of CODES) {
      const text = rawAnswer(code, 'id-1')
      const [head = '', ...rest] = text.split('\r\n\r\n')
      const body = rest.join('\r\n\r\n')
      const [statusLine = '', ...lines] = head.split('\r\n')
      t.match(statusLine, new RegExp(`^HTTP/1\\.1 ${ERRORS[code].status} [\\x20-\\x7e]+$`))
      const fields = new Map<string, string>()
      for (const line of lines) {
        const [, name = '', value = ''] = /^([A-Za-z-]+): ([\x20-\x7e]+)$/.exec(line) ?? []
        t.not(name, '', line)
        t.notOk(fields.has(name.toLowerCase()), `${name} once`)
        fields.set(name.toLowerCase(), value)
      }
      t.equal(fields.get('content-length'), String(Buffer.byteLength(body)))
      t.equal(fields.get('connection'), 'close')
      t.equal(fields.get('x-gateway-error'), code)
      t.ok(Math.abs(Date.parse(fields.get('date') ?? '') - Date.now()) < 60_000)
      t.equal((JSON.parse(body) as { code: string }).code, code)
    }
    t.match(
      rawAnswer('method-not-allowed', 'id-1', { Allow: 'GET, HEAD' }),
      /\r\nAllow: GET, HEAD\r\n/,
    )
  },
)

t.test('any return path stays inside its attribute of the page', async () => {
  fc.assert(
    fc.property(anyText(), (returnTo) => {
      const { body } = problemAnswer(new GatewayError('sign-in-required'), { ...PERSON, returnTo })
      const inside = /name="return_to" value="([^"]*)"/.exec(body)?.[1] ?? ''
      const decoded = inside.replaceAll(/&#([0-9]+);/g, (_, code) =>
        String.fromCharCode(Number(code)),
      )
      return !/[<>"']/.test(inside) && decoded === returnTo
    }),
  )
})
