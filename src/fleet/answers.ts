/** What does the limits service answer? JSON with what is left of each window, or a problem document that says what was wrong. */
import {
  ERROR_FIELD,
  ownHeaders,
  retryAfterField,
  withBody,
  type Answer,
} from '../answers/problem.ts'
import type { LimitPolicy } from '../config/limit-policies.ts'
import { rateLimitFields, retryAfterSeconds } from '../limits/budget-fields.ts'
import { LIMIT_ERRORS, type LimitError, type LimitErrorCode } from './limit-errors.ts'
import { fullWindows, msUntilRoom, type WindowState } from './windows.ts'

/** The challenges of a 401 (RFC 6750 section 3): no error attribute when no token was sent. */
const CHALLENGES: Partial<Record<LimitErrorCode, string>> = {
  'token-required': 'Bearer realm="limits"',
  'token-invalid': 'Bearer realm="limits", error="invalid_token"',
}

/** How long a caller shall wait while the service or its store is away, in seconds. */
const RETRY_SECONDS = 1

/** An answer of 200. @param states the windows that it tells of; none for the probe */
export function okAnswer(
  requestId: string,
  body: object,
  states: readonly WindowState[] = [],
): Answer {
  return withBody(
    200,
    [...ownHeaders(requestId), ...budgetFields(states)],
    'application/json',
    `${JSON.stringify(body)}\n`,
  )
}

/** A refusal. @param headers what it has besides those of every refusal, names and values in turn */
export function problem(
  requestId: string,
  { code, detail }: Pick<LimitError, 'code' | 'detail'>,
  headers: readonly string[] = [],
  members: object = {},
): Answer {
  const { status, title } = LIMIT_ERRORS[code]
  const challenge = CHALLENGES[code]
  const type = `urn:workspace-gateway:limits:${code}`
  return withBody(
    status,
    [
      ...ownHeaders(requestId),
      ...[ERROR_FIELD, code],
      ...(challenge === undefined ? [] : ['WWW-Authenticate', challenge]),
      ...(status === 503 ? retryAfterField(RETRY_SECONDS) : []),
      ...headers,
    ],
    'application/problem+json',
    `${JSON.stringify({ type, title, status, code, detail, instance: requestId, ...members })}\n`,
  )
}

/** The refusal of a request for which a window has no room. @param members what its document has besides */
export function limitReached(
  requestId: string,
  policy: LimitPolicy,
  states: readonly WindowState[],
  members: object,
): Answer {
  const retryAfter = retryAfterSeconds(msUntilRoom(states))
  const refusedBy = fullWindows(states).map(({ name }) => name)
  const detail =
    refusedBy.length === 1
      ? 'the window in refusedBy is full; nothing was taken in any window'
      : 'the windows in refusedBy are full; nothing was taken in any window'
  return problem(
    requestId,
    { code: 'rate-limited', detail },
    [...budgetFields(states), ...retryAfterField(retryAfter)],
    { policy: policy.name, refusedBy, ...members, windows: windowsOf(states), retryAfter },
  )
}

/** The windows of an answer. */
export function windowsOf(states: readonly WindowState[]) {
  return states.map(({ name, points, seconds, used, left, nextMs }) => ({
    ...{ name, points, seconds, used, left },
    nextSeconds: used === 0 ? null : retryAfterSeconds(nextMs),
  }))
}

function budgetFields(states: readonly WindowState[]): readonly string[] {
  if (states.length === 0) return []
  const [left, policy] = rateLimitFields(states)
  return ['RateLimit', left, 'RateLimit-Policy', policy]
}
