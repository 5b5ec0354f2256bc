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
