/** Does anything that is sent to the limits service harm it? Random bytes, JSON and addresses: never a 5xx, and nothing is taken by mistake. */
import * as fc from 'fast-check'
import t from 'tap'
import { anyText } from '../helpers/any-text.ts'
import { BEARER, jsonOf, limitsFor } from '../helpers/limits.ts'
import { watchForCrashes } from '../helpers/waiting.ts'
import { exchange, parseAnswer, requestBytes } from '../helpers/wire.ts'

const RUNS = 150

const crashes = watchForCrashes()

t.test('random bytes', async (t) => {
  const limits = await limitsFor(t)
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), async (bytes) => {
      const text = await exchange(limits.port, Buffer.concat([bytes, Buffer.from('\r\n\r\n')]))
      if (text !== '' && !/^HTTP\/1\.1 4\d\d /.test(text)) throw new Error(text)
    }),
    { numRuns: RUNS },
  )
  t.same(limits.store.changes, [])
})

t.test('random bodies', async (t) => {
  const limits = await limitsFor(t)
  const body = fc.oneof(
    fc.json({ maxDepth: 3 }),
    anyText(60).map((text) => text.toWellFormed()),
    fc
      .record({ user: fc.anything(), grant: fc.anything() }, { requiredKeys: [] })
      .map((value) => JSON.stringify(value, (_key, one: unknown) => plain(one)) ?? ''),
    fc.tuple(anyText(8), anyText(8)).map(([name, value]) => JSON.stringify({ [name]: value })),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('POST', 'DELETE'),
      body.filter((text) => text !== ''),
      async (method, text) => {
        const before = limits.store.changes.length
        const answer = await limits.ask(`${method} /v1/provision`, text)
        const changed = limits.store.changes.length - before
        if (answer.status >= 500) throw new Error(answer.raw)
        if ((answer.status === 400 || answer.status === 413) !== (changed === 0))
          throw new Error(`${answer.status} and ${changed} changes`)
        if (answer.status >= 400 && jsonOf(answer)['status'] !== answer.status)
          throw new Error(answer.raw)
      },
    ),
    { numRuns: RUNS },
  )
})

t.test('random addresses', async (t) => {
  const limits = await limitsFor(t)
  const piece = fc.oneof(
    fc.constantFrom('/v1', '/provision', '/healthz', '?', '&', '=', 'user', '%', '%2F', '//', '..'),
    anyText(4).map((text) => text.replaceAll(/[^\x21-\x7e]/g, '')),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('GET', 'POST', 'DELETE', 'PUT', 'HEAD', 'OPTIONS'),
      fc.array(piece, { maxLength: 8 }),
      async (method, pieces) => {
        const bytes = requestBytes(`${method} /${pieces.join('')}`, [BEARER, 'Connection: close'])
        const answer = parseAnswer(await exchange(limits.port, bytes))
        if (answer.status < 200 || answer.status >= 500) throw new Error(bytes + answer.raw)
        if (/FST_|node:/.test(answer.raw)) throw new Error(answer.raw)
      },
    ),
    { numRuns: RUNS },
  )
  t.same(
    limits.store.changes.filter((change) => change.startsWith('take')),
    [],
  )
})

t.test('nobody noticed', async (t) => {
  t.same(crashes, [])
  const limits = await limitsFor(t)
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' })).status, 200)
})

/** What JSON cannot say is left out. */
function plain(value: unknown): unknown {
  return typeof value === 'bigint' || typeof value === 'symbol' ? undefined : value
}
