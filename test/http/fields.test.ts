/** Are header fields read exactly as RFC 9110 defines them? */
import * as fc from 'fast-check'
import t from 'tap'
import { fieldLines, listElements, trimOws } from '../../src/http/fields.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

t.test('every line of a header is found, in order and in any case', async (t) => {
  const raw = ['Host', 'a', 'X-A', '1', 'x-a', '2', 'X-A', '', 'x-aa', '3', 'X_A', '4', 'X-A ', '5']
  t.same(fieldLines(raw, 'x-a'), ['1', '2', ''])
  t.same(fieldLines(raw, 'host'), ['a'])
  t.same(fieldLines(raw, 'x'), [])
  t.same(fieldLines([], 'host'), [])
})

t.test('a value is never read as a name', async (t) => {
  t.same(fieldLines(['a', 'host', 'b', 'host'], 'host'), [])
})

t.test('optional white space is only space and tab', async (t) => {
  const rows: ReadonlyArray<readonly [text: string, expected: string, why: string]> = [
    ['', '', 'nothing'],
    [' ', '', 'only a space'],
    [' \t a b \t', 'a b', 'both ends, not the middle'],
    ['a', 'a', 'nothing to trim'],
    ['\xa0a\xa0', '\xa0a\xa0', 'a no-break space stays'],
    ['\ra\n', '\ra\n', 'line ends stay'],
    ['\va\f', '\va\f', 'other controls stay'],
    ['\u2000a\u3000', '\u2000a\u3000', 'spaces of other alphabets stay'],
    ['\ufeffa', '\ufeffa', 'a byte order mark stays'],
  ]
  for (const [text, expected, why] of rows) t.equal(trimOws(text), expected, why)
})

t.test('a list is split into lower-case elements without empty ones', async (t) => {
  const rows: ReadonlyArray<readonly [value: string, expected: string[], why: string]> = [
    ['', [], 'an empty value'],
    [' , ,, ', [], 'empty elements only'],
    ['Keep-Alive', ['keep-alive'], 'one'],
    ['close,\tX-A , ,close', ['close', 'x-a', 'close'], 'several, one twice'],
    ['a b', ['a b'], 'a space inside separates nothing'],
    ['\xa0close', ['\xa0close'], 'a no-break space is part of the element'],
  ]
  for (const [value, expected, why] of rows) t.same(listElements(value), expected, why)
})

t.test('trimming keeps inner white space, and takes linear time', async (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(' ', '\t', 'a', '\xa0', '\n', '\u2000') }),
      (text) => trimOws(text) === text.replace(/^[ \t]+|[ \t]+$/g, ''),
    ),
    { seed: 20_260_102, numRuns: 2000 },
  )
  const cost = cpuMs(() => {
    trimOws(`a${' \t'.repeat(8192)}b`)
    listElements(', '.repeat(8192))
  })
  t.ok(cost < LINEAR_MS)
})
