/** Does a client get the coding that it likes best of those that are there, and nothing that it refuses? */
import { array, assert, constantFrom, property, tuple } from 'fast-check'
import t from 'tap'
import { chooseCoding, CODINGS, type ContentCoding } from '../../src/http/content-coding.ts'

const all = new Set<ContentCoding>(CODINGS)

/** The choice for these lines of the field. */
const chosen = (...lines: string[]): ContentCoding =>
  chooseCoding(
    lines.flatMap((line) => ['Accept-Encoding', line]),
    all,
  )

t.test(
  'a client gets the coding with the highest weight, and of equal ones the shortest',
  async (t) => {
    for (const [value, coding] of [
      ['gzip, deflate, br, zstd', 'br'],
      ['gzip', 'gzip'],
      ['GZip', 'gzip'],
      ['gzip;q=0.8, br;q=0.5', 'gzip'],
      ['gzip;q=0.5, br;q=0.501', 'br'],
      ['br \t;\t q=0.5 , gzip; q=0.7', 'gzip'],
      ['gzip;Q=1.000, br;q=0.999', 'gzip'],
      ['gzip;q=0.001', 'gzip'],
      ['gzip;q=0., br;q=1.', 'br'],
      ['*', 'br'],
      ['*;q=0.5, gzip', 'gzip'],
      ['br;q=0, *', 'gzip'],
      ['gzip;q=0.5, identity', 'identity'],
      ['gzip;q=0.5, identity;q=0.5', 'gzip'],
      ['identity;q=0, *', 'br'],
      ['identity;q=0, gzip', 'gzip'],
      ['*;q=0, gzip', 'gzip'],
      ['gzip, , ,', 'gzip'],
    ] as const)
      t.equal(chosen(value), coding, value)
    t.equal(chosen('identity;q=0.5', 'gzip'), 'gzip', 'several lines are one list')
  },
)

t.test('a client gets the plain body where it asks for nothing that is there', async (t) => {
  for (const value of [
    '',
    'identity',
    'deflate, zstd',
    'x-br',
    'gzip;q=0',
    'gzip;q=0.000, br;q=0',
    '*;q=0',
    'identity;q=0',
    '*;q=0, identity;q=0.5',
    'gzip, gzip;q=0',
    'gzip;q=0, gzip',
  ])
    t.equal(chosen(value), 'identity', value)
  t.equal(chosen(), 'identity', 'no field')
  t.equal(chooseCoding(['Accept-Encoding', '*, br'], new Set()), 'identity', 'nothing is there')
  t.equal(chooseCoding(['accept-encoding', 'br, gzip'], new Set(['gzip'] as const)), 'gzip')
})

t.test('a field that breaks the grammar is one that was not sent', async (t) => {
  for (const value of [
    'gzip;q=2',
    'gzip;q=1.001',
    'gzip;q=0.0001',
    'gzip;q=-1',
    'gzip;q=.5',
    'gzip;q=',
    'gzip;q',
    'gzip;q =1',
    'gzip;x=1',
    'gzip;q=1;x=1',
    'gzip q=1',
    'br, gzip deflate',
    'br, gz\u00a0ip',
    '"br"',
    'br, ;q=1',
    'br;q=1e0',
  ])
    t.equal(chosen(value), 'identity', value)
})

t.test('no field makes the gateway send what is not there, or what was refused', async () => {
  const part = tuple(
    constantFrom('gzip', 'br', 'identity', '*', 'zstd', 'BR', ''),
    constantFrom('', ';q=0', ';q=1', ';q=0.3', '; q=0.30', ';q=x'),
  )
  assert(
    property(array(part, { maxLength: 6 }), constantFrom(all, new Set()), (parts, there) => {
      const coding = chooseCoding(
        ['Accept-Encoding', parts.map((each) => each.join('')).join(', ')],
        there,
      )
      if (coding === 'identity') return true
      const its = parts.filter(([name]) => name.toLowerCase() === coding)
      return there.has(coding) && its.every(([, weight]) => weight !== ';q=0')
    }),
    { numRuns: 1000 },
  )
})
