/** Which fields of an answer do browsers obey for more than the answer itself? Names and forms, no decision. */

/** Types that a browser would show as a document with scripts in it. */
const DOCUMENT = /html|xml|svg|xsl|x-mixed-replace/i

/**
 * Fields that keep an answer from acting as a page of the workspace's origin. OpenClaw answers every unknown path with its
 * control UI, and an agent can be talked into returning any HTML: opened below `/api`, it must not run with the
 * dashboard's origin. An additional policy only ever takes rights away, whatever the service's own policy says.
 *
 * A cache puts the fields of a 304 or 206 in the place of those of the answer that it keeps, all but its type (RFC 9111 section
 * 3.2): a policy there takes the sandbox of a kept page away, unless it brings its own.
 * @param contentType of the answer, or undefined
 * @param updatesKept whether the answer brings a policy that may be put in the place of a kept one
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
 * Fields with which one answer decides for the whole origin, and so for the dashboard and the terminal, whatever address it
 * came from. An isolated service has none of them. What concerns its own answer alone passes: `Link`, `Permissions-Policy`,
 * `Cross-Origin-…`, `SourceMap`, `Timing-Allow-Origin`, `No-Vary-Search`; `Refresh` is a redirect.
 */
const ORIGIN_WIDE: ReadonlySet<string> = new Set([
  'clear-site-data', // signs out and empties the storage
  'nel', // has the browser report every failure of the origin to somebody
  'report-to', // the same: where to
  'reporting-endpoints',
  'alt-svc', // sends the origin's traffic to another host or port
  'strict-transport-security', // switches https on for all hosts below, or off: the front's business
  'public-key-pins', // locks the host out of browsers that still know it
  'public-key-pins-report-only',
  'expect-ct',
  'accept-ch', // what browsers tell about themselves in every later request
  'accept-ch-lifetime',
  'critical-ch',
  'origin-agent-cluster', // decided once for all pages of the origin
  'service-worker-allowed', // lets a worker control more than its own folder
  'set-login', // tells the browser that the person has signed in or out
  'idp-signin-status', // the same, under its first name
  'secure-session-registration', // binds a session of the origin to a key of the browser
  'sec-session-registration',
  'secure-session-challenge',
  'sec-session-challenge',
  'shared-storage-write', // writes into the storage that pages of the origin share across sites
  'cache-group-invalidation', // empties the cache of other addresses (RFC 9875)
  'speculation-rules', // loads other pages of the origin, with its cookies
  'use-as-dictionary', // is kept to decode answers at other addresses
  'activate-storage-access', // opens the origin's cookies to frames of others
])

/** Schemes whose challenge makes a browser ask for a password, or send the one that it knows for this origin and realm. */
const PASSWORD_CHALLENGE = /\b(?:basic|digest|negotiate|ntlm|hoba|mutual|scram-[a-z0-9-]+)\b/i

/** Whether {@link speaksForOrigin} may be true for a field of this name. @param name in lower case */
export function maySpeakForOrigin(name: string): boolean {
  return name === 'www-authenticate' || ORIGIN_WIDE.has(name)
}

/**
 * Whether an isolated service may not send a field. A challenge for `Basic` with the terminal's realm would get the terminal's
 * password, without a question.
 * @param name in lower case
 */
export function speaksForOrigin(name: string, value: string): boolean {
  if (name === 'www-authenticate') return PASSWORD_CHALLENGE.test(value)
  return ORIGIN_WIDE.has(name)
}

/** The fields of ours that a script may read, beside those that every script may. */
export const EXPOSED_FIELDS =
  'Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, X-Gateway-Error, WWW-Authenticate'
