/**
 * Was a request sent by a page of this workspace? `Origin` and `Sec-Fetch-Site` decide it, for requests to which the browser
 * adds the credential by itself.
 */

import type { IncomingHttpHeaders } from 'node:http'

/** What a browser reports about the page that sent a request. */
export interface Provenance {
  /** Every `Origin` line. */
  readonly origins: readonly string[]
  /** `Sec-Fetch-Site`, if present. */
  readonly fetchSite: string | undefined
}

/** The origins that may act in this workspace. */
export interface OriginRules {
  /** The workspace's own origin, as the client addressed it. */
  readonly own: string
  /** The allowed foreign origins, compared exactly. */
  readonly allowed: readonly string[]
}

/** The class of an `Origin` header: absent, the workspace's own, an allowed foreign one, or any other. */
export type OriginKind = 'absent' | 'own' | 'allowed' | 'foreign'

/**
 * Classifies `Origin`. Origins are compared as whole strings, so several values and look-alikes are foreign. A browser sends
 * `null` for a page with `Referrer-Policy: no-referrer`, which can be the workspace's own, and for a sandboxed frame, which
 * cannot. `Sec-Fetch-Site`, which no page can set, distinguishes the two.
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
 * Whether a request may act with a credential that the browser attached by itself. `Origin` decides it if present. Without
 * `Origin`, or when it is `null`, only `Sec-Fetch-Site: same-origin` is accepted (CVE-2023-26114, CVE-2024-47165). The same
 * rule applies to unsafe methods and to upgrades (contract, section 3).
 */
export function isSameOrigin(provenance: Provenance, rules: OriginRules): boolean {
  const kind = judgeOrigin(provenance, rules)
  return kind === 'absent' ? provenance.fetchSite === 'same-origin' : kind !== 'foreign'
}

/** The request headers that tell which page sent the request. Node joins several `Origin` lines with a comma. */
export type ProvenanceFields = Pick<
  IncomingHttpHeaders,
  'origin' | 'sec-fetch-site' | 'sec-fetch-mode' | 'sec-fetch-dest' | 'sec-fetch-user'
>

/**
 * Whether a request with the session cookie counts against the session's rate limit instead of the address's: it was sent by an
 * allowed page, or by the user. Browsers send no `Origin` with most safe requests; for those, `Sec-Fetch-Site` must be
 * `same-origin`, `none` (the address bar) or absent (an old browser, or plain http). Requests from any other page, also a
 * sibling workspace's, are excluded: they carry the cookie (SameSite=Lax), so that page could use up the session's limit. A
 * link that the user clicks is the exception, because each click sends only one request.
 * @param method the request's method, or `UPGRADE`
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

/** Whether a method is safe (RFC 9110 section 9.2.1). Requests with a safe method may carry the cookie from any page. */
export function isSafeMethod(method: string): boolean {
  return method === 'GET' || method === 'HEAD' || method === 'OPTIONS'
}
