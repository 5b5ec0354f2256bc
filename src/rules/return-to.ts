/** Where does a browser go after signing in? Only to a path on this origin. */
import { OWNER_PAGE } from '../answers/pages/paths.ts'

/**
 * The longest text, in characters, that is parsed when it may name another host. The URL parser normalizes a host with
 * non-ASCII letters in quadratic time, and a client that is not signed in may send 16 KiB of them.
 */
const MAX_FOREIGN_LENGTH = 1024

/**
 * Rebuilds `return_to` as a path on the origin and then parses the result again to verify it. Parsers disagree about `//host`,
 * `/\host`, tabs and dot segments, so both steps use the parser that browsers use (CVE-2020-11053, CVE-2026-111931).
 * @param returnTo what the request asked for: a path, or an absolute URL on this origin
 * @param origin `scheme://host[:port]` of this workspace, as the client addressed it
 * @returns a path of the services with query and fragment, or {@link OWNER_PAGE}; `/` for anything else
 */
export function returnPath(returnTo: string | undefined, origin: string): string {
  if (returnTo === undefined || returnTo === '') return '/'
  if (returnTo.length > MAX_FOREIGN_LENGTH && !isOurs(returnTo, origin)) return '/'
  const target = URL.parse(returnTo, origin)
  const base = URL.parse(origin)
  if (target === null || base === null || target.origin !== base.origin) return '/'
  const path = target.pathname + target.search + target.hash
  if (path === OWNER_PAGE) return path
  if (/^\/_gateway(?:\/|$)/.test(target.pathname)) return '/'
  return URL.parse(path, origin)?.href === `${base.origin}${path}` ? path : '/'
}

/** Whether every parser reads a text as a path or URL on this origin, so that the client cannot choose the host. */
function isOurs(returnTo: string, origin: string): boolean {
  return /^\/[^/\\\t\n\r]/.test(returnTo) || returnTo.startsWith(`${origin}/`)
}
