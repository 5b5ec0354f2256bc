/**
 * What did another of the workspace's programs answer at its owner's door? Its JSON is checked here field by field, because what listens on
 * the socket may be an older or a newer release, another program, or a broken one.
 */

/** What answers is another program, or one whose answer cannot be understood. */
export class OddAnswerError extends Error {}

/** How many elements a list may have. */
const MAX_ELEMENTS = 1000

/** Reads an object. @throws {OddAnswerError} */
export function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new OddAnswerError('it answered no object where there is one')
  return value as Record<string, unknown>
}

/** Reads a list of at most {@link MAX_ELEMENTS}. @throws {OddAnswerError} */
export function listIn<Value>(value: unknown, read: (one: unknown) => Value): readonly Value[] {
  if (!Array.isArray(value) || value.length > MAX_ELEMENTS)
    throw new OddAnswerError('it answered no list where there is one, or a long one')
  return value.map((one) => read(one))
}

/** Reads a text. @param most its length in UTF-16 code units @throws {OddAnswerError} */
export function boundedTextIn(value: unknown, most: number): string {
  if (typeof value === 'string' && value.length <= most) return value
  throw new OddAnswerError('it answered no text where there is one, or a long one')
}

/** Reads a count. @throws {OddAnswerError} */
export function countIn(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw new OddAnswerError('it answered no count where there is one')
}

/** Reads a time in UTC with milliseconds, as our programs write it (RFC 3339). @throws {OddAnswerError} */
export function timeIn(value: unknown): string {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value))
    return value
  throw new OddAnswerError('it answered no time where there is one')
}

/** Reads what may be null. */
export function orNull<Value>(value: unknown, read: (one: unknown) => Value): Value | null {
  return value === null ? null : read(value)
}

/** Reads the code of a refusal. @param codes those of the program @throws {OddAnswerError} */
export function codeIn<Code extends string>(
  value: unknown,
  codes: Readonly<Record<Code, unknown>>,
): Code {
  if (typeof value === 'string' && Object.hasOwn(codes, value)) return value as Code
  throw new OddAnswerError('it refused without a code that is known')
}

/** Reads the JSON of an answer. @throws {OddAnswerError} */
export function jsonIn(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    throw new OddAnswerError('it answered no JSON')
  }
}
