/**
 * Does a terminal that gets a snapshot show what a terminal shows that was never cut, and does it go on in the same way? Programs'
 * output is made at random, with every sequence that xterm.js knows.
 */
import * as fc from 'fast-check'
import t from 'tap'
import { loadScreens, Screen } from '../../../src/terminals/keeper/screen.ts'
import {
  differenceOf,
  isExact,
  pageTerminal,
  parkedScreen,
  programOutput,
  SCROLLBACK,
  stateOf,
} from '../../helpers/screens.ts'

await loadScreens()

const RUNS = Number(process.env['SCREEN_RUNS'] ?? 50)
const SEED = Number(process.env['SCREEN_SEED'] ?? 20_261_128)

/** What the page has shown before: colours, modes, a link, and the beginning of a sequence and of a character. */
const LEFT_OVER =
  '\x1b[1;31mold\x1b[?25l\x1b[20h\x1b[?1003h\x1b[4h\x1b(0\x1b]8;;http://old/\x07\x1b]0;old'

const sizes = fc.record({
  columns: fc.integer({ min: 2, max: 24 }),
  rows: fc.integer({ min: 2, max: 7 }),
})

/** Output before and after the snapshot, and where it is cut into pieces. */
const outputs = sizes.chain((size) =>
  fc.tuple(
    fc.constant(size),
    programOutput(size, 40),
    programOutput(size, 40),
    fc.array(fc.nat(10_000), { maxLength: 6 }),
  ),
)

function piecesOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b)
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i]))
}

t.test('a snapshot restores the screen, and further output has the same effect', (t) =>
  fc
    .assert(
      fc.asyncProperty(outputs, async ([size, before, after, cuts]) => {
        const never = pageTerminal(size)
        const bytes = Buffer.from(before.join(''))
        await never.write(bytes)
        fc.pre(isExact(never))
        const screen = await parkedScreen(size, piecesOf(bytes, cuts))
        const page = pageTerminal(size)
        await page.write(LEFT_OVER)
        const { length: answered } = page.answers
        await page.write(screen.snapshot())
        screen.dispose()
        equal(stateOf(page), stateOf(never), 'at once')
        if (page.answers.length > answered) throw new Error('the snapshot asks questions')
        await never.write(after.join(''))
        await page.write(after.join(''))
        equal(stateOf(page), stateOf(never), 'after further output')
      }),
      { numRuns: RUNS, seed: SEED },
    )
    .then(() => t.pass()),
)

t.test('output that was cut anywhere goes on behind the snapshot', (t) =>
  fc
    .assert(
      fc.asyncProperty(outputs, fc.nat(10_000), async ([size, before, after, cuts], cut) => {
        const never = pageTerminal(size)
        const bytes = Buffer.from(`${before.join('')}é漢👩${after.join('')}`)
        const at = cut % (bytes.length + 1)
        const screen = await parkedScreen(size, piecesOf(bytes.subarray(0, at), cuts))
        const until = pageTerminal(size)
        await until.write(bytes.subarray(0, at))
        fc.pre(isExact(until))
        const page = pageTerminal(size)
        // In one piece, because xterm.js loses some characters that come in two.
        await page.write(Buffer.concat([screen.snapshot(), bytes.subarray(at)]))
        screen.dispose()
        await never.write(bytes)
        equal(stateOf(page), stateOf(never), 'after all output')
      }),
      { numRuns: RUNS, seed: SEED },
    )
    .then(() => t.pass()),
)

t.test('a screen that has changed its size is drawn in the new one', (t) =>
  fc
    .assert(
      fc.asyncProperty(outputs, sizes, async ([size, before, after, cuts], next) => {
        const never = pageTerminal(size)
        const bytes = Buffer.from(before.filter((part) => !hasWide(part)).join(''))
        await never.write(bytes)
        never.terminal.resize(next.columns, next.rows)
        fc.pre(isExact(never))
        const screen = new Screen(size, SCROLLBACK)
        for (const piece of piecesOf(bytes, cuts)) screen.write(piece, true)
        await screen.resize(next)
        const page = pageTerminal(next)
        await page.write(screen.snapshot())
        screen.dispose()
        equal(stateOf(page), stateOf(never), 'at once')
        // The cursor may be behind another character now, which further output cannot repeat or combine with.
        await never.write(`\0${after.join('')}`)
        await page.write(`\0${after.join('')}`)
        equal(stateOf(page), stateOf(never), 'after further output')
      }),
      { numRuns: RUNS, seed: SEED },
    )
    .then(() => t.pass()),
)

/** xterm.js cuts wide characters in halves when the alternate screen becomes narrower. */
function hasWide(text: string): boolean {
  return /[漢字日👩💻]/u.test(text)
}

function equal(found: unknown, wanted: unknown, when: string): void {
  const difference = differenceOf(found, wanted)
  if (difference !== undefined) throw new Error(`${when}: ${difference}`)
}
