/**
 * Which response headers affect more in a browser than the response itself? Those that act on the whole origin, listed here,
 * and the sandbox for an isolated service. This file names headers; which service is isolated is a column of
 * src/rules/services.ts.
 */

/** Content types that a browser renders as a document that can run scripts. */
const DOCUMENT = /html|xml|svg|xsl|x-mixed-replace/i

/**
 * Headers that sandbox a response, so that it does not run as a page of the workspace's origin. OpenClaw returns its control
 * UI for every unknown path, and a prompt can make an agent return any HTML; a page opened below `/api` must not get the
 * dashboard's origin. An additional policy can only remove rights, so it is safe beside any policy of the service's own.
 *
 * A cache replaces the headers of a stored response, except its type, with those of a 304 or 206 (RFC 9111 section 3.2). A
 * policy on such a response would therefore remove the sandbox of the stored page, so the sandbox is sent with it again.
 * @param contentType of the response, or undefined
 * @param updatesKept whether the response carries a policy that may replace the policy of a stored response
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
 * Headers with which one response affects the whole origin, and so the dashboard and the terminal too. They are removed from
 * the responses of an isolated service. Headers that affect only their own response pass: `Link`, `Permissions-Policy`,
 * `Cross-Origin-…`, `SourceMap`, `Timing-Allow-Origin`, `No-Vary-Search`. `Refresh` is handled like a redirect.
 */
const ORIGIN_WIDE: ReadonlySet<string> = new Set([
  'clear-site-data', // signs out and empties the storage
  'nel', // makes the browser report every network error of the origin to a third party
  'report-to', // names the receiver of such reports
  'reporting-endpoints',
  'alt-svc', // sends the origin's traffic to another host or port
  'strict-transport-security', // forces https for this host and its subdomains, or stops that: the front proxy decides it
  'public-key-pins', // locks browsers that still support it out of the host
  'public-key-pins-report-only',
  'expect-ct',
  'accept-ch', // chooses the client hints that the browser adds to every later request
  'accept-ch-lifetime',
  'critical-ch',
  'origin-agent-cluster', // decided once for all pages of the origin
  'service-worker-allowed', // lets a worker control more than its own folder
  'set-login', // tells the browser that the person has signed in or out
  'idp-signin-status', // the first name of set-login
  'secure-session-registration', // binds a session of the origin to a key of the browser
  'sec-session-registration',
  'secure-session-challenge',
  'sec-session-challenge',
  'shared-storage-write', // writes into the storage that pages of the origin share across sites
  'cache-group-invalidation', // empties the cache of other addresses (RFC 9875)
  'speculation-rules', // loads other pages of the origin, with its cookies
  'use-as-dictionary', // makes the response a dictionary for decoding other responses
  'activate-storage-access', // gives frames on other sites access to the origin's cookies
])

/** Schemes for which a browser asks for a password, or sends one that it has stored for this origin and realm. */
const PASSWORD_CHALLENGE = /\b(?:basic|digest|negotiate|ntlm|hoba|mutual|scram-[a-z0-9-]+)\b/i

/** Whether {@link speaksForOrigin} can be true for a header of this name. @param name in lower case */
export function maySpeakForOrigin(name: string): boolean {
  return name === 'www-authenticate' || ORIGIN_WIDE.has(name)
}

/**
 * Whether a header must be removed from an isolated service's response. A `Basic` challenge with the terminal's realm would
 * make the browser send the terminal's password to the isolated service, without asking the user.
 * @param name in lower case
 */
export function speaksForOrigin(name: string, value: string): boolean {
  if (name === 'www-authenticate') return PASSWORD_CHALLENGE.test(value)
  return ORIGIN_WIDE.has(name)
}

/** The response header that tells a program when its API token expires. */
export const EXPIRY_FIELD = 'X-Workspace-Token-Expires'

/** The gateway's response headers that a cross-origin script may read, besides the CORS-safelisted ones. */
export const EXPOSED_FIELDS = `Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, X-Gateway-Error, ${EXPIRY_FIELD}, WWW-Authenticate`
