/** Does xterm.js still keep what the keeper reads of it, where its documentation promises nothing? */
import t from 'tap'
import {
  boundSequences,
  charsetsOf,
  combinedTexts,
  extendedParts,
  insideOf,
  isWithinSequence,
  linksOf,
  lookAt,
  nextLook,
  onColors,
  parseNow,
  simplifyLine,
  storeLinksIn,
  titleOf,
  widthToJoin,
  type ColorEvent,
  type Line,
} from '../../../src/terminals/keeper/xterm-internals.ts'
import { LinkTable } from '../../../src/terminals/keeper/link-table.ts'
import { Palette } from '../../../src/terminals/keeper/palette.ts'
import { pageTerminal } from '../../helpers/screens.ts'

const { terminal } = pageTerminal({ columns: 20, rows: 4 })
const print = (text: string) => parseNow(terminal, Buffer.from(text))
const line = (row: number) => insideOf(terminal).buffers.normal.lines.get(row) as Line

t.beforeEach(() => print('\x1bc\x1b[?25h'))

t.test('cells, looks and links', (t) => {
  print('\x1b[1;31;4:3;58;5;7m\x1b]8;id=a;http://a/\x07e\u0301\x1b]8;;\x07\x1b[0;2;48;2;1;2;3m漢')
  t.equal(line(0).getString(0), 'e\u0301')
  t.not(line(0).isCombined(0), 0)
  t.equal(line(0).getWidth(1), 2)
  t.equal(line(0).getWidth(2), 0)
  const { fg, bg, underline, link } = lookAt(line(0), 0)
  t.equal(fg, 0x8000000 | 0x10000000 | 0x1000001)
  t.equal(bg, 0x10000000)
  t.equal(underline, (3 << 26) | 0x2000007)
  t.same(linksOf(terminal).getLinkData(link), { id: 'a', uri: 'http://a/' })
  t.same(lookAt(line(0), 1), { fg: 0, bg: 0x8000000 | 0x3010203, underline: 0, link: 0 })
  t.same(nextLook(terminal), { fg: 0, bg: 0x8000000 | 0x3010203, underline: 0, link: 0 })
  t.same(combinedTexts(line(0)), ['e\u0301'])
  t.same(
    extendedParts(line(0)).map(({ urlId }) => urlId),
    [link],
  )
  simplifyLine(line(0))
  t.equal(line(0).getString(0), 'e')
  t.equal(lookAt(line(0), 0).link, 0)
  t.end()
})

t.test('modes, cursor and saved cursor', (t) => {
  print(
    '\x1b[2;3r\x1b[3g\x1b[5G\x1bH\x1b[?6h\x1b[4h\x1b[?25l\x1b[?1003;1006h\x1b[31m\x1b[2;4H\x1b(0\x1b7\x1b)A\x0e\x1b]2;t\x07',
  )
  const { buffers, coreService, coreMouseService } = insideOf(terminal)
  const { active, normal } = buffers
  t.equal(active, normal)
  t.match(active, { x: 3, y: 2, ybase: 0, scrollTop: 1, scrollBottom: 2, savedX: 3, savedY: 2 })
  t.same(active.tabs, { 4: true })
  t.equal(active.savedCurAttrData.fg, 0x1000001)
  t.match(coreService, { isCursorHidden: true, modes: { insertMode: true } })
  t.match(coreService.decPrivateModes, { origin: true, wraparound: true, cursorStyle: undefined })
  t.match(coreMouseService, { activeProtocol: 'ANY', activeEncoding: 'SGR' })
  const { charset, level, designated } = charsetsOf(terminal)
  t.equal(level, 1)
  t.equal(charset, designated[1])
  t.equal(designated[0], active.savedCharset)
  t.equal(titleOf(terminal), 't')
  t.end()
})

t.test('the parser', (t) => {
  const events: ColorEvent[] = []
  onColors(terminal, (more) => events.push(...more))
  print('\x1b]4;1;#010203\x07\x1b]104\x07\x1b]11;?\x07')
  t.same(events, [{ type: 1, index: 1, color: [1, 2, 3] }, { type: 2 }, { type: 0, index: 257 }])
  const palette = new Palette()
  palette.note(events.slice(0, 1))
  t.same(palette.colors(), ['1 1,2,3'])
  t.notOk(isWithinSequence(terminal))
  print('\x1b[')
  t.ok(isWithinSequence(terminal))
  print('m漢')
  t.equal(widthToJoin(terminal), 2)
  print('\x1b[m')
  t.equal(widthToJoin(terminal), 0)
  t.end()
})

t.test('what throws ends its sequence only', (t) => {
  const links = new LinkTable(() => new Set())
  links.registerLink = () => {
    throw new Error('as xterm.js might')
  }
  const { terminal: other } = pageTerminal({ columns: 20, rows: 4 })
  storeLinksIn(other, links)
  parseNow(other, Buffer.from('a\x1b]8;;http://a/\x07lost'))
  parseNow(other, Buffer.from('b'))
  t.equal(other.buffer.active.getLine(0)?.translateToString(true), 'ab')
  t.end()
})

t.test('sequences are bounded twice as well as once', (t) => {
  boundSequences(terminal)
  print(`a${'\u0301'.repeat(40)}`)
  t.equal(line(0).getString(0).length, 32)
  t.end()
})
