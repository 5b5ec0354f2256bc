/** When does the session of a kept terminal end? A restarted gateway must know, also of a program that it has not seen yet. */
import type { ApiTokens } from '../identity/api-tokens.ts'
import type { KeyRing } from '../identity/key-ring.ts'
import type { Session } from '../identity/session.ts'
import type { Sessions } from '../identity/sessions.ts'
import type { TerminalEntry } from './protocol.ts'

/** What the keeper keeps of a session: it gives it back in its list. */
export function markOf({ kind, kid }: Session): string {
  return kid === '' ? kind : `${kind} ${kid}`
}

/** The parts of a mark. */
function partsOf({ mark = '' }: TerminalEntry): readonly [kind: string, kid: string] {
  const [kind = '', kid = ''] = mark.split(' ')
  return [kind, kid]
}

/**
 * When what is opened under a session at some time must end, in whole milliseconds since 1970; Infinity for never. What is opened
 * within the leeway of an expired token ends with the leeway, or its page would be let in and closed in a hot loop.
 */
export function endOf(session: Session, openedAt: number): number {
  const { endsAt, acceptedUntil } = session
  return Math.floor(openedAt < endsAt ? endsAt : acceptedUntil)
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
export function endOfSession(entry: TerminalEntry, sources: SessionSources): number | undefined {
  const { now = Date.now } = sources
  const end =
    partsOf(entry)[0] === 'program' ? endOfProgram(entry, sources) : endOfKnown(entry, sources)
  return end !== undefined && now() < end ? end : undefined
}

/** The end of a browser's session, or of an API token: the state file has all of them. */
function endOfKnown(
  entry: TerminalEntry,
  { sessions, apiTokens }: SessionSources,
): number | undefined {
  const { sid = '', startedAt } = entry
  if (partsOf(entry)[0] !== 'api-token') {
    const session = sessions.browser(sid)?.session
    return session === undefined ? undefined : endOf(session, startedAt)
  }
  const apiToken = apiTokens.named(sid)
  return apiToken !== undefined && apiToken.id === sid && apiTokens.isLive(apiToken)
    ? endOf(apiToken.session, startedAt)
    : undefined
}

/**
 * The end of a program's session. This process may not have seen its token: then the session lives as the keeper was told when the
 * terminal was opened, while the key of that token is there and nothing that was recorded since has ended it.
 */
function endOfProgram(
  entry: TerminalEntry,
  { sessions, keys }: SessionSources,
): number | undefined {
  const { sid = '', sub = '', ends = Infinity, startedAt } = entry
  const [, kid] = partsOf(entry)
  if (!sessions.mayLive(sid, decodeURIComponent(sub), startedAt)) return undefined
  const session = sessions.find(sid)
  const seen = session === undefined ? -Infinity : endOf(session, startedAt)
  return Math.max(seen, keys.has(kid) ? ends : -Infinity)
}
