/** When does the session of a kept terminal end? A restarted gateway must know, also of a program that it has not seen yet. */
import type { ApiTokens } from '../identity/api-tokens.ts'
import type { KeyRing } from '../identity/key-ring.ts'
import type { Session } from '../identity/session.ts'
import type { Sessions } from '../identity/sessions.ts'
import type { TerminalEntry } from './protocol.ts'

/** What the keeper keeps of a session: it gives it back in its list. */
export function markOf({ kind, kid }: Session): string {
  return `${kind} ${kid}`
}

/** Where sessions are found. */
export interface SessionSources {
  readonly sessions: Sessions
  readonly apiTokens: ApiTokens
  readonly keys: KeyRing
  readonly now?: () => number
}

/**
 * When the session of a terminal ends, in milliseconds since 1970; Infinity for never.
 * @returns undefined when it has ended, or is not known
 */
export function endOfSession(
  { sid = '', sub = '', ends = Infinity, mark = '', startedAt }: TerminalEntry,
  { sessions, apiTokens, keys, now = Date.now }: SessionSources,
): number | undefined {
  const [kind, kid = ''] = mark.split(' ')
  if (kind === 'api-token') {
    const apiToken = apiTokens.named(sid)
    return apiToken !== undefined && apiToken.id === sid && apiTokens.isLive(apiToken)
      ? apiToken.session.endsAt
      : undefined
  }
  const session = sessions.find(sid)
  if (session !== undefined) return session.isOver(now(), startedAt) ? undefined : session.endsAt
  if (kind !== 'program' || !keys.has(kid) || now() >= ends) return undefined
  // The program was admitted when the terminal was opened, and nothing that was recorded since has ended its session.
  return sessions.mayLive(sid, decodeURIComponent(sub), startedAt) ? ends : undefined
}
