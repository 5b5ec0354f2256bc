/**
 * Which responses does the gateway send in its own name? The codes of this table: for each its status, its public words,
 * when a client gets it and how long the client shall wait. docs/errors.md is written from it (`npm run docs`).
 */

/**
 * The `Retry-After` header of a code: always the same number of seconds, one number for a request and one for a WebSocket, or
 * a number that is computed for each response, as the text says.
 */
export type RetryAfter =
  | number
  | { readonly request: number; readonly webSocket: number }
  | { readonly computed: string }

interface ErrorRow {
  readonly status: number
  /** Public words only: no host, port, path or library text of ours, nothing of the request. */
  readonly title: string
  /** When a client gets this code: one sentence, for docs/errors.md. */
  readonly when: string
  /** Left out where waiting is no help: the client changes its request or, where `detail` says so, sends it again at once. */
  readonly retryAfter?: RetryAfter
}

/** The codes are part of the public interface (docs/errors.md) and are never used again for something else. */
export const ERRORS = {
  'bad-request': {
    status: 400,
    title: 'The request is malformed',
    when: 'The message breaks a rule of HTTP, repeats or contradicts a field, is a WebSocket handshake for an address without WebSockets or for the terminal without its subprotocol `tty`, is a sign-in without exactly one token, gives the agent’s page the address of another gateway, is a body that an address below `/_gateway/v1` does not take, or came from a trusted proxy with fields that cannot be read.',
  },
  'bad-target': {
    status: 400,
    title: 'The address in the request is malformed',
    when: 'The address has dot segments, a backslash, control characters, bad escapes or invalid UTF-8, or reads differently once decoded.',
  },
  'token-in-url': {
    status: 400,
    title: 'The address contains an API token',
    when: 'The path or the query contains an API token that is in force, which is then marked as exposed, because addresses are logged on the way.',
  },
  'sign-in-required': {
    status: 401,
    title: 'Sign in to use this workspace',
    when: 'The request has no credential.',
  },
  'token-invalid': {
    status: 401,
    title: 'The token is not valid for this workspace',
    when: 'The token that decides is malformed, is not signed with a key of this workspace, is for another workspace or from another issuer, is an API token that is unknown, revoked or expired, belongs to a session that has ended, or is too long for the cookie of a sign-in.',
  },
  'token-expired': {
    status: 401,
    title: 'The session has expired',
    when: 'The token that decides has expired.',
  },
  'ticket-used': {
    status: 401,
    title: 'This sign-in link was used before',
    when: 'The token has signed in before: it signs in once, and is refused everywhere from then on.',
  },
  'step-up-required': {
    status: 401,
    title: 'Confirm that it is you',
    when: 'The route wants a second factor that was shown lately (`GATEWAY_STEP_UP_ROUTES`), or an owner’s act wants one with it, or else a sign-in that is not older than 10 minutes, which an API token cannot be.',
  },
  'sensitive-file': {
    status: 403,
    title: 'This file is never served',
    when: 'The address, or a query value, names a file that is never served.',
  },
  'origin-not-allowed': {
    status: 403,
    title: 'Requests from this origin are not allowed',
    when: 'A page of another origin sent a request that changes something with the session cookie, or opened a WebSocket.',
  },
  'scope-missing': {
    status: 403,
    title: 'This token may not do that',
    when: 'The API token has no scope for the route and method, or the person is no owner of the workspace (`GATEWAY_OWNERS`).',
  },
  'address-not-allowed': {
    status: 403,
    title: 'This token may not be used from here',
    when: 'The API token is allowed from other client addresses only.',
  },
  'other-subject': {
    status: 403,
    title: 'This token belongs to somebody else',
    when: 'The token of a renewal names another person than the session; nothing changes, and the token is not used up.',
  },
  'not-found': {
    status: 404,
    title: 'There is nothing here',
    when: 'The path is below `/_gateway` and does not exist, or names a session, an API token, a paired device or an entry of the vault that does not exist, or the request prefetches a page that is not the dashboard’s (the body is empty then).',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The method is not allowed here',
    when: 'The method is TRACE, CONNECT or unknown (`Allow` names all that the gateway knows), or this address does not take it (`Allow` names those that it takes).',
  },
  'request-timeout': {
    status: 408,
    title: 'The request took too long to arrive',
    when: 'The headers took longer than 10 s, or the body came slower than 1 KiB/s for 30 s.',
  },
  'body-too-large': {
    status: 413,
    title: 'The request body is too large',
    when: 'A sign-in form has more than 16 KiB, the JSON of an owner’s request more than 64 KiB, or a body without a length has more than 16 KiB and is for the terminal, which reads no chunks; other bodies have no limit of the gateway.',
  },
  'expectation-failed': {
    status: 417,
    title: 'The expectation cannot be met',
    when: '`Expect` is something other than `100-continue`.',
  },
  'host-not-served': {
    status: 421,
    title: 'This host is not served here',
    when: '`Host` is neither the public host, nor localhost, nor an IP literal, nor in `GATEWAY_ALLOWED_HOSTS`.',
  },
  'upgrade-required': {
    status: 426,
    title: 'Only WebSocket version 13 is spoken here',
    when: 'A WebSocket handshake asks for another version than 13.',
  },
  'rate-limited': {
    status: 429,
    title: 'Too many requests',
    when: 'The budget of the address, of the session, or of the API token with a rate of its own is spent.',
    retryAfter: {
      computed: 'seconds until the budget has room for one request, rounded up, at least 1',
    },
  },
  'headers-too-large': {
    status: 431,
    title: 'The request headers are too large',
    when: 'The headers have more than 16 KiB or more than 100 fields.',
  },
  'internal-error': {
    status: 500,
    title: 'The gateway could not answer',
    when: 'The gateway itself failed; the log has the cause under the same request id.',
  },
  'upstream-unreachable': {
    status: 502,
    title: 'The service behind this address is not answering',
    when: 'The service refused the connection, broke it, or did not speak HTTP.',
    // The error page reloads itself after this time: six requests a minute leave room in an address's budget of ten.
    retryAfter: 10,
  },
  draining: {
    status: 503,
    title: 'The workspace is restarting',
    when: 'The gateway is stopping: it takes no new WebSockets, and it tells probers of `/health` and `/_gateway/ready`.',
    retryAfter: 2,
  },
  'upstream-busy': {
    status: 503,
    title: 'The service behind this address is busy',
    when: 'The service has 1,024 requests under way, or the session or the address has too many WebSockets open.',
    retryAfter: { request: 1, webSocket: 5 },
  },
  'too-many-terminals': {
    status: 503,
    title: 'Too many terminals are open',
    when: 'The workspace has 64 terminals, or the session 16, and somebody is connected to each of them.',
    retryAfter: 30,
  },
  'state-unavailable': {
    status: 503,
    title: 'The workspace cannot save this now',
    when: 'The state file cannot be written, for example because the disk is full, and the action must be on the disk before it counts: a sign-in with a one-time token, or an API token that is made or changed.',
    retryAfter: 10,
  },
  'vault-unavailable': {
    status: 503,
    title: 'The vault does not answer',
    when: 'An owner asks for the vault (`GATEWAY_VAULT_SOCKETS`), and it does not answer, or cannot save the change.',
    retryAfter: 10,
  },
  'link-unavailable': {
    status: 503,
    title: 'The link does not answer',
    when: 'An owner asks for paired devices (`GATEWAY_LINK_OWNER_SOCKET`), and the link does not answer, or cannot save the change.',
    retryAfter: 10,
  },
  'upstream-timeout': {
    status: 504,
    title: 'The service behind this address took too long',
    when: 'The service did not accept the connection within 3 s, or did not begin its response in time.',
    retryAfter: 30,
  },
} as const satisfies Record<string, ErrorRow>

/** A stable name for a refusal or failure, sent in `X-Gateway-Error` and in the problem document. */
export type ErrorCode = keyof typeof ERRORS

/** The oldest sign-in with which an owner's act is done, in seconds; else it is `step-up-required`. */
export const STEP_UP_MAX_AGE_SECONDS = 600

/** The codes whose seconds are not one number of the table. Whoever creates such an error gives the seconds. */
type TimedCode = {
  [Code in ErrorCode]: (typeof ERRORS)[Code] extends { retryAfter: object } ? Code : never
}[ErrorCode]

/** The `Retry-After` of a code, in seconds, when the table has one number for it. */
export function fixedRetryAfter(code: ErrorCode): number | undefined {
  const { retryAfter }: ErrorRow = ERRORS[code]
  return typeof retryAfter === 'number' ? retryAfter : undefined
}

/** What may travel with an error besides its code. */
export interface GatewayErrorOptions {
  /** Why, for the log only. Never a secret and never sent to the client. */
  reason?: string
  /** What was wrong and what to do, for the client: a fixed text of src/answers/details.ts, when more is known than the code. */
  detail?: string
  /** Fields that the answer must carry, such as `Allow`. */
  headers?: Readonly<Record<string, string | string[]>>
  /** `Retry-After` in seconds, for a code that has not one number in the table. */
  retryAfter?: number | undefined
  /** The inner failure, for the log only. */
  cause?: unknown
}

/** The compiler wants `retryAfter` for each code whose seconds depend on the response. */
type TimedErrorOptions = GatewayErrorOptions & { retryAfter: number | undefined }

/** A request that is answered by the gateway itself. The one error that stages throw. */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly reason: string | undefined
  readonly detail: string | undefined
  readonly headers: Readonly<Record<string, string | string[]>> | undefined
  readonly retryAfter: number | undefined

  constructor(code: Exclude<ErrorCode, TimedCode>, options?: GatewayErrorOptions)
  constructor(code: ErrorCode, options: TimedErrorOptions)
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
    this.retryAfter = options.retryAfter
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

/** Why nobody has answered, for the log: the code of the system's error, `ETIMEDOUT` when a time limit was over, or `failed`. */
export function noAnswerReason(error: unknown): string {
  const code = codeOf(error)
  if (code === 'ABORT_ERR' || (error instanceof Error && error.name === 'TimeoutError'))
    return 'ETIMEDOUT'
  return code === '' ? 'failed' : code
}
