/** What is a client told about a limit? What is left of each window and how long to wait, in the fields of the current draft. */

/** A window of a limit, for one client at one moment. */
export interface BudgetWindow {
  /** Its name: letters, digits and hyphens. */
  readonly name: string
  /** How much it allows. */
  readonly points: number
  /** How long it is. */
  readonly seconds: number
  readonly left: number
  /** How long until there is more, in milliseconds. */
  readonly nextMs: number
}

/** A time to wait in whole seconds, for `Retry-After`: rounded up, at least 1 (RFC 9110 section 10.2.3). */
export function retryAfterSeconds(ms: number): number {
  // A microsecond is subtracted, because sums of fractional timestamps are off in the last digit, and 60 s would become 61.
  return Math.max(1, Math.ceil(ms / 1000 - 1e-6))
}

/** The values of `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), one item for each window. */
export function rateLimitFields(windows: readonly BudgetWindow[]): [string, string] {
  return [
    windows
      .map(({ name, left, nextMs }) => `"${name}";r=${left};t=${retryAfterSeconds(nextMs)}`)
      .join(', '),
    windows.map(({ name, points, seconds }) => `"${name}";q=${points};w=${seconds}`).join(', '),
  ]
}
