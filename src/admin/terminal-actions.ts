/** What do people see of their terminals, and how do they end one? The keeper of terminals holds them (src/terminals). */
import { printable } from '../answers/printable.ts'
import { headerSafe } from '../http/to-service.ts'
import { isoTime } from '../identity/iso-time.ts'
import { SERVICES } from '../rules/services.ts'
import type { TerminalSide } from '../terminals/ask-keeper.ts'
import { TAB_ID, TAB_PARAMETER, type TerminalEntry } from '../terminals/protocol.ts'
import type { ActionResult, LiveParts } from './action.ts'
import { mayActAsOwner, type Caller } from './caller.ts'
import { ownerRefusal } from './members.ts'

/** A terminal as its owner sees it. Times are ISO 8601; null for what does not apply. */
export interface TerminalView {
  readonly id: string
  /** `attached`: a page is connected. `parked`: it waits for one. `exited`: so does its last screen, since its shell has ended. */
  readonly state: TerminalEntry['state']
  readonly sub: string | null
  /** The id of the session that opened it; null for a terminal that ends with its connection. */
  readonly session: string | null
  /** Whether that is the caller's own session. */
  readonly current: boolean
  /** The window title, with characters escaped that control a terminal. */
  readonly title: string
  readonly columns: number
  readonly rows: number
  readonly startedAt: string | null
  /** Since when it has been in this state. */
  readonly since: string | null
  /** When it ends if nobody comes back; null while a page is connected. */
  readonly waitsUntil: string | null
  /** The path at which the caller gets this shell; null for a terminal of another session, which nobody else gets. */
  readonly address: string | null
}

/** Whether there is a keeper: a program that understands this gateway, one that does not, or none. */
export type KeeperKind = 'running' | 'other-version' | 'none'

/** The answer to a question for terminals. */
export interface TerminalsAnswer {
  /** Without a keeper that this gateway understands there are no terminals to see: each ends with its connection. */
  readonly keeper: KeeperKind
  readonly terminals: readonly TerminalView[]
}

/** The caller's terminals, or everybody's for an owner, the one that changed last first. @throws {GatewayError} */
export async function listTerminals(parts: LiveParts, caller: Caller): Promise<TerminalsAnswer> {
  const terminals = await seenBy(parts, caller)
  const { kind } = await parts.terminals.look()
  return {
    keeper: kind === 'keeper' ? 'running' : kind === 'other-version' ? kind : 'none',
    terminals: terminals
      .toSorted((a, b) => b.since - a.since)
      .map((terminal) => viewOf(terminal, caller)),
  }
}

/** Ends a terminal and its shell. @throws {GatewayError} `not-found`, also for a terminal that the caller may not see */
export async function endTerminal(
  parts: LiveParts,
  id: string,
  caller: Caller,
): Promise<ActionResult> {
  const isTheirs = (await seenBy(parts, caller)).some((terminal) => terminal.id === id)
  if (!isTheirs || !(await parts.terminals.end(id)))
    throw ownerRefusal('not-found', 'no such terminal')
  return { answer: { ended: 1 }, changed: [id] }
}

/** Prepares to show the user and password with which a browser opens the terminal. Each look is in the log. @throws {GatewayError} `bad-request` */
export function showTerminalPassword({ terminalCredential }: LiveParts): () => ActionResult {
  const credential = terminalCredential()
  if (credential === undefined) throw ownerRefusal('bad-request', 'no password here')
  const [, user = '', password = ''] = /^([^:]+):([^]*)$/.exec(credential) ?? []
  return () => ({ answer: { user, password }, changed: ['terminal password shown'] })
}

/** What the status says of the keeper. */
export function terminalStatus(side: TerminalSide): object {
  if (side.kind === 'keeper') {
    const { protocol, version, startedAt, attached, parked } = side.ready
    const since = { startedAt: isoTime(startedAt) }
    return { keeper: 'running', protocol, version, ...since, attached, parked }
  }
  if (side.kind === 'other-version')
    return { keeper: side.kind, protocol: side.protocol, version: side.version }
  return { keeper: side.kind === 'away' ? side.kind : 'none' }
}

/** The terminals that a caller may see: those of the same person, or everybody's for an owner. */
async function seenBy(
  { owners, terminals }: LiveParts,
  caller: Caller,
): Promise<readonly TerminalEntry[]> {
  const all = await terminals.list()
  if (mayActAsOwner(caller, owners)) return all
  const sub = headerSafe(caller.principal?.subject ?? '')
  return all.filter((terminal) => terminal.sub === sub)
}

function viewOf(terminal: TerminalEntry, { principal }: Caller): TerminalView {
  const { id, state, sub, sid, tab, title, columns, rows, startedAt, since } = terminal
  const isOwn = sid !== undefined && sid === principal?.session.id
  return {
    ...{ id, state },
    sub: sub === undefined ? null : decodeURIComponent(sub),
    session: sid ?? null,
    current: isOwn,
    title: printable(title),
    ...{ columns, rows },
    startedAt: isoTime(startedAt),
    since: isoTime(since),
    waitsUntil: isoTime(terminal.parkedUntil),
    address: isOwn && tab !== undefined && TAB_ID.test(tab) ? addressOf(tab) : null,
  }
}

function addressOf(tab: string): string {
  return `${SERVICES.terminal.path}/?${TAB_PARAMETER}=${tab}`
}
