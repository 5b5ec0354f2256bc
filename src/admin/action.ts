/** What is an owner's action? A row of the table in owner-actions.ts: where it is, who may do it, and what it does. */
import type { ApiTokens } from '../identity/api-tokens.ts'
import type { KeyRing } from '../identity/key-ring.ts'
import type { Decisions } from '../observe/recent.ts'
import type { SecondFactors } from '../identity/second-factor/factors.ts'
import type { Sessions } from '../identity/sessions.ts'
import type { State } from '../store/state.ts'
import type { TerminalKeeper } from '../terminals/keeper-client.ts'
import type { LinkOwner } from '../relay/owner-client.ts'
import type { VaultOwner } from '../vault/owner-client.ts'
import type { Caller } from './caller.ts'

/** What the actions on the state need. A running gateway has it, and so has a command that opened the state file itself. */
export interface StateParts {
  /** GATEWAY_OWNERS; empty: everybody */
  readonly owners: readonly string[]
  /** Keeps what the actions change. */
  readonly state: Pick<State, 'refuseIfHandedOver'>
  readonly sessions: Sessions
  readonly apiTokens: ApiTokens
  readonly factors: SecondFactors
  /** Whether factors are asked for (GATEWAY_SECOND_FACTOR). */
  readonly keepsFactors: boolean
  /** How many WebSockets of a session are open. */
  readonly socketsOf: (sessionId: string) => number
}

/** What the other actions need besides: they ask what only a running gateway knows. */
export interface LiveParts extends StateParts {
  readonly workspace: string
  readonly keys: KeyRing
  /** The records of recent requests. */
  readonly decisions: Decisions
  /** The user and password of the terminal, `user:password`; undefined when the state folder does not have them. */
  readonly terminalCredential: () => string | undefined
  /** The keeper of terminals, if there is one. */
  readonly terminals: Pick<TerminalKeeper, 'look' | 'list' | 'end'>
  /** The owner's door of the vault; undefined when GATEWAY_VAULT_SOCKETS is not set. */
  readonly vault: VaultOwner | undefined
  /** The owner's door of the link; undefined when GATEWAY_LINK_OWNER_SOCKET is not set. */
  readonly link: LinkOwner | undefined
  /** How the gateway and its services are doing. */
  readonly status: () => Promise<object>
}

/** What a request to an action says. */
export interface ActionInput {
  /** The segment of the path that matched `:id`; an empty string when the path has none. */
  readonly id: string
  /** The segment of the path that matched `:agent`; undefined when the path has none. */
  readonly agent?: string | undefined
  /** The parsed JSON of the request body; undefined without a body. */
  readonly body: unknown
  /** How many are listed at most: the sessions that were seen last, and the newest tokens that are not revoked. All when undefined. */
  readonly limit?: number
}

/** The result of an action. */
export interface ActionResult {
  /** What the caller gets, as JSON. */
  readonly answer: object
  /** What the action changed, for the log: ids of sessions and names of tokens. Undefined for an action that only reads. */
  readonly changed?: readonly string[]
  /** Whether the change is on the disk, where it may be delayed. */
  readonly isSaved?: boolean
}

/** One action: where it is, who may do it, and what it does. */
export type OwnerAction<Parts extends StateParts> = ActionPlace & (Plain<Parts> | Act<Parts>)

/** Where an action is, and who may do it. */
interface ActionPlace {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** The path at the admin socket, and below `/_gateway/v1` in the JSON API. */
  readonly path: `/${string}`
  /**
   * Who may: `self`, whoever is signed in, because it concerns what is their own; `owner`, an owner of the workspace; `machine`, only
   * the machine's owner, so that the JSON API does not have it.
   */
  readonly who: 'self' | 'owner' | 'machine'
}

/** An action that whoever may do it does at once. */
interface Plain<Parts> {
  readonly isAct: false
  /** @throws {GatewayError} whose `detail`, a fixed text, tells the caller what to change */
  readonly run: (
    parts: Parts,
    input: ActionInput,
    caller: Caller,
  ) => ActionResult | Promise<ActionResult>
}

/**
 * An owner's act: it wants a second factor, or, from a person without one, a sign-in that is not older than 10 minutes. A factor
 * is used up by being judged, so the request is judged before it.
 */
interface Act<Parts> {
  readonly isAct: true
  /**
   * Reads and judges the request, and changes nothing.
   * @returns does the act
   * @throws {GatewayError} whose `detail`, a fixed text, tells the caller what to change
   */
  readonly prepare: (
    parts: Parts,
    input: ActionInput,
    caller: Caller,
  ) => Prepared | Promise<Prepared>
}

/** Does an act that was judged. */
type Prepared = () => ActionResult | Promise<ActionResult>
