/** Where does a browser go after signing in? Only ever to a path of this origin. */

/**
 * Rebuilds `return_to` as a path of the origin, verified after it was built: parsers disagree about `//host`, `/\host`,
 * tabs and dot segments, so the browser's own parser has the last word (CVE-2020-11053, CVE-2026-111931).
 * @param returnTo what the request asked for: a path, or an absolute URL of this origin
 * @param origin `scheme://host[:port]` of this workspace as the client reached it
 * @returns a path with query and fragment, or `/` for anything else
 */
export function returnPath(returnTo: string | undefined, origin: string): string {
  if (returnTo === undefined || returnTo === '') return '/'
  const target = URL.parse(returnTo, origin)
  const base = URL.parse(origin)
  if (target === null || base === null || target.origin !== base.origin) return '/'
  const path = target.pathname + target.search + target.hash
  if (/^\/_gateway(?:\/|$)/.test(target.pathname)) return '/'
  return URL.parse(path, origin)?.href === `${base.origin}${path}` ? path : '/'
}
