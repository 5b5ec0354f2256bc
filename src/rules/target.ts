/** Which path, query and route does a request ask for? A target must be in the one canonical form; any other is refused. */
import type { TargetProblem } from '../answers/details.ts'
import { routeOf, strippedPrefix, type RouteName, type SiteMap } from './site-map.ts'

/** An accepted request target. The gateway forwards exactly the bytes that it checked. */
export interface Target {
  /** The path as sent, still percent-encoded. */
  readonly path: string
  /** The path, decoded once, for the log. */
  readonly decodedPath: string
  /** The query as sent, with its `?`, or an empty string. */
  readonly query: string
  readonly route: RouteName
  /** The path and query for the service: as sent, but without a stripped prefix. */
  readonly forwarded: string
}

/** A refused target, with the reason. */
export interface BadTarget {
  readonly reason: TargetProblem
}

// The characters that a URI may contain (RFC 3986 section 2). The client must percent-encode all others.
const PRINTABLE = /^[\x21-\x7e]*$/

// Matches escapes, backslashes, empty segments and segments that start with a dot. A path without them is canonical.
const NEEDS_A_LOOK = /[%\\]|\/[/.]/

/**
 * Parses a request target (RFC 9112 section 3.2). Only the origin form is accepted: a server that reads `http://evil/x` or
 * `*` as a path checks one target and forwards another (CVE-2026-16117, GHSA-jpvv-r467-5p4w).
 * The parser never repairs a target. It refuses a path with dot segments, a leading `//`, a backslash, control characters,
 * broken escapes or invalid UTF-8, and a path in which further decoding reveals any of these or changes the route.
 */
export function parseTarget(raw: string, siteMap: SiteMap): Target | BadTarget {
  const parts = splitTarget(raw)
  if ('reason' in parts) return parts
  const { path, query } = parts
  const route = routeOf(path, siteMap)
  const prefix = strippedPrefix(route, siteMap)
  const canonical = canonicalPath(path, prefix, (bare) =>
    routeOf(bare, siteMap) === route ? undefined : 'is another route when decoded',
  )
  if ('reason' in canonical) return canonical
  const kept = path.slice(prefix.length)
  return {
    ...{ path, decodedPath: canonical.decodedPath, query, route },
    forwarded: (kept === '' ? '/' : kept) + query,
  }
}

/**
 * Splits a request target in origin form into its path and its query (with its `?`, or empty).
 * @returns the reason when the target is in another form, or has a fragment or a character that must be escaped
 */
export function splitTarget(raw: string): { path: string; query: string } | BadTarget {
  if (!raw.startsWith('/')) return { reason: 'not in origin form' }
  if (!PRINTABLE.test(raw)) return { reason: 'has a character that must be escaped' }
  if (raw.includes('#')) return { reason: 'has a fragment' } // GHSA-pxq7-h93f-9jrg
  const queryAt = raw.indexOf('?')
  return queryAt < 0
    ? { path: raw, query: '' }
    : { path: raw.slice(0, queryAt), query: raw.slice(queryAt) }
}

/**
 * Checks that a path is in the one canonical form, at every level of decoding.
 * @param prefix the prefix that is stripped before forwarding
 * @param check a further check of the fully decoded path, which comes first
 */
export function canonicalPath(
  path: string,
  prefix = '',
  check?: (bare: string) => TargetProblem | undefined,
): { decodedPath: string } | BadTarget {
  if (!NEEDS_A_LOOK.test(path)) return { decodedPath: path }
  const decodedPath = decodeOnce(path)
  if (decodedPath === undefined) return { reason: 'has a bad escape or invalid UTF-8' }
  const bare = decodeFully(path)
  const reason = check?.(bare) ?? problemOf(bare, prefix)
  return reason === undefined ? { decodedPath } : { reason }
}

/** The problem of a fully decoded path, if it has one. @param prefix the prefix that is stripped before forwarding */
function problemOf(bare: string, prefix: string): TargetProblem | undefined {
  // A parser of URL references reads `//host/x` as a host and a path (CVE-2022-28923).
  if (bare.startsWith('//', prefix.length)) return 'starts with a double slash'
  if (bare.includes('\\')) return 'has a backslash'
  if (hasControlCharacter(bare)) return 'has a control character'
  const hasDotSegment = bare.split('/').some((segment) => {
    const name = (segment.split(';', 1)[0] ?? '').trim() // some services read `..;` and `.. ` as `..` (CVE-2026-127060)
    return name === '.' || name === '..'
  })
  return hasDotSegment ? 'has a dot segment' : undefined
}

/** Whether a text contains a control character: C0, DEL or C1. */
function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return true
  }
  return false
}

/** Decodes percent-escapes once. @returns undefined when an escape is broken or the bytes are not UTF-8 */
function decodeOnce(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/**
 * Decodes percent-escapes repeatedly until none is left, so that no service can decode further than the gateway checked. A
 * forbidden character that appears at any level is still present at the end. The work is one linear pass: when a decoded
 * character completes another escape, that escape is always at the end of the output.
 */
export function decodeFully(text: string): string {
  const bytes = Buffer.from(text, 'latin1')
  let end = 0
  for (const byte of bytes) {
    bytes[end++] = byte
    while (end >= 3 && bytes[end - 3] === 0x25) {
      const value = hexValue(bytes[end - 2]) * 16 + hexValue(bytes[end - 1])
      if (Number.isNaN(value)) break
      end -= 2
      bytes[end - 1] = value
    }
  }
  return bytes.toString('utf8', 0, end)
}

/** The value of a hexadecimal digit in ASCII; NaN for anything else. */
function hexValue(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : Number.NaN
}
