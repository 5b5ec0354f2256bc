/**
 * What do the gateway and the keeper of terminals say to each other, and what do both know of ttyd? The names are here, once;
 * docs/terminals.md describes them. A gateway understands {@link PROTOCOL} and the version before it.
 */
import type { TerminalArrival } from '../request/outcome.ts'

export {
  FROM_CLIENT,
  FROM_TTYD,
  NOT_AUTHENTICATED,
  TAB_PARAMETER,
  TTYD_PROTOCOL,
} from '../http/ttyd-protocol.ts'
export { KEPT_HEADER, REFUSAL_HEADER, TERMINAL_HEADER } from '../http/keeper-fields.ts'

/** The version of everything in this file that the two programs must agree on. */
export const PROTOCOL = 1

/** The versions that this program understands when it is the gateway. */
export const UNDERSTOOD_PROTOCOLS: readonly number[] = [PROTOCOL, PROTOCOL - 1].filter(
  (version) => version >= 1,
)

/** The keeper's own paths. ttyd's paths are all below `/terminal`. */
export const READY_PATH = '/_ready'
export const TERMINALS_PATH = '/_terminals'

/**
 * The headers in which the gateway names the session of a WebSocket. They are removed from clients' requests
 * (src/http/to-service.ts, `X-Workspace-*`). A handshake without them gets a terminal that is not kept.
 */
export const SESSION_HEADERS = {
  /** The session's id. */
  id: 'X-Workspace-Session',
  /** `sub`, percent-encoded. */
  user: 'X-Workspace-User',
  /** When the session ends, in milliseconds since 1970; absent for an API token without expiry. */
  ends: 'X-Workspace-Session-Ends',
  /** A text that the gateway gets back in the list, by which a restarted gateway recognises the session; it may be absent. */
  mark: 'X-Workspace-Session-Mark',
} as const

/** `new`: a new shell. `back`: the terminal that was parked. `taken-over`: the terminal that another connection had. */
export type Arrival = TerminalArrival

/** How a handshake got its terminal: the values of `X-Workspace-Terminal`. */
export const ARRIVALS: readonly Arrival[] = ['new', 'back', 'taken-over']

/** The form of a tab's id. */
export const TAB_ID = /^[A-Za-z0-9_-]{16,64}$/

/** The body of `GET /_ready`. */
export interface KeeperReady {
  readonly protocol: number
  readonly version: string
  /** When the keeper was started, in milliseconds since 1970. */
  readonly startedAt: number
  readonly attached: number
  readonly parked: number
}

/** A terminal in the list of `GET /_terminals`. Times are in milliseconds since 1970. */
export interface TerminalEntry {
  /** The terminal's name, for `DELETE`. It is useless as a credential. */
  readonly id: string
  readonly state: TerminalState
  /** The session, as the gateway named it. Undefined for a terminal that is not kept. */
  readonly sid: string | undefined
  readonly sub: string | undefined
  /** When the session ends; undefined for never. */
  readonly ends: number | undefined
  readonly mark: string | undefined
  /** The tab; undefined when the page had none, so that the terminal ends with its connection. */
  readonly tab: string | undefined
  /** The window title as ttyd or the shell set it. */
  readonly title: string
  readonly columns: number
  readonly rows: number
  readonly startedAt: number
  /** Since when it has been in this state. */
  readonly since: number
  /** When a parked terminal ends if nobody comes back. */
  readonly parkedUntil: number | undefined
}

/** `attached`: a client is connected. `parked`: none is. `exited`: parked, and its shell has ended meanwhile. */
export type TerminalState = 'attached' | 'parked' | 'exited'

/** The body of `GET /_terminals`. */
export interface TerminalList {
  readonly terminals: readonly TerminalEntry[]
}
