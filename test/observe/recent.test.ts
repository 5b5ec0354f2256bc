/** Are the records of recent requests found again, complete, and within a bound? */
import { array, assert, property, string } from 'fast-check'
import t from 'tap'
import { logFields } from '../../src/observe/log-line.ts'
import { Decisions } from '../../src/observe/recent.ts'
import { rejectionOf } from '../../src/observe/record.ts'

t.test('the newest records are kept, as many as the ring has room for', async (t) => {
  const decisions = new Decisions(2000)
  const ids = Array.from({ length: 30 }, (_, i) => `request-${i}`)
  const kept: string[][] = []
  for (const id of ids) {
    decisions.add(rejectionOf(id, '::1', 400, 'bad-request', 'HPE_INVALID_METHOD'))
    t.equal(decisions.find(id)?.id, id)
    kept.push(ids.filter((one) => decisions.find(one) !== undefined))
  }
  for (const [i, known] of kept.entries())
    t.same(known, ids.slice(i + 1 - known.length, i + 1), 'the newest, without a gap')
  t.equal(kept[0]?.length, 1)
  t.ok((kept.at(-1)?.length ?? 0) >= 3)
  t.ok((kept.at(-1)?.length ?? 0) <= 12)
})

t.test('a record is read back unchanged, whatever characters its texts have', async (t) => {
  const decisions = new Decisions()
  let count = 0
  t.equal(decisions.find('x'), undefined)
  assert(
    property(array(string({ unit: 'binary' }), { maxLength: 20 }), (texts) => {
      for (const text of texts) {
        const id = `id-${count++}`
        const record = {
          ...rejectionOf(id, '::1', 400, 'bad-request', text),
          path: text,
          user: text,
          peer: text,
        }
        decisions.add(record)
        const line = JSON.parse(`{${logFields(record).slice(1)}}`) as Record<string, unknown>
        const found = decisions.find(id)
        const whole = text.toWellFormed()
        for (const said of [line['reason'], line['path'], line['user'], found?.path, found?.peer])
          if (String(said).toWellFormed() !== whole) return false
        if (found?.status !== 400 || found.websocket) return false
      }
      return true
    }),
    { numRuns: 100 },
  )
})

t.test('an id in the text of a record does not match another request', async (t) => {
  const decisions = new Decisions()
  const text = ',"id":"other","id":"other"'
  decisions.add(rejectionOf('one', text, 400, 'bad-request', text))
  t.equal(decisions.find('other'), undefined)
})

const decided = (id: string, status: number, code?: 'bad-request' | 'sign-in-required') => ({
  ...rejectionOf(id, '203.0.113.9', status, code ?? 'bad-request', 'why'),
  code,
})

t.test(
  'the newest refusals come first, and nothing that passed or was led elsewhere',
  async (t) => {
    const decisions = new Decisions()
    t.same(decisions.newestRefusals(5), [])
    decisions.add(decided('first', 400, 'bad-request'))
    decisions.add(decided('passed', 200))
    decisions.add(decided('of a service', 502))
    decisions.add(decided('led to sign in', 302, 'sign-in-required'))
    decisions.add(decided('left before the answer', 0, 'bad-request'))
    decisions.add(decided('failed', 503, 'bad-request'))
    const idsOf = (limit: number) => decisions.newestRefusals(limit).map(({ id }) => id)
    t.same(idsOf(5), ['failed', 'first'])
    t.same(idsOf(1), ['failed'])
    t.same(idsOf(0), [])
    t.match(decisions.newestRefusals(1), [
      { at: Number, client: '203.0.113.9', reason: 'why', status: 503, websocket: false },
    ])
  },
)

t.test('a text that looks like a record is none', async (t) => {
  const decisions = new Decisions()
  const text = '\n,"id":"forged","status":403,"code":"bad-request"\n'
  decisions.add({ ...decided('one', 200), path: text, reason: text, user: text })
  t.same(decisions.newestRefusals(9), [])
})

t.test('wherever the ring was cut, each refusal is whole and comes once', async (t) => {
  const wrong: string[] = []
  for (let bytes = 600; bytes < 900; bytes++) {
    const decisions = new Decisions(bytes)
    for (let i = 0; i < 12; i++) {
      decisions.add({ ...decided(`id-${i}`, 404, 'bad-request'), path: 'é'.repeat(i % 5) })
      const ids = decisions.newestRefusals(99).map(({ id }) => id)
      const expected = ids.map((_, k) => `id-${i - k}`)
      if (ids.length === 0 || ids.join() !== expected.join()) wrong.push(`${bytes}: ${ids.join()}`)
    }
  }
  t.same(wrong, [])
})
