/** Where does a request carry its lease? Where the service's own tools put a key, so that they need no change. */
import { fieldLines, trimOws, type RawHeaders } from '../http/fields.ts'

/** The headers in which a lease is looked for besides those of the service: `Authorization`, and what many tools use. */
export const COMMON_PLACES: readonly string[] = ['authorization', 'x-api-key', 'x-goog-api-key']

/** What is a lease, within the shape that a service's tools insist on. */
const LEASE = /^[A-Za-z0-9_-]{0,32}hvl_[A-Za-z0-9]{32}[A-Za-z0-9_-]{0,32}$/

/** The same in any text, for what must not have one. */
const LEASE_WITHIN = /hvl_[A-Za-z0-9]{32}/

/** Whether a text has a lease in it. */
export function hasLease(text: string): boolean {
  return LEASE_WITHIN.test(text)
}

/**
 * The leases that a request carries in some headers, each once. A key that is no lease is ignored: it is never forwarded.
 * @param places names of headers, in lower case
 */
export function presentedLeases(raw: RawHeaders, places: readonly string[]): string[] {
  const found = new Set<string>()
  for (const place of new Set(places))
    for (const line of fieldLines(raw, place))
      for (const candidate of candidatesOf(trimOws(line)))
        if (LEASE.test(candidate)) found.add(candidate)
  return [...found]
}

/** A value, alone or behind one word, as in `Bearer …` and `token …`; or the user and the password of `Basic …`. */
function candidatesOf(value: string): string[] {
  const space = value.indexOf(' ')
  if (space < 0) return [value]
  const scheme = value.slice(0, space).toLowerCase()
  const rest = trimOws(value.slice(space + 1))
  return scheme === 'basic' ? userAndPassword(rest) : [rest]
}

function userAndPassword(encoded: string): string[] {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(encoded)) return []
  const text = Buffer.from(encoded, 'base64').toString('latin1')
  const colon = text.indexOf(':')
  return colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)]
}
