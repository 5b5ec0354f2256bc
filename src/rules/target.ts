/** What does the request ask for? The one canonical form of a request target; whatever differs from it is refused. */
import type { TargetProblem } from '../answers/details.ts'
import { routeOf, strippedPrefix, type RouteName, type SiteMap } from './site-map.ts'

/** A request target that was accepted. The bytes that were decided on are the bytes that are forwarded. */
export interface Target {
  /** The path as it came, still percent-encoded. */
  readonly path: string
  /** The path decoded once; for the log. */
  readonly decodedPath: string
  /** The query as it came, with its `?`, or an empty string. */
  readonly query: string
  readonly route: RouteName
  /** Path and query as the service gets them: as they came, less a stripped prefix. */
  readonly forwarded: string
}

/** Why a target was refused. */
export interface BadTarget {
  readonly reason: TargetProblem
}

// What a URI is made of (RFC 3986 section 2): everything else must have been escaped by the client.
const PRINTABLE = /^[\x21-\x7e]*$/

// Escapes, backslashes, empty segments and segments that start with a dot; any other path is canonical as it stands.
const NEEDS_A_LOOK = /[%\\]|\/[/.]/

/**
 * Parses a request target (RFC 9112 section 3.2). Only the origin form is taken: a server that reads `http://evil/x` or
 * `*` as a path decides on one thing and forwards another (CVE-2026-16117, GHSA-jpvv-r467-5p4w).
 * Never repairs: a path with dot segments, a leading `//`, a backslash, control characters, broken escapes or invalid
 * UTF-8 is refused, and so is one that gets any of these, or another route, when it is decoded further.
 */
export function parseTarget(raw: string, siteMap: SiteMap): Target | BadTarget {
  if (!raw.startsWith('/')) return { reason: 'not in origin form' }
  if (!PRINTABLE.test(raw)) return { reason: 'has a character that must be escaped' }
  if (raw.includes('#')) return { reason: 'has a fragment' } // GHSA-pxq7-h93f-9jrg
  const queryAt = raw.indexOf('?')
  const path = queryAt < 0 ? raw : raw.slice(0, queryAt)
  const query = queryAt < 0 ? '' : raw.slice(queryAt)
  const route = routeOf(path, siteMap)
  const prefix = strippedPrefix(route, siteMap)
  let decodedPath = path
  if (NEEDS_A_LOOK.test(path)) {
    const decoded = decodeOnce(path)
    if (decoded === undefined) return { reason: 'has a bad escape or invalid UTF-8' }
    const bare = decodeFully(path)
    if (routeOf(bare, siteMap) !== route) return { reason: 'is another route when decoded' }
    const problem = problemOf(bare, prefix)
    if (problem !== undefined) return { reason: problem }
    decodedPath = decoded
  }
  const kept = path.slice(prefix.length)
  return { path, decodedPath, query, route, forwarded: (kept === '' ? '/' : kept) + query }
}

/** What is wrong with a path from which every escape is gone. @param prefix what is stripped before it is forwarded */
function problemOf(bare: string, prefix: string): TargetProblem | undefined {
  // `//host/x` is a host to everything that parses it as a URL reference (CVE-2022-28923).
  if (bare.startsWith('//', prefix.length)) return 'starts with a double slash'
  if (bare.includes('\\')) return 'has a backslash'
  if (hasControlCharacter(bare)) return 'has a control character'
  const hasDotSegment = bare.split('/').some((segment) => {
    const name = (segment.split(';', 1)[0] ?? '').trim() // `..;` and `.. ` are `..` to some services (CVE-2026-127060)
    return name === '.' || name === '..'
  })
  return hasDotSegment ? 'has a dot segment' : undefined
}

/** Whether text has a control character: C0, DEL or C1. */
function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return true
  }
  return false
}

/** Decodes percent-escapes once. @returns undefined when one is broken or the bytes are not UTF-8 */
function decodeOnce(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/**
 * Decodes printable ASCII until nothing decodes any more, so that no service can decode further than we looked. What is
 * forbidden in any form on the way is still there at the end. One pass in linear time: an escape that is completed by a
 * decoded character is the end of what was written so far.
 */
function decodeFully(text: string): string {
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
