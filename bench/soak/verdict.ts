/** Is a program flat? The samples of the last third of a soak are compared with those of the middle third. */
import { median } from '../statistics.ts'
import { align, show } from '../table.ts'

/** A sample of one program: figures by their names. Every sample of a program has the same names. */
export type Look = Readonly<Record<string, number>>

/** The growth that is tolerated, because the time of a garbage collection varies. */
const SLACK = 1.1

/** How many more files, sockets and the like may be there, because something is always under way. */
const UNDER_WAY = 2

/** What may grow for longer than an hour, to these bounds. */
const BOUNDS: Readonly<Record<string, number>> = { tokens: 10_000 }

/** The rows of a table. */
const ROWS = 12

/** The samples of a program in so few rows that they can be read. */
export function tableOf(looks: readonly Look[]): string {
  const keys = Object.keys(looks[0] ?? {})
  const step = Math.max(1, Math.ceil(looks.length / ROWS))
  const rows = looks.flatMap((look, i) =>
    i % step === 0 || i === looks.length - 1
      ? [[String(i + 1), ...keys.map((key) => show(look[key] ?? Number.NaN, digitsOf(key)))]]
      : [],
  )
  return align([['look', ...keys], ...rows])
}

/** Compares the medians of the last and the middle third. The first third is ignored, because it fills caches. */
export function verdict(name: string, looks: readonly Look[]): string {
  const third = Math.floor(looks.length / 3)
  if (third < 3) return `${name}: too short to say whether anything grows`
  const middle = (from: number, key: string) =>
    median(looks.slice(from, from + third).map((look) => look[key] ?? Number.NaN))
  return Object.keys(looks[0] ?? {})
    .map((key) => {
      const before = middle(looks.length - 2 * third, key)
      const after = middle(looks.length - third, key)
      const [was, is] = [before, after].map((value) => show(value, digitsOf(key)))
      return `${name}, ${key}: ${was} in the middle third, ${is} in the last: ${wordFor(key, before, after)}`
    })
    .join('\n')
}

function wordFor(key: string, before: number, after: number): string {
  if (after <= before * SLACK + (isMemory(key) ? 0 : UNDER_WAY)) return 'flat'
  const bound = BOUNDS[key] ?? 0
  return after <= bound ? `grows, within its bound of ${show(bound, 0)}` : 'GROWS'
}

function isMemory(key: string): boolean {
  return key.endsWith('Mib')
}

function digitsOf(key: string): number {
  return isMemory(key) ? 1 : 0
}
