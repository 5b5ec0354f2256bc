/**
 * Does the cost of reading a text grow with its length and no faster? Processor time, and the least of several runs: a busy
 * machine must not fail a test.
 */

/** The longest text that a stranger can send in one place: Node's parser takes no larger header. */
const SIZE = 16 * 1024

/** How often a text is read before the least time counts: every disturbance only makes a run longer. */
const RUNS = 5

/** A text that looks bad is measured anew so many times: slow code is slow each time, a disturbed measurement is not. */
const ATTEMPTS = 4

/** How much more a hostile text may cost than a harmless one of its length. */
const MAX_RATIO = 40

/** How much more four times the text may cost: 4 when the cost is linear, 16 when it is quadratic. */
const MAX_GROWTH = 12

/** A reading of text whose cost is measured. */
export type Reading = (text: string) => unknown

/** What is wrong with how the cost of a reading grows, or undefined. @param unit what the hostile text consists of */
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
    if (cost <= enough) return undefined // too little to tell how it grows
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

/** What it costs on this machine to make a list of 16 KiB of characters: what a reader of lists does at worst. */
function perCharacterMs(): number {
  perCharacter ??= leastMs((text) => text.split('').map((char) => char.trim()), 'a'.repeat(SIZE))
  return perCharacter
}

/** The least processor time of a few runs, in milliseconds. @param enough a run that costs no more needs no second one */
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
