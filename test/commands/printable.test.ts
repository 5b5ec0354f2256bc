/** Can what strangers wrote control the terminal of the owner who reads it? */
import t from 'tap'
import { printable } from '../../src/answers/printable.ts'
import { jsonText, messageText, tableText } from '../../src/commands/printable.ts'

/** Every character that a terminal may obey or hides: C0, DEL, C1, line separators, direction, tags. */
const BAD = [
  '\0',
  '\u001b[31m',
  '\r',
  '\n',
  '\u007f',
  '\u009b31m',
  '\u2028',
  '\u202e',
  '\u{e0041}',
  '\ud800',
]

t.test('JSON says the same, without a character that controls a terminal', async (t) => {
  const value = { [`a${BAD.join('')}`]: BAD, list: ['"\\', 'Zoë 日本 👩‍🔬'] }
  for (const indent of [0, 2]) {
    const text = jsonText(value, indent)
    t.same(JSON.parse(text), value)
    t.notMatch(text.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u)
    t.equal(
      text.split('\n').length - 1,
      indent === 0 ? 1 : JSON.stringify(value, null, 2).split('\n').length,
    )
  }
  t.match(jsonText(value), 'Zoë 日本')
})

t.test('so do text and tables', async (t) => {
  for (const one of BAD) t.notMatch(printable(one), /[\p{C}\p{Zl}\p{Zp}]/u)
  t.equal(
    tableText(
      ['A'],
      BAD.map((one) => [one]),
    ).split('\n').length,
    BAD.length + 2,
  )
})

t.test('a message keeps its lines, and nothing else that controls a terminal', async (t) => {
  const text = messageText(`one\n  two${BAD.join('')}`)
  t.equal(text.split('\n').length, 3)
  t.notMatch(text.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u)
  t.match(text, 'one\n  two')
})
