/**
 * Does a path prefix cover a path? The prefix matches whole segments of the path as it was sent, so its segments must be written
 * without escapes. A path that is not canonical at every level of decoding is refused, because a service could read another one.
 */
import type { TargetProblem } from '../answers/details.ts'
import { canonicalPath, decodeFully, type BadTarget } from '../rules/target.ts'

/** The longest prefix, in characters. */
const MAX_PREFIX_LENGTH = 500

/** The characters of a path (RFC 3986 section 3.3) without `%`, and without `;`, which some services cut off. */
const PREFIX = /^\/[A-Za-z0-9._~!$&'()*+,=:@/-]*$/

/** What is wrong with a prefix, as a predicate; undefined when it may be used. */
export function prefixProblem(prefix: string): string | undefined {
  if (prefix.length > MAX_PREFIX_LENGTH) return `is longer than ${MAX_PREFIX_LENGTH} characters`
  if (!prefix.startsWith('/')) return 'does not begin with a slash'
  if (!PREFIX.test(prefix)) return 'has a character that a prefix may not have, such as % or ;'
  if (prefix.includes('//')) return 'has an empty segment'
  const canonical = canonicalPath(prefix)
  return 'reason' in canonical ? canonical.reason : undefined
}

/** Whether a prefix covers a canonical path or a narrower prefix: `/user` covers `/user` and `/user/x`; `/user/` only the latter. */
export function coversPath(prefix: string, path: string): boolean {
  return path === prefix || path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`)
}

/** A segment that is dots for a service that decodes the path and then reads what it got as a URL again: `..%3f`, `..%23`. */
const DOTS_BEFORE_DELIMITER = /(?:^|\/)\.{1,2}[?#]/

/**
 * The reason why a path is refused whatever the prefixes are; undefined when it is canonical. Stricter than the gateway's: no `//`,
 * and at no level of decoding dots that end at a `?` or a `#`.
 */
export function pathProblem(path: string): TargetProblem | 'has an empty segment' | undefined {
  const canonical: { decodedPath: string } | BadTarget = canonicalPath(path)
  if ('reason' in canonical) return canonical.reason
  if (path.includes('//')) return 'has an empty segment'
  return DOTS_BEFORE_DELIMITER.test(decodeFully(path)) ? 'has a dot segment' : undefined
}
