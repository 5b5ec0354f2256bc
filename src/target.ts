/** What does the request ask for? The one canonical form of a request target; whatever differs from it is refused. */
import { routeOf, type RouteName, type SiteMap } from './routes.ts'

/** A request target that was accepted. The bytes that were decided on are the bytes that are forwarded. */
export interface Target {
  /** The path as it came, still percent-encoded. */
  readonly path: string
  /** The path decoded once; decisions and the log use this. */
  readonly decodedPath: string
  /** The query as it came, with its `?`, or an empty string. */
  readonly query: string
  readonly route: RouteName
  /** Path and query as the service gets them: as they came, less a stripped prefix. */
  readonly forwarded: string
}

/** Why a target was refused; for the log. */
export interface BadTarget {
  readonly reason: string
}

// Printable ASCII without anything that needs a second look: escapes, backslash, hash, dot segments, parameters.
const PLAIN_PATH = /^\/(?!\/)(?:[A-Za-z0-9_~!$&'()*+,=:@-]|(?<!\/)\.|(?<!\/)\/)*$/

/** How often a service could decode a path before it acts on it; the same three as for sensitive files (contract, section 5). */
export const DECODE_LAYERS = 3

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * Parses a request target (RFC 9112 section 3.2). Only the origin form is taken: a server that reads `http://evil/x` or
 * `*` as a path decides on one thing and forwards another (CVE-2026-16117, GHSA-jpvv-r467-5p4w).
 * Never repairs: a path with dot segments, a leading `//`, a backslash, control characters, broken escapes or invalid
 * UTF-8, in the raw or a decoded form, is refused, and so is a path whose route changes when it is decoded.
 */
export function parseTarget(raw: string, siteMap: SiteMap): Target | BadTarget {
  if (!raw.startsWith('/')) return { reason: 'not in origin form' }
  if (raw.includes('#')) return { reason: 'has a fragment' } // GHSA-pxq7-h93f-9jrg
  const queryAt = raw.indexOf('?')
  const path = queryAt < 0 ? raw : raw.slice(0, queryAt)
  const query = queryAt < 0 ? '' : raw.slice(queryAt)
  const route = routeOf(path, siteMap)
  let decodedPath = path
  if (!PLAIN_PATH.test(path)) {
    const checked = checkPath(path, route, siteMap)
    if (typeof checked !== 'string') return checked
    decodedPath = checked
  }
  if (route !== 'api' || !siteMap.stripApi)
    return { path, decodedPath, query, route, forwarded: raw }
  const stripped = path.slice('/api'.length)
  // `//host/x` is a host to everything that parses it as a URL reference (CVE-2022-28923).
  if (stripped.startsWith('//')) return { reason: 'has a double slash after the prefix' }
  return { path, decodedPath, query, route, forwarded: (stripped === '' ? '/' : stripped) + query }
}

/** Checks each form that the path takes while it decodes. @returns the path decoded once */
function checkPath(path: string, route: RouteName, siteMap: SiteMap): string | BadTarget {
  let form = decodeBytes(path)
  const decodedPath = form
  if (decodedPath === undefined) return { reason: 'has a bad escape or invalid UTF-8' }
  const rawProblem = problemOf(path)
  if (rawProblem !== undefined) return { reason: rawProblem }
  for (let layer = 1; form !== undefined && layer <= DECODE_LAYERS; layer++) {
    const problem = problemOf(form)
    if (problem !== undefined) return { reason: `${problem} (decoded)` }
    if (routeOf(form, siteMap) !== route) return { reason: 'is another route when decoded' }
    form = form.includes('%') ? decodeOnce(form) : undefined
  }
  return decodedPath
}

function problemOf(path: string): string | undefined {
  if (path.startsWith('//')) return 'starts with a double slash'
  if (path.includes('\\')) return 'has a backslash'
  if (hasControlCharacter(path)) return 'has a control character'
  const hasDotSegment = path.split('/').some((segment) => {
    const name = (segment.split(';')[0] ?? '').trim() // `..;` and `.. ` are `..` to some services (CVE-2026-127060)
    return name === '.' || name === '..'
  })
  return hasDotSegment ? 'has a dot segment' : undefined
}

/** Whether text has an ASCII control character. */
export function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

/** Decodes percent-escapes of a target as it came from the wire, one character a byte. @returns undefined when not UTF-8 */
function decodeBytes(text: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined
  const bytes = text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  try {
    return utf8.decode(Buffer.from(bytes, 'latin1'))
  } catch {
    return undefined
  }
}

/** Decodes text that was decoded before. @returns undefined when it is no further percent-encoding */
export function decodeOnce(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
