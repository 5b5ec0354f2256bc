/** How are API tokens shown to a person, and which deserve a look? As plain values, which are also the JSON of the list. */
import { scopeText } from '../rules/scopes.ts'
import type { ApiToken } from './api-tokens.ts'
import { isoTime } from './iso-time.ts'

/** An API token as it is listed. Times are ISO 8601 in UTC, and null when there was none. */
export interface ListedApiToken {
  readonly id: string
  readonly name: string
  readonly last4: string
  readonly sub: string
  readonly scopes: readonly string[]
  /** The networks from which it is allowed; empty for everywhere. */
  readonly from: readonly string[]
  /** Requests a minute of its own; null when it spends the budget of the client address. */
  readonly rate: number | null
  readonly createdAt: string
  readonly expiresAt: string | null
  readonly lastUsedAt: string | null
  readonly lastUsedFrom: string | null
  readonly exposedAt: string | null
  readonly revokedAt: string | null
  /** The id of the token that replaces it. */
  readonly replacedBy: string | null
}

/** What is listed of an API token. */
export function describe(apiToken: ApiToken): ListedApiToken {
  const { id, name, last4, scopes, addresses, rate, createdAt, replacedBy, session } = apiToken
  return {
    ...{ id, name, last4 },
    sub: session.subject,
    scopes: scopes.map(scopeText),
    from: addresses,
    rate: rate ?? null,
    createdAt: new Date(createdAt).toISOString(),
    expiresAt: isoTime(session.endsAt),
    lastUsedAt: isoTime(session.lastSeenAt),
    lastUsedFrom: session.lastSeenAt === 0 ? null : session.lastSeenFrom,
    exposedAt: isoTime(apiToken.exposedAt),
    revokedAt: isoTime(apiToken.revokedAt),
    replacedBy: replacedBy ?? null,
  }
}

/** The tokens in force that deserve a look, by what there is to see. */
export interface TokenAdvice {
  /** Those that never expire. */
  readonly withoutEnd: readonly ListedApiToken[]
  /** Those with which no request ever came. */
  readonly neverUsed: readonly ListedApiToken[]
  /** Those with which the last request came 90 days ago or earlier. */
  readonly unused: readonly ListedApiToken[]
  /** Those that others may have read. */
  readonly exposed: readonly ListedApiToken[]
}

/** A token that was not used for this long is probably not needed, in milliseconds. */
const UNUSED_MS = 90 * 86_400_000

/** Which listed tokens deserve a look. @param now milliseconds since 1970 */
export function tokenAdvice(list: readonly ListedApiToken[], now: number): TokenAdvice {
  const live = list.filter(
    ({ revokedAt, expiresAt }) =>
      revokedAt === null && (expiresAt === null || Date.parse(expiresAt) > now),
  )
  // Nobody should use a replaced token any more.
  const needed = live.filter(({ replacedBy }) => replacedBy === null)
  return {
    withoutEnd: live.filter(({ expiresAt }) => expiresAt === null),
    neverUsed: needed.filter(({ lastUsedAt }) => lastUsedAt === null),
    unused: needed.filter(
      ({ lastUsedAt }) => lastUsedAt !== null && now - Date.parse(lastUsedAt) >= UNUSED_MS,
    ),
    exposed: live.filter(({ exposedAt }) => exposedAt !== null),
  }
}
