/** What is a finding? One line of doctor's table: a check, its verdict, and the remedy. */

/** The result of a check. `skip`: the check did not run; the detail says why. */
export type Verdict = 'pass' | 'warn' | 'fail' | 'skip'

export interface Finding {
  /** The name of the check; stable, because programs read it. */
  readonly check: string
  readonly verdict: Verdict
  /** The observation. Never a secret. */
  readonly detail: string
  /** How to mend the fault. */
  readonly remedy?: string
}

export function pass(name: string, detail: string): Finding {
  return { check: name, verdict: 'pass', detail }
}

export function warn(name: string, detail: string, remedy: string): Finding {
  return { check: name, verdict: 'warn', detail, remedy }
}

export function fail(name: string, detail: string, remedy: string): Finding {
  return { check: name, verdict: 'fail', detail, remedy }
}

export function skip(name: string, detail: string): Finding {
  return { check: name, verdict: 'skip', detail }
}
