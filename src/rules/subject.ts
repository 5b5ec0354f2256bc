/** Which names may a person or program have? `sub` of a token, written to logs, to a header for the services, and in lists of owners. */

/** The longest subject, in UTF-16 code units. */
export const MAX_SUBJECT_LENGTH = 256

/** Whether a subject can be written to a log and, encoded, to a header field and still be the same name. */
export function isSubject(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value !== '' &&
    value.length <= MAX_SUBJECT_LENGTH &&
    value.isWellFormed() &&
    !/\p{Cc}/u.test(value)
  )
}
