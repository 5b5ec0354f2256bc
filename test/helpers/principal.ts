/** How does a test make somebody who is signed in, without a token? */
import { Session } from '../../src/identity/session.ts'
import type { Principal } from '../../src/identity/token.ts'

/** When the sessions of {@link principalOf} end: the last second of the year 9999. */
const NEVER = 253_402_300_799_000

/** The principal of a session. */
export function principalOf(session: Session): Principal {
  return {
    subject: session.subject,
    session,
    acceptedUntil: session.acceptedUntil,
    key: undefined,
    apiToken: undefined,
    ticketId: undefined,
    authenticatedAt: undefined,
    methods: [],
    factorAt: undefined,
  }
}

/** The session of a browser. @param endsAt milliseconds since 1970 */
export function browserSession(id: string, { subject = 'alice', endsAt = NEVER } = {}): Session {
  return new Session(id, 'browser', { subject, endsAt })
}
