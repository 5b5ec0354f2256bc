/** In which coding does a client want a body? By `Accept-Encoding` (RFC 9110 section 12.5.3), among the codings that are there. */
import { fieldLines, trimOws, type RawHeaders } from './fields.ts'

/** Codings that bodies of ours may be kept in besides the plain one, the shortest first: of those that a client likes as much, it gets that. */
export const CODINGS = ['br', 'gzip'] as const

/** A way in which a body is sent. `identity` is the plain body. */
export type ContentCoding = (typeof CODINGS)[number] | 'identity'

// RFC 9110 sections 5.6.2 (token) and 12.4.2 (weight).
const PREFERENCE =
  /^([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?$/i

/** Less than any weight that can be written: the plain body is acceptable where nothing else is, unless it is excluded. */
const LEAST = 0.0001

/**
 * The coding that the client likes best. Without the field, with one that breaks the grammar, and where nothing that is there is
 * acceptable, the plain body: the field is disregarded then, as RFC 9110 section 12.4.1 permits.
 * @param available the codings that are there besides the plain body
 */
export function chooseCoding(
  raw: RawHeaders,
  available: Pick<ReadonlySet<ContentCoding>, 'has'>,
): ContentCoding {
  const weights = weightsIn(fieldLines(raw, 'accept-encoding').join(','))
  let best: ContentCoding = 'identity'
  let weight = weights.get('identity') ?? (weights.get('*') === 0 ? 0 : LEAST)
  for (const coding of CODINGS.toReversed()) {
    const its = weights.get(coding) ?? weights.get('*') ?? 0
    if (its === 0 || its < weight || !available.has(coding)) continue
    best = coding
    weight = its
  }
  return best
}

/** The weights by coding, in lower case. A coding that stands there twice has the lower one, so that a refusal counts. */
function weightsIn(value: string): ReadonlyMap<string, number> {
  const weights = new Map<string, number>()
  for (const element of value.split(',')) {
    const preference = trimOws(element)
    if (preference === '') continue
    const [, coding, q = '1'] = PREFERENCE.exec(preference) ?? []
    if (coding === undefined) return new Map()
    const name = coding.toLowerCase()
    weights.set(name, Math.min(Number(q), weights.get(name) ?? 1))
  }
  return weights
}
