/** Does a trace context reach the service, and is its id in the log? */
import t from 'tap'
import { traceIdOf } from '../../src/http/trace-context.ts'
import { client } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send, upgrade } from '../helpers/wire.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

t.test('a trace-id is read from a valid traceparent and from nothing else', async (t) => {
  const table: Array<
    [field: string | string[] | undefined, trace: string | undefined, why: string]
  > = [
    [`00-${TRACE}-${PARENT}-01`, TRACE, 'sampled'],
    [`00-${TRACE}-${PARENT}-00`, TRACE, 'not sampled'],
    [`01-${TRACE}-${PARENT}-01`, TRACE, 'a later version'],
    [`cc-${TRACE}-${PARENT}-01-what-comes`, TRACE, 'a later version with more'],
    [`00-${TRACE}-${PARENT}-01-more`, undefined, 'version 00 has no more'],
    [`00-${TRACE}-${PARENT}-01-`, undefined, 'version 00 has no more, not even nothing'],
    [`ff-${TRACE}-${PARENT}-01`, undefined, 'version ff is forbidden'],
    [`00-${'0'.repeat(32)}-${PARENT}-01`, undefined, 'no trace'],
    [`00-${TRACE}-${'0'.repeat(16)}-01`, undefined, 'no parent'],
    [`00-${TRACE.toUpperCase()}-${PARENT}-01`, undefined, 'upper case'],
    [`00-${TRACE}-${PARENT}`, undefined, 'no flags'],
    [`00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`, undefined, 'two'],
    [`01-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`, undefined, 'two of a later version'],
    [[`00-${TRACE}-${PARENT}-01`], undefined, 'a list'],
    ['', undefined, 'empty'],
    [undefined, undefined, 'absent'],
  ]
  for (const [field, trace, why] of table) t.equal(traceIdOf(field), trace, why)
})

t.test('traceparent and tracestate reach the service unchanged', async (t) => {
  const { port, services, logLine } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const fields: ReadonlyArray<readonly [string, string]> = [
    ['TraceParent', `00-${TRACE}-${PARENT}-01`],
    ['tracestate', 'vendor=a;b,other@x=  1'],
    ['tracestate', 'third=3'],
    ['baggage', 'k=v'],
  ]
  const lines = fields.map(([name, value]) => `${name}: ${value}`)
  for (const door of ['request', 'upgrade']) {
    const headers = [bearer, client('203.0.113.9'), ...lines]
    if (door === 'request') await send(port, 'GET /', headers)
    else (await upgrade(port, '/', headers)).socket.destroy()
    const raw = services.dashboard.requests.at(-1)?.rawHeaders ?? []
    const seen = raw.flatMap((name, i) =>
      i % 2 === 0 && /^(?:trace|baggage)/i.test(name) ? [[name, raw[i + 1]]] : [],
    )
    t.same(seen, fields, door)
    const { trace } = await logLine(
      ({ msg, websocket }) => msg === 'request' && (websocket === true) === (door === 'upgrade'),
    )
    t.equal(trace, TRACE)
  }
})

t.test('an invalid traceparent passes too, and is not in the log', async (t) => {
  const { port, services, logLine } = await startWorkspace(t)
  const headers = [`Authorization: Bearer ${await token()}`, 'traceparent: "}, secret']
  const answer = await send(port, 'GET /', headers)
  t.equal(services.dashboard.requests[0]?.headers['traceparent'], '"}, secret')
  t.notOk('trace' in (await logLine(({ id }) => id === answer.headers['x-request-id'])))
})
