/** Does the page that sent a request belong here? Origin checks for requests that a browser signs in by itself. */

import type { IncomingHttpHeaders } from 'node:http'

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

/** The fields of a request that say where it comes from; several `Origin` lines are one value with a comma. */
export type ProvenanceFields = Pick<
  IncomingHttpHeaders,
  'origin' | 'sec-fetch-site' | 'sec-fetch-mode' | 'sec-fetch-dest' | 'sec-fetch-user'
>

/**
 * Whether a request with the session cookie was sent by a page that belongs here, or by the person: then it spends the
 * session's budget. Browsers send no `Origin` with most reading, so there `Sec-Fetch-Site` decides: `same-origin`, `none`
 * (the address bar), or not sent at all (an old browser, or plain http). A page of anybody else's is foreign, a sibling
 * workspace's too, whose requests carry the cookie (SameSite=Lax): it could use the session's budget up. But for a click: a
 * link to the workspace is followed by the person, once each time.
 * @param method of the request, or `UPGRADE`
 */
export function isOfOwnPage(fields: ProvenanceFields, rules: OriginRules, method: string): boolean {
  const { origin, 'sec-fetch-site': fetchSite } = fields
  const provenance = {
    origins: origin === undefined ? [] : [origin],
    fetchSite: fetchSite?.toString(),
  }
  if (origin !== undefined || !isSafeMethod(method)) return isSameOrigin(provenance, rules)
  if (fetchSite === undefined || fetchSite === 'same-origin' || fetchSite === 'none') return true
  return (
    fields['sec-fetch-mode'] === 'navigate' &&
    fields['sec-fetch-dest'] === 'document' &&
    fields['sec-fetch-user'] === '?1'
  )
}

/** Methods that change nothing (RFC 9110 section 9.2.1); a cookie may come with them from anywhere. */
export function isSafeMethod(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}
