/** Does a shell that prints anything at all stop the keeper, or fill its memory? And is nothing done that nobody asked for? */
import t from 'tap'
import {
  MAX_CELL_LENGTH,
  MAX_STRING_LENGTH,
} from '../../../src/terminals/keeper/xterm-internals.ts'
import { loadScreens, Screen } from '../../../src/terminals/keeper/screen.ts'
import { pageTerminal, parkedScreen, stateOf } from '../../helpers/screens.ts'

await loadScreens()

const SIZE = { columns: 80, rows: 24 }
const MIB = 1024 * 1024

/** What a screen may take, in bytes. */
const MAX_BYTES = 4 * MIB

/** Numbers that xterm.js counts down one by one, and output that makes it throw. */
const HOSTILE: readonly [string, string][] = [
  ...['L', 'M', 'S', 'T', 'I', 'Z', 'b', '@', 'P', 'X', ' @', ' A', "'}", "'~"].map(
    (final): [string, string] => [
      `a count as large as can be of ${final}`,
      `a\x1b[2147483647${final}`,
    ],
  ),
  ['an erased screen before the last cell', '\x1b[999;999H\x1b[1J'],
  ['the same in the alternate screen', '\x1b[?1049h\x1b[999;999H\x1b[?1J'],
]

for (const [what, output] of HOSTILE)
  t.test(`the screen outlives ${what}`, async (t) => {
    const screen = await parkedScreen(SIZE, [
      Buffer.from(output.repeat(20)),
      Buffer.from('\x1bcalive'),
    ])
    t.match(screen.snapshot().toString(), /alive$/)
    screen.dispose()
  })

/** Output that fills memory in a terminal that bounds nothing: 0.75 MiB of each. */
const FILLING: Record<string, (i: number) => string> = {
  'a title without an end': (i) => (i === 0 ? '\x1b]0;' : 'title'.repeat(100)),
  'a DCS sequence without an end': (i) => (i === 0 ? '\x1bP$q' : 'm'.repeat(500)),
  'an APC sequence without an end': (i) => (i === 0 ? '\x1b_' : 'm'.repeat(500)),
  'parameters without an end': (i) => (i === 0 ? '\x1b[' : '1:2;'.repeat(100)),
  'combining characters without an end': (i) => (i === 0 ? 'a' : '\u0301'.repeat(200)),
  'combining characters in every cell': () => `a${'\u0301'.repeat(31)}`,
  'a link for each character': (i) => `\x1b]8;;http://${i}/\x1b\\x`,
  'links without text': (i) => `\x1b]8;id=${i};http://${i}/${'x'.repeat(1000)}\x1b\\\r`,
  'an underline colour for each character': (i) => `\x1b[4;58;2;${i & 255};${(i >> 8) & 255};7mx`,
  'titles that are put on the stack': (i) => `\x1b]2;${'t'.repeat(2000)}${i}\x07\x1b[22;0t`,
  'colours for every index': (i) => `\x1b]4;${i % 300};#${String(i % 1000).padStart(6, '0')}\x07`,
  'combining characters that stand alone': () => '\x0e\x1b[4m\u0301',
}

for (const [what, part] of Object.entries(FILLING))
  t.test(`${what} are bounded`, async (t) => {
    const screen = new Screen(SIZE, 1000)
    let peak = 0
    let number = 0
    for (let written = 0; written < 0.75 * MIB;) {
      let text = ''
      while (text.length < 16 * 1024) text += part(number++)
      screen.write(Buffer.from(text), true)
      written += text.length
      await screen.parsed()
      peak = Math.max(peak, screen.bytes)
    }
    t.ok(peak <= MAX_BYTES, `${peak} bytes`)
    t.ok(screen.snapshot().length <= 2 * MIB)
    screen.write(Buffer.from('\x18\x1b\\\x1bcalive'), true)
    await screen.parsed()
    t.match(screen.snapshot().toString(), /alive$/)
    screen.dispose()
  })

t.test(
  'a list of colours takes time in proportion to its length, and one of all colours passes',
  async (t) => {
    const all = Array.from({ length: 256 }, (_, i) => `;${i};rgb:0011/0022/0033`).join('')
    const screen = await parkedScreen(SIZE, [
      Buffer.from(`\x1b]4${all}\x07\x1b]4${';1;rgb:ff/ff/ff'.repeat(4000)}\x07`),
    ])
    const snapshot = screen.snapshot().toString()
    t.ok(snapshot.includes('\x1b]4;255;rgb:'))
    t.notOk(snapshot.includes('\x1b]4;1;rgb:ff'), 'a longer list is left out')
    screen.dispose()
  },
)

t.test('memory is known without a look at every line, after whatever happened', async (t) => {
  const screen = new Screen(SIZE, 1000)
  screen.write(Buffer.from('text\r\n'.repeat(1200)), true)
  await screen.parsed()
  const plain = screen.bytes
  t.ok(plain > 1000 * SIZE.columns * 12 && plain < 2 * MIB, `${plain} bytes`)
  screen.write(Buffer.from('a\u0301'.repeat(40_000)), true)
  await screen.parsed()
  const full = screen.bytes
  t.ok(full > plain + 500_000, `${full} bytes with combining characters`)
  const began = process.threadCpuUsage()
  for (let i = 0; i < 10_000; i++) if (screen.bytes !== full) throw new Error('another answer')
  const { user, system } = process.threadCpuUsage(began)
  t.ok(user + system < 500_000, `${user + system} µs for 10,000 answers`)
  await screen.resize({ columns: 40, rows: 24 })
  const narrow = screen.bytes
  t.ok(narrow < full, `${narrow} bytes with shorter lines`)
  for (const _ of [1, 2, 3]) screen.trim()
  t.ok(screen.bytes < 0.7 * narrow, `${screen.bytes} bytes with an eighth of the lines`)
  screen.write(Buffer.from('\x1bc\x1b[3J' + 'x'.repeat(16_400) + '\x1bc'), true)
  await screen.parsed()
  t.ok(screen.bytes < 200_000, `${screen.bytes} bytes when all was cleared`)
  screen.dispose()
})

t.test('what is too long is left out, and what follows it is not', async (t) => {
  const long = 'x'.repeat(MAX_STRING_LENGTH + 1)
  const screen = await parkedScreen(SIZE, [
    Buffer.from(`\x1b]2;short\x07\x1b]2;${long}\x07a${'\u0301'.repeat(100)}b`),
  ])
  const page = pageTerminal(SIZE)
  await page.write(screen.snapshot())
  t.equal(stateOf(page)['title'], 'short')
  const line = page.terminal.buffer.active.getLine(0)
  t.equal(line?.getCell(0)?.getChars().length, MAX_CELL_LENGTH)
  t.equal(line?.getCell(1)?.getChars(), 'b')
  screen.dispose()
})

t.test('the rest of a sequence that was too long is not printed', async (t) => {
  const piece = 'x'.repeat(100_000)
  const screen = await parkedScreen(SIZE, [
    Buffer.from('\x1b]52;c;'),
    ...[1, 2, 3].map(() => Buffer.from(piece)),
  ])
  const page = pageTerminal(SIZE)
  await page.write(screen.snapshot())
  await page.write(`${piece}\x07after`)
  t.equal(page.terminal.buffer.active.getLine(0)?.translateToString(true), 'after')
  screen.dispose()
})

t.test('questions are answered once, and only while nobody is there', async (t) => {
  const screen = new Screen(SIZE, 1000)
  const answers: string[] = []
  screen.onAnswer = (text) => answers.push(text)
  const questions = '\x1b[c\x1b[>c\x1b[6n\x1b[5n\x1b[?25$p\x1bP$qm\x1b\\\x1b]11;?\x07\x1b[>q'
  screen.write(Buffer.from(questions), false)
  await screen.parsed()
  t.same(answers, [])
  screen.write(Buffer.from(questions), true)
  await screen.parsed()
  t.equal(answers.length, 6)
  const page = pageTerminal(SIZE)
  await page.write(screen.snapshot())
  t.same(page.answers, [])
  t.equal(answers.length, 6)
  screen.dispose()
})

t.test('a snapshot copies nothing to the clipboard', async (t) => {
  const screen = await parkedScreen(SIZE, [Buffer.from('a\x1b]52;c;c2VjcmV0\x07b')])
  t.notMatch(screen.snapshot().toString(), /52;|c2VjcmV0/)
  screen.dispose()
})

t.test('characters are as wide as in the page', async (t) => {
  for (const [version, column] of [
    ['11', 3],
    ['6', 2],
  ] as const) {
    const screen = new Screen(SIZE, 1000)
    screen.setUnicodeVersion(version)
    screen.write(Buffer.from('👩\x1b[mb\x1b[D'), true)
    await screen.parsed()
    t.match(screen.snapshot().toString(), `\x1b[1;${column}H`)
    screen.dispose()
  }
})

t.test('a screen of any size can be drawn', async (t) => {
  for (const size of [
    { columns: 1, rows: 1 },
    { columns: 100_000, rows: 100_000 },
    { columns: 1, rows: 100_000 },
  ]) {
    const screen = await parkedScreen(size, [Buffer.from('x漢'.repeat(5000))])
    t.ok(screen.bytes <= MAX_BYTES)
    await screen.resize({ columns: 3, rows: 2 })
    await screen.resize(size)
    t.ok(screen.snapshot().length > 0)
    screen.dispose()
  }
})
