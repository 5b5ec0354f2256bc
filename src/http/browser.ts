/**
 * Which response headers do browsers obey beyond the response itself? Those that are named here. Which service must not send
 * them is decided elsewhere: the column `isolated` of src/rules/services.ts.
 */

/** Media types that a browser shows as a document with scripts. */
const DOCUMENT = /html|xml|svg|xsl|x-mixed-replace/i

/**
 * Headers that keep a response of an isolated service from acting as a page of the workspace's origin. OpenClaw answers
 * every unknown path with its control UI, and an agent can be talked into returning any HTML: opened below `/api`, that HTML
 * must not run with the dashboard's origin. A second policy only ever takes rights away, whatever the service's own says.
 *
 * A cache replaces the headers of a stored response by those of a 304 or 206, all but the media type (RFC 9111 section 3.2).
 * A policy in a 304 or 206 would remove the sandbox of a stored page, so such a response brings the sandbox as well.
 * @param contentType of the response, or undefined
 * @param updatesKept whether the response brings a policy that may replace a stored one
 */
export function isolationFields(
  contentType: string | undefined,
  updatesKept = false,
): readonly string[] {
  return updatesKept || (contentType !== undefined && DOCUMENT.test(contentType))
    ? ['Content-Security-Policy', 'sandbox']
    : []
}

/**
 * Headers with which one response decides for the whole origin, and so for the dashboard and the terminal, whatever its
 * path. They are removed from the responses of an isolated service. Headers that concern their own response alone pass:
 * `Link`, `Permissions-Policy`, `Cross-Origin-…`, `SourceMap`, `Timing-Allow-Origin`, `No-Vary-Search`; `Refresh` is a redirect.
 */
const ORIGIN_WIDE: ReadonlySet<string> = new Set([
  'clear-site-data', // deletes the origin's cookies and storage
  'nel', // makes the browser report every failure of the origin to a server of the sender's choice
  'report-to', // names that server
  'reporting-endpoints',
  'alt-svc', // sends the origin's traffic to another host or port
  'strict-transport-security', // switches https on for all subdomains, or off: only the front proxy decides that
  'public-key-pins', // locks the host out of browsers that still support it
  'public-key-pins-report-only',
  'expect-ct',
  'accept-ch', // asks browsers for client hints in every later request
  'accept-ch-lifetime',
  'critical-ch',
  'origin-agent-cluster', // decided once for all pages of the origin
  'service-worker-allowed', // lets a service worker control more than its own folder
  'set-login', // tells the browser that the user has signed in or out
  'idp-signin-status', // the older name of Set-Login
  'secure-session-registration', // binds a session of the origin to a key of the browser
  'sec-session-registration',
  'secure-session-challenge',
  'sec-session-challenge',
  'shared-storage-write', // writes into the storage that pages of the origin share across sites
  'cache-group-invalidation', // empties the cache of other addresses (RFC 9875)
  'speculation-rules', // loads other pages of the origin, with its cookies
  'use-as-dictionary', // is stored and used to decode responses of other paths
  'activate-storage-access', // opens the origin's cookies to frames on other sites
])

/** Authentication schemes for which a browser asks for a password, or sends the one it has stored for this origin and realm. */
const PASSWORD_CHALLENGE = /\b(?:basic|digest|negotiate|ntlm|hoba|mutual|scram-[a-z0-9-]+)\b/i

/** Whether {@link speaksForOrigin} may be true for a header of this name. @param name in lower case */
export function maySpeakForOrigin(name: string): boolean {
  return name === 'www-authenticate' || ORIGIN_WIDE.has(name)
}

/**
 * Whether a header decides for the whole origin, so that an isolated service must not send it. A `Basic` challenge with the
 * terminal's realm is among them: the browser would send the terminal's password without asking.
 * @param name in lower case
 */
export function speaksForOrigin(name: string, value: string): boolean {
  if (name === 'www-authenticate') return PASSWORD_CHALLENGE.test(value)
  return ORIGIN_WIDE.has(name)
}

/** Headers of the gateway's own that a script of an allowed origin may read, besides those that CORS lets every script read. */
export const EXPOSED_FIELDS =
  'Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, X-Gateway-Error, WWW-Authenticate'
