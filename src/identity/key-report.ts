/** Who still uses which key? During a rotation this says when an old secret can be removed without signing anybody out. */
import { isoTime } from './iso-time.ts'
import type { KeyRing } from './key-ring.ts'
import type { Sessions } from './sessions.ts'

/** How a key is used. It has no secret in it. */
export interface KeyUse {
  /** The public name of the key, which session tokens carry. */
  readonly kid: string
  /** Whether the key signs the tokens of new sessions. Every key verifies. */
  readonly role: 'signs' | 'verifies'
  /** How many requests had a token of this key in the last hour, and in the last day. */
  readonly lastHour: number
  readonly lastDay: number
  /** When the last one came, as an ISO 8601 date in UTC; null for never. */
  readonly lastUsedAt: string | null
  /** Since when uses are counted: a process counts from its own start. As an ISO 8601 date in UTC. */
  readonly countedSince: string
  /** How many sessions would end with the key: browsers that are signed in, and programs whose token was seen. */
  readonly openSessions: number
}

/** How each key is used, the signing one first. @param now milliseconds since 1970 */
export function keysReport(
  { keys }: KeyRing,
  sessions: Sessions,
  now: number = Date.now(),
): KeyUse[] {
  const open = new Map<string, number>()
  const count = (kid: string) => open.set(kid, (open.get(kid) ?? 0) + 1)
  for (const { session } of sessions.browsers()) count(session.kid)
  for (const session of sessions.programs()) count(session.kid)
  return keys.map((key, i) => ({
    kid: key.kid,
    role: i === 0 ? 'signs' : 'verifies',
    lastHour: key.usesInLastHour(now),
    lastDay: key.usesInLastDay(now),
    lastUsedAt: isoTime(key.lastUsedAt),
    countedSince: new Date(key.countedSince).toISOString(),
    openSessions: open.get(key.kid) ?? 0,
  }))
}
