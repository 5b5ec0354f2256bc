/** With which code is a WebSocket closed by us, and what does its close frame say (RFC 6455 section 7.4)? */

/** Why something was ended, for the log and `explain`: a WebSocket, a response, or a handshake. */
export const SESSION_ENDED_REASON = 'session ended'

/** A close code and its reason. */
export interface CloseReason {
  readonly code: number
  readonly reason: string
}

/** The session of the socket is over. */
export const SESSION_ENDED: CloseReason = { code: 4401, reason: SESSION_ENDED_REASON }

/** The gateway, or the keeper of terminals, stops or is replaced. ttyd's page connects again at once. */
export const RESTARTING: CloseReason = { code: 1012, reason: 'restarting' }
