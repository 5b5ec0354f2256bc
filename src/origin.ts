/** Does the page that sent a request belong here? Origin checks for requests that a browser signs in by itself. */

/** What a browser says about where a request comes from. */
export interface Provenance {
  /** Every `Origin` line. */
  readonly origins: readonly string[]
  /** `Sec-Fetch-Site`, if present. */
  readonly fetchSite: string | undefined
}

/** Which origins belong here. */
export interface OriginRules {
  /** The workspace's own origin as the client reached it. */
  readonly own: string
  /** Exact foreign origins that are allowed. */
  readonly allowed: readonly string[]
}

/** What `Origin` says: nothing, an origin that belongs here, or anything else. */
export type OriginKind = 'absent' | 'own' | 'allowed' | 'foreign'

/**
 * Judges `Origin`. Several values and look-alikes are foreign: origins are compared whole. `null` is what a browser writes
 * for a page under `Referrer-Policy: no-referrer`, but also for a sandboxed frame: only the first of them can be ours, and
 * `Sec-Fetch-Site`, which no page can write, tells one from the other.
 */
export function judgeOrigin(
  { origins, fetchSite }: Provenance,
  { own, allowed }: OriginRules,
): OriginKind {
  if (origins.length === 0) return 'absent'
  const [origin = ''] = origins
  if (origins.length > 1) return 'foreign'
  if (origin === 'null') return fetchSite === 'same-origin' ? 'own' : 'foreign'
  if (origin === own) return 'own'
  return allowed.includes(origin) ? 'allowed' : 'foreign'
}

/**
 * Whether a request may act with a credential that the browser attached by itself.
 * `Origin` decides when it is there; without it, and for `null`, only `Sec-Fetch-Site: same-origin` does (CVE-2023-26114,
 * CVE-2024-47165). The rule is the same for methods that change something and for upgrades (contract, section 3).
 */
export function isSameOrigin(provenance: Provenance, rules: OriginRules): boolean {
  const kind = judgeOrigin(provenance, rules)
  return kind === 'absent' ? provenance.fetchSite === 'same-origin' : kind !== 'foreign'
}

/** Methods that change nothing (RFC 9110 section 9.2.1); a cookie may come with them from anywhere. */
export function isSafeMethod(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}
