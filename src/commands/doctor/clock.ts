/** Is the clock of this machine right enough for tokens? The `Date` headers of the gateway and the services tell. */
import type { Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const CHECK = 'clock'

/** The gateway was built after this date, so an earlier clock was never set. */
const BUILT_AT = Date.UTC(2025, 0, 1)

/** The difference that says nothing, because `Date` has whole seconds and a response takes time. */
const TOLERANCE_MS = 3000

/** Compares the clocks. Runs after all other questions, because their responses bring the `Date` headers. */
export function examineClock(
  { clocks, config: { jwtLeewaySeconds } }: Examination,
  now: number = Date.now(),
): Finding[] {
  const remedy = 'set the clock of this machine (NTP); tokens are judged by it'
  const today = new Date(now).toISOString()
  if (now < BUILT_AT) return [fail(CHECK, `this machine believes that it is ${today}`, remedy)]
  const [worst] = [...clocks].toSorted(([, a], [, b]) => Math.abs(b) - Math.abs(a))
  if (worst === undefined)
    return [skip(CHECK, `it is ${today} here; nobody who answered told their time`)]
  const [name, aheadMs] = worst
  const seconds = Math.round(Math.abs(aheadMs) / 1000)
  const seen = `it is ${today} here; ${name} is ${seconds} s ${aheadMs < 0 ? 'behind' : 'ahead'}`
  if (Math.abs(aheadMs) > Math.max(jwtLeewaySeconds * 1000, TOLERANCE_MS)) {
    return [
      fail(
        CHECK,
        `${seen}, more than GATEWAY_JWT_LEEWAY_SECONDS=${jwtLeewaySeconds} forgives`,
        remedy,
      ),
    ]
  }
  if (Math.abs(aheadMs) > TOLERANCE_MS) return [warn(CHECK, seen, remedy)]
  return [pass(CHECK, `it is ${today} here, and so it is for ${[...clocks.keys()].join(', ')}`)]
}
