/**
 * What does the keeper of terminals tell the gateway in its response to a handshake? Three fields, which the gateway keeps for itself:
 * no client gets them, whichever service sends them. The rest of what the two say is in src/terminals/protocol.ts.
 */

/** How a handshake got its terminal: a field of the keeper's `101`. */
export const TERMINAL_HEADER = 'X-Workspace-Terminal'

/** A field of the keeper's `101`: for how many seconds the terminal waits when its connection is lost. Absent when it does not. */
export const KEPT_HEADER = 'X-Workspace-Terminal-Kept'

/** The header of a refusal by the keeper itself, with the gateway's error code. */
export const REFUSAL_HEADER = 'X-Workspace-Refusal'
