/** Where does a browser go after signing in? Only ever to a path of this origin. */

/**
 * The longest text that is parsed when its host may be another one, in characters. The parser normalizes a host with letters
 * of other alphabets in quadratic time, and whoever is signed out may send 16 KiB of them.
 */
const MAX_FOREIGN_LENGTH = 1024

/**
 * Rebuilds `return_to` as a path of the origin, verified after it was built: parsers disagree about `//host`, `/\host`,
 * tabs and dot segments, so the browser's own parser has the last word (CVE-2020-11053, CVE-2026-111931).
 * @param returnTo what the request asked for: a path, or an absolute URL of this origin
 * @param origin `scheme://host[:port]` of this workspace as the client reached it
 * @returns a path with query and fragment, or `/` for anything else
 */
export function returnPath(returnTo: string | undefined, origin: string): string {
  if (returnTo === undefined || returnTo === '') return '/'
  if (returnTo.length > MAX_FOREIGN_LENGTH && !isOurs(returnTo, origin)) return '/'
  const target = URL.parse(returnTo, origin)
  const base = URL.parse(origin)
  if (target === null || base === null || target.origin !== base.origin) return '/'
  const path = target.pathname + target.search + target.hash
  if (/^\/_gateway(?:\/|$)/.test(target.pathname)) return '/'
  return URL.parse(path, origin)?.href === `${base.origin}${path}` ? path : '/'
}

/** Whether a text is certainly a path of this origin to every parser, or a URL of it: no host in it is anybody's choice. */
function isOurs(returnTo: string, origin: string): boolean {
  return /^\/[^/\\\t\n\r]/.test(returnTo) || returnTo.startsWith(`${origin}/`)
}
