/**
 * Does the cost of reading a text grow only linearly with its length? The smallest processor time of several runs tells, so
 * that a busy machine does not fail a test.
 */

/** The longest text that a client can send in one header. Node's parser accepts no more. */
const SIZE = 16 * 1024

/** The runs of which the shortest counts, because a disturbance only makes a run longer. */
const RUNS = 5

/** How often a slow measurement is repeated. Slow code is slow each time; a disturbed measurement is not. */
const ATTEMPTS = 4

/** The allowed ratio of the cost of a hostile text to that of a harmless text of the same length. */
const MAX_RATIO = 40

/** The allowed ratio of costs for four times the text. It is 4 for linear cost and 16 for quadratic cost. */
const MAX_GROWTH = 12

/** A function that reads text and whose cost is measured. */
export type Reading = (text: string) => unknown

/** Describes a cost that grows too fast; undefined when it is fine. @param unit the repeated part of the hostile text */
export function growthProblem(read: Reading, unit: string): string | undefined {
  const floor = Math.max(harmlessMs(read), perCharacterMs())
  const hostile = repeat(unit, SIZE)
  const enough = 4 * floor
  let problem: string | undefined
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const cost = leastMs(read, hostile, enough)
    if (cost > MAX_RATIO * floor) {
      problem = `${cost.toFixed(2)} ms where a harmless text takes ${floor.toFixed(2)} ms`
      continue
    }
    if (cost <= enough) return undefined // too small to tell how the cost grows
    const growth = cost / leastMs(read, repeat(unit, SIZE / 4))
    if (growth < MAX_GROWTH) return undefined
    problem = `four times the text costs ${growth.toFixed(1)} times as much`
  }
  return problem
}

const harmless = new Map<Reading, number>()

function harmlessMs(read: Reading): number {
  const known = harmless.get(read) ?? leastMs(read, repeat('harmless-text/', SIZE))
  harmless.set(read, known)
  return known
}

let perCharacter: number | undefined

/** The cost of splitting 16 KiB into a list of characters on this machine, which is the most that a list parser should do. */
function perCharacterMs(): number {
  perCharacter ??= leastMs((text) => text.split('').map((char) => char.trim()), 'a'.repeat(SIZE))
  return perCharacter
}

/** The smallest processor time of a few runs, in milliseconds. @param enough a cost at which no further run is needed */
function leastMs(read: Reading, text: string, enough = 0): number {
  let least = Infinity
  for (let run = 0; run < RUNS && least > enough; run++) {
    const before = process.cpuUsage()
    read(text)
    const { user, system } = process.cpuUsage(before)
    least = Math.min(least, (user + system) / 1000)
  }
  return least
}

function repeat(unit: string, size: number): string {
  return unit.repeat(Math.floor(size / unit.length))
}
