/** What does the limits service refuse, and in which words? The codes of this table; docs/limits.md is checked against it. */

interface LimitErrorRow {
  readonly status: number
  /** Public words: nothing of the request. */
  readonly title: string
  /** When a caller gets this code. */
  readonly when: string
}

/** The codes are part of the public interface and are never used again for something else. Those of the gateway mean the same here. */
export const LIMIT_ERRORS = {
  'bad-request': {
    status: 400,
    title: 'The request is malformed',
    when: 'The body, the query, a user or a grant is not as the service takes them; `detail` says which, and what it takes.',
  },
  'token-required': {
    status: 401,
    title: 'A token of the service is needed',
    when: 'The request came over the port and has no `Authorization: Bearer`.',
  },
  'token-invalid': {
    status: 401,
    title: 'The token is not one of this service',
    when: 'The token is not in `LIMITS_TOKEN_FILE`.',
  },
  'not-found': {
    status: 404,
    title: 'There is nothing here',
    when: 'The path is none of the service, or names a policy that there is not.',
  },
  'no-such-grant': {
    status: 404,
    title: 'There is nothing to give back',
    when: 'The user has no grant of this id, or none at all: it was given back before, or has left every window.',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The method is not allowed here',
    when: 'The path does not take the method; `Allow` names those that it takes.',
  },
  'request-timeout': {
    status: 408,
    title: 'The request took too long to arrive',
    when: 'The request, or its body, took longer than 10 s.',
  },
  'body-too-large': {
    status: 413,
    title: 'The request body is too large',
    when: 'The body has more than 4 KiB.',
  },
  'unsupported-media-type': {
    status: 415,
    title: 'The body is not declared as JSON',
    when: 'The body comes without `Content-Type: application/json`.',
  },
  'rate-limited': {
    status: 429,
    title: 'The limit is reached',
    when: 'A window of the policy is full. `refusedBy` names it, or all that are; nothing was taken in any of them.',
  },
  'headers-too-large': {
    status: 431,
    title: 'The request headers are too large',
    when: 'The headers have more than 8 KiB.',
  },
  'internal-error': {
    status: 500,
    title: 'The service could not answer',
    when: 'The service itself failed; the log has the cause under the same request id.',
  },
  draining: {
    status: 503,
    title: 'The service is stopping',
    when: 'The service is stopping; only `/healthz` says so, and requests under way are answered.',
  },
  'store-unavailable': {
    status: 503,
    title: 'The store does not answer',
    when: 'The store is away, and the policy allows nothing without it (`store-away: refuse`), or it is a request to look or to give back.',
  },
} as const satisfies Record<string, LimitErrorRow>

export type LimitErrorCode = keyof typeof LIMIT_ERRORS

/** A refusal. */
export class LimitError extends Error {
  readonly code: LimitErrorCode
  /** What was wrong and what to do: fixed words, and nothing of the request. */
  readonly detail: string

  constructor(code: LimitErrorCode, detail: string, options?: ErrorOptions) {
    super(detail, options)
    this.name = 'LimitError'
    this.code = code
    this.detail = detail
  }
}
