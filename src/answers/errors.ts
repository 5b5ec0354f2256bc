/** Which answers does the gateway give in its own name? Every code, its status and its public words, once. */

/**
 * Public words only: no host, port, path or library text of ours, nothing of the request.
 * The codes are part of the public interface (docs/errors.md) and are never used again for something else.
 */
export const ERRORS = {
  'bad-request': { status: 400, title: 'The request is malformed' },
  'bad-target': { status: 400, title: 'The address in the request is malformed' },
  'sign-in-required': { status: 401, title: 'Sign in to use this workspace' },
  'token-invalid': { status: 401, title: 'The token is not valid for this workspace' },
  'token-expired': { status: 401, title: 'The session has expired' },
  'sensitive-file': { status: 403, title: 'This file is never served' },
  'origin-not-allowed': { status: 403, title: 'Requests from this origin are not allowed' },
  'not-found': { status: 404, title: 'There is nothing here' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed here' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'body-too-large': { status: 413, title: 'The request body is too large' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'host-not-served': { status: 421, title: 'This host is not served here' },
  'upgrade-required': { status: 426, title: 'Only WebSocket version 13 is spoken here' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  'headers-too-large': { status: 431, title: 'The request headers are too large' },
  'internal-error': { status: 500, title: 'The gateway could not answer' },
  'upstream-unreachable': {
    status: 502,
    title: 'The service behind this address is not answering',
  },
  draining: { status: 503, title: 'The workspace is restarting' },
  'upstream-busy': { status: 503, title: 'The service behind this address is busy' },
  'upstream-timeout': { status: 504, title: 'The service behind this address took too long' },
} as const

/** A stable name for a refusal or failure, sent in `X-Gateway-Error` and in the problem document. */
export type ErrorCode = keyof typeof ERRORS

/** What may travel with an error besides its code. */
export interface GatewayErrorOptions {
  /** Why, for the log only. Never a secret and never sent to the client. */
  reason?: string
  /** What was wrong and what to do, for the client: a fixed text of src/answers/details.ts, when more is known than the code. */
  detail?: string
  /** Fields that the answer must carry, such as `Retry-After` or `Allow`. */
  headers?: Readonly<Record<string, string | string[]>>
  /** The inner failure, for the log only. */
  cause?: unknown
}

/** A request that is answered by the gateway itself. The one error that stages throw. */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly reason: string | undefined
  readonly detail: string | undefined
  readonly headers: Readonly<Record<string, string | string[]>> | undefined

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    // A refusal is an answer, not a fault: collecting a stack, which nothing prints, would be most of its cost.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(ERRORS[code].title, options.cause === undefined ? undefined : { cause: options.cause })
    Error.stackTraceLimit = stackTraceLimit
    this.name = 'GatewayError'
    this.code = code
    this.reason = options.reason
    this.detail = options.detail
    this.headers = options.headers
  }

  /** The HTTP status of the answer; Fastify reads this name. */
  get statusCode(): number {
    return ERRORS[this.code].status
  }
}

/** What a failure of a service becomes for the client: 504 when the system says that it took too long, else 502. */
export function upstreamErrorFrom(cause: unknown): GatewayError {
  if (cause instanceof GatewayError) return cause
  const code = codeOf(cause)
  return new GatewayError(code === 'ETIMEDOUT' ? 'upstream-timeout' : 'upstream-unreachable', {
    reason: code === '' ? 'failed' : code,
    cause,
  })
}

/** The `code` of a system or library error, or an empty string. */
export function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}
