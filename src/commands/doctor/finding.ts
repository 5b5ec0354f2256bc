/** What did the doctor find? One line of its table. */

/** How a question turned out. `skip`: it was not asked, and the detail says why. */
export type Verdict = 'pass' | 'warn' | 'fail' | 'skip'

export interface Finding {
  /** What was looked at; a stable name for programs. */
  readonly check: string
  readonly verdict: Verdict
  /** What was seen. Never a secret. */
  readonly detail: string
  /** What to do about it. */
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
