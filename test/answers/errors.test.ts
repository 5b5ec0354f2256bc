/** Which errors can the gateway respond with, and with which status? */
import t from 'tap'
import {
  codeOf,
  ERRORS,
  fixedRetryAfter,
  GatewayError,
  upstreamErrorFrom,
  type ErrorCode,
} from '../../src/answers/errors.ts'

t.test('every code has the status in the contract', async (t) => {
  const statuses: Record<ErrorCode, number> = {
    'bad-request': 400,
    'bad-target': 400,
    'token-in-url': 400,
    'sign-in-required': 401,
    'token-invalid': 401,
    'token-expired': 401,
    'ticket-used': 401,
    'step-up-required': 401,
    'sensitive-file': 403,
    'origin-not-allowed': 403,
    'scope-missing': 403,
    'address-not-allowed': 403,
    'other-subject': 403,
    'not-found': 404,
    'method-not-allowed': 405,
    'request-timeout': 408,
    'body-too-large': 413,
    'expectation-failed': 417,
    'host-not-served': 421,
    'upgrade-required': 426,
    'rate-limited': 429,
    'headers-too-large': 431,
    'internal-error': 500,
    'upstream-unreachable': 502,
    draining: 503,
    'upstream-busy': 503,
    'too-many-terminals': 503,
    'state-unavailable': 503,
    'vault-unavailable': 503,
    'link-unavailable': 503,
    'upstream-timeout': 504,
  }
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    t.equal(ERRORS[code].status, statuses[code], code)
    t.equal(new GatewayError(code, { retryAfter: undefined }).statusCode, statuses[code])
    t.match(code, /^[a-z]+(?:-[a-z]+)*$/)
  }
})

t.test('each code says when a client gets it, in one plain sentence', async (t) => {
  for (const [code, { when }] of Object.entries(ERRORS)) {
    t.match(when, /^[A-Z`][^.!?]*(?:\.[a-z]+[^.!?]*)*\.$/, code)
    t.notMatch(when, /Retry-After|[|<>\n]/, `${code}: the column beside it says that`)
  }
})

t.test(
  'Retry-After is whole seconds of the table, or the code that throws must give them',
  async (t) => {
    const wants: Partial<Record<ErrorCode, object | number>> = {
      'rate-limited': { computed: String },
      'upstream-unreachable': 10,
      draining: 2,
      'upstream-busy': { request: 1, webSocket: 5 },
      'too-many-terminals': 30,
      'state-unavailable': 10,
      'vault-unavailable': 10,
      'link-unavailable': 10,
      'upstream-timeout': 30,
    }
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      const row = ERRORS[code]
      t.match('retryAfter' in row ? row.retryAfter : undefined, wants[code], code)
      t.equal(
        fixedRetryAfter(code),
        typeof wants[code] === 'number' ? wants[code] : undefined,
        code,
      )
    }
    // @ts-expect-error The compiler wants the seconds.
    t.equal(new GatewayError('rate-limited').retryAfter, undefined)
    // @ts-expect-error The compiler wants the seconds, also where other options are given.
    t.equal(new GatewayError('upstream-busy', { reason: 'full' }).retryAfter, undefined)
  },
)

t.test('the public texts contain no host, port, path or library', async (t) => {
  for (const { title } of Object.values(ERRORS)) {
    t.match(title, /^[A-Z][A-Za-z0-9 -]+$/)
    t.notMatch(title, /localhost|127|3001|undici|fastify|node|openclaw|ttyd|next/i)
  }
})

t.test('an error has a reason and a cause for the log, besides its public texts', async (t) => {
  const cause = new Error('inner')
  const error = new GatewayError('rate-limited', {
    reason: 'why',
    cause,
    retryAfter: 7,
    headers: { Allow: 'GET' },
  })
  t.match(error, { name: 'GatewayError', code: 'rate-limited', reason: 'why', cause })
  t.equal(error.message, ERRORS['rate-limited'].title)
  t.match(error, { retryAfter: 7, headers: { Allow: 'GET' } })
  t.notOk('cause' in new GatewayError('draining'))
})

t.test('a failure of a service is a 504 if it took too long, else a 502', async (t) => {
  const failing = (code: string) => Object.assign(new Error('connect 127.0.0.1:3001'), { code })
  t.match(upstreamErrorFrom(failing('ETIMEDOUT')), {
    code: 'upstream-timeout',
    reason: 'ETIMEDOUT',
  })
  for (const code of [
    'ECONNREFUSED',
    'ECONNRESET',
    'EPIPE',
    'ENOTFOUND',
    'ENOENT',
    'EHOSTUNREACH',
    'HPE_INVALID_CONSTANT',
  ])
    t.match(upstreamErrorFrom(failing(code)), { code: 'upstream-unreachable', reason: code })
  for (const odd of [undefined, null, 'text', 5, {}, new Error('x'), { code: 5 }])
    t.match(upstreamErrorFrom(odd), { code: 'upstream-unreachable', reason: 'failed' })
  const ours = new GatewayError('upstream-busy', { retryAfter: 1 })
  t.equal(upstreamErrorFrom(ours), ours, 'an answer that was already chosen stands')
})

t.test('the code of a foreign error is a string, or empty', async (t) => {
  t.equal(codeOf(Object.assign(new Error('x'), { code: 'EPERM' })), 'EPERM')
  for (const odd of [undefined, null, 'EPERM', new Error('x'), { code: 1 }, { code: null }, []])
    t.equal(codeOf(odd), '')
})
