/** How are the results shown? In one table: figures as rows, peers as columns, then the target and whether it was met. */
import { FIGURES, type Aim, type Figure, type FigureName } from './figures.ts'
import { PEERS, type PeerName } from './peers/peer.ts'
import { median, ratios, spread } from './statistics.ts'
import type { Results } from './turns.ts'

const NAMES = Object.keys(PEERS) as PeerName[]

/** Writes the results as a Markdown table, with a column for each measured peer. */
export function writeTable(results: Results): string {
  const figures = (Object.keys(FIGURES) as FigureName[]).filter((figure) =>
    NAMES.some((peer) => results.of(figure, peer).length > 0),
  )
  const peers = NAMES.filter((peer) =>
    figures.some((figure) => results.of(figure, peer).length > 0),
  )
  const rows = figures.flatMap((name) => rowsOf(name, peers, results))
  return align([['', ...peers.map((peer) => PEERS[peer]), 'target', ''], ...rows])
}

/** The row of a figure, and a row for each peer with which it is compared. */
function rowsOf(name: FigureName, peers: readonly PeerName[], results: Results): string[][] {
  const { label, digits, aims = [], of: subject = 'gateway' }: Figure = FIGURES[name]
  const own = median(results.of(name, subject))
  const plain = aims.find(({ than }) => than === undefined)
  const cells = peers.map((peer) => withSpread(results.of(name, peer), digits))
  const compared = aims.flatMap((aim) => {
    const { than } = aim
    if (than === undefined || results.of(name, than).length === 0) return []
    const ratio = (peer: PeerName) => ratios(results.of(name, peer), results.of(name, than))
    return [
      [
        `– to ${PEERS[than]}`,
        ...peers.map((peer) => withSpread(ratio(peer), 2)),
        ...judge(aim, median(ratio(subject))),
      ],
    ]
  })
  return [[label, ...cells, ...judge(plain, own)], ...compared]
}

/** A cell with the median of all rounds and how far they were apart; empty without a round. */
function withSpread(values: readonly number[], digits: number): string {
  const text = show(median(values), digits)
  return text === '' || values.length < 2 ? text : `${text} ±${show(spread(values) * 100, 0)}%`
}

/** The last two cells of a row: the target, and whether it was met. */
function judge(aim: Aim | undefined, value: number): [string, string] {
  if (aim === undefined) return ['', '']
  const target = `${aim.is} ${aim.value}`
  if (Number.isNaN(value)) return [target, '']
  return [target, isMet(aim, value) ? 'met' : 'NOT MET']
}

function isMet({ is, value: aimed }: Aim, value: number): boolean {
  if (is === 'at least') return value >= aimed
  return is === 'at most' ? value <= aimed : value < aimed
}

/** A number as text for a cell; empty for NaN. */
export function show(value: number, digits: number): string {
  if (!Number.isFinite(value)) return ''
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  })
}

/** Pads the cells: the first column is aligned left, the others right. */
export function align(rows: ReadonlyArray<readonly string[]>): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(3, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const lines = rows.map((row) =>
    line(
      widths.map((width, column) =>
        column === 0 ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width),
      ),
    ),
  )
  const rule = line(
    widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)),
  )
  return [lines[0], rule, ...lines.slice(1)].join('\n')
}
