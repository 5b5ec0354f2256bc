/** Is a screen the same when text that has scrolled away is not parsed? Every cell, line and mode of it, and what follows. */
import headless from '@xterm/headless'
import type { Terminal } from '@xterm/headless'
import * as fc from 'fast-check'
import t from 'tap'
import { partsToParse } from '../../../src/terminals/keeper/scrolled-away.ts'
import {
  charsetsOf,
  insideOf,
  isWithinSequence,
  lookAt,
  nextLook,
  parseNow,
  titleOf,
  widthToJoin,
  type ScreenBuffer,
} from '../../../src/terminals/keeper/xterm-internals.ts'

interface Window {
  readonly cols: number
  readonly rows: number
  readonly scrollback: number
}

function open(t: { teardown(act: () => void): void }, window: Window): Terminal {
  const terminal = new headless.Terminal({ allowProposedApi: true, logLevel: 'off', ...window })
  t.teardown(() => terminal.dispose())
  return terminal
}

/** Parses output as the keeper does. @returns how many bytes were parsed */
function parseParts(terminal: Terminal, output: Buffer): number {
  let bytes = 0
  for (const part of partsToParse(output, terminal)) {
    parseNow(terminal, part)
    bytes += part.length
  }
  return bytes
}

function linesOf({ lines, ybase }: ScreenBuffer, scrollback: number): unknown[] {
  const all = []
  for (let row = Math.max(0, ybase - scrollback); row < lines.length; row++) {
    const line = lines.get(row)
    if (line === undefined) continue
    const cells = []
    for (let column = 0; column < line.length; column++)
      cells.push([line.getString(column), line.getWidth(column), lookAt(line, column)])
    all.push([line.isWrapped, cells])
  }
  return all
}

/** Everything that can be told of a terminal. */
function stateOf(terminal: Terminal): unknown {
  const { buffers, coreService } = insideOf(terminal)
  const scrollback = terminal.options.scrollback ?? 0
  return JSON.stringify([
    [buffers.normal, buffers.alt].map((buffer) => [
      [linesOf(buffer, scrollback), buffer.x, buffer.y, buffer.ybase],
      [buffer.scrollTop, buffer.scrollBottom, buffer.tabs, buffer.savedX, buffer.savedY],
    ]),
    [buffers.active === buffers.normal, nextLook(terminal), charsetsOf(terminal)],
    [coreService.modes, coreService.decPrivateModes, titleOf(terminal)],
    [isWithinSequence(terminal), widthToJoin(terminal)],
  ])
}

const SGRS = ['', '0', '1', '31', '0;42', '4:3', '38;2;1;2;3', '48;5;9', '7', '27;39', '0;1']

const word = fc.oneof(
  { weight: 5, arbitrary: fc.stringMatching(/^[ -~]{0,12}$/) },
  fc.constantFrom('\t', '\r', 'ä', '€', '漢字', '👩‍🚀', 'e\u0301', '\xa0', '\x1b[K', '\x1b[2K'),
  fc.constantFrom(...SGRS).map((sgr) => `\x1b[${sgr}m`),
)

const end = fc.oneof(
  { weight: 8, arbitrary: fc.constant('\r\n') },
  fc.constantFrom('\n', '\r\r\n', '\x1b[m\r\n'),
)

/** Some lines, as often as needed for text that is worth dropping. */
const plain = fc
  .tuple(fc.array(fc.tuple(fc.array(word, { maxLength: 6 }), end), { minLength: 1, maxLength: 12 }))
  .map(([lines]) => lines.map(([words, eol]) => words.join('') + eol).join(''))
  .chain((text) => fc.integer({ min: 1, max: 40_000 }).map((size) => fill(text, size)))

function fill(text: string, size: number): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat(Array.from({ length: Math.ceil(size / bytes.length) }, () => bytes))
}

/** What is not plain. */
const other = fc
  .constantFrom(
    ...[
      '\x1b[2;3r',
      '\x1b[r',
      '\x1b[?1049h',
      '\x1b[?1049l',
      '\x1b[H',
      '\x1b[5A',
      '\x1b[2J',
      '\x1bc',
    ],
    ...[
      '\x1b[4h',
      '\x1b[4l',
      '\x1b[?7l',
      '\x1b[?7h',
      '\x1b[?6h',
      '\x1b[?6l',
      '\x1b7',
      '\x1b8',
      '\x1bM',
    ],
    ...['\x1b[20h', '\x1b[20l', '\x1b(0', '\x1b(B', '\x0e', '\x0f', '\x08', '\x1b[?45h', '\x1b[3b'],
    ...[
      '\x1b]0;title\x07',
      '\x1b]0;unfinished ',
      '\x07',
      '\x1bPq unfinished',
      '\x18',
      '\x1b\\',
      '\x1b[',
    ],
    ...[
      '\x1b',
      '\xc2\x9b5',
      '\x9d',
      '\xe2\x82',
      '\x1b[3g',
      '\x1bH',
      '\x0b',
      '\x0c',
      '\x7f',
      '\x00',
    ],
  )
  .map((text) => Buffer.from(text, 'latin1'))

const stream = fc.array(fc.oneof({ weight: 2, arbitrary: plain }, other), { maxLength: 8 })

const window = fc.record({
  cols: fc.integer({ min: 2, max: 30 }),
  rows: fc.integer({ min: 1, max: 8 }),
  scrollback: fc.integer({ min: 0, max: 30 }),
})

t.test('the screen is the same as if everything was parsed', (t) => {
  let dropped = 0
  const property = fc.property(
    window,
    fc.array(stream, { minLength: 1, maxLength: 3 }),
    (size, streams) => {
      const [all, parts] = [open(t, size), open(t, size)]
      for (const pieces of streams) {
        const output = Buffer.concat(pieces)
        parseNow(all, output)
        dropped += output.length - parseParts(parts, output)
        if (stateOf(all) !== stateOf(parts)) return false
      }
      return true
    },
  )
  fc.assert(property, { numRuns: 60 })
  t.ok(dropped > 512 * 1024, `${dropped} bytes were not parsed`)
  t.end()
})

t.test('of endless lines only the last are parsed', (t) => {
  for (const line of ['y\r\n', '\x1b[01;34mbin\x1b[0m  \x1b[K\r\n', 'größer\r\n']) {
    const terminal = open(t, { cols: 80, rows: 24, scrollback: 1000 })
    const bytes = parseParts(terminal, fill(line, 1024 * 1024))
    t.ok(bytes < 1100 * Buffer.byteLength(line), `${JSON.stringify(line)}: ${bytes} bytes`)
  }
  t.end()
})

t.test('what may have an effect is parsed', (t) => {
  const lines = fill('y\r\n', 512 * 1024)
  for (const before of ['\x1b[?1049h', '\x1b[2;5r', '\x1b]0;a title that has not ended', '\x1bP']) {
    const terminal = open(t, { cols: 80, rows: 24, scrollback: 100 })
    const output = Buffer.concat([Buffer.from(before), lines])
    t.equal(parseParts(terminal, output), output.length, JSON.stringify(before))
  }
  const pens = Buffer.concat(
    Array.from({ length: 9000 }, (_, i) => Buffer.from(`\x1b[3${i % 8}my\r\n`)),
  )
  t.equal(parseParts(open(t, { cols: 80, rows: 24, scrollback: 100 }), pens), pens.length)
  t.end()
})
