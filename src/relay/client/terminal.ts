/** How does a device open the workspace's terminal? As ttyd's own page does: it fetches a token, and speaks ttyd's protocol. */
import {
  FROM_CLIENT,
  FROM_TTYD,
  NOT_AUTHENTICATED,
  TAB_PARAMETER,
  TTYD_PROTOCOL,
} from '../../http/ttyd-protocol.ts'
import { concat, utf8, type Bytes } from '../protocol/bytes.ts'
import type { RemoteConnection } from './connection.ts'
import { fieldsOf, RefusedError, refusalOf } from './device-session.ts'
import type { Fields } from './http-head.ts'
import type { RemoteAnswer } from './http.ts'
import { RemoteError } from './remote-error.ts'
import { HandshakeRefused, type RemoteSocket } from './web-socket.ts'

/** What is needed for a terminal. */
export interface TerminalOptions {
  readonly columns: number
  readonly rows: number
  /** ttyd's user and password, where it asks for them. */
  readonly password?: { readonly user: string; readonly password: string } | undefined
  /** A tab's id, by which the keeper of terminals gives the same shell again: 16 to 64 letters, digits, `-` and `_`. */
  readonly tab?: string | undefined
  /** Output of the shell. No more is read before the promise has resolved, which holds the shell up. */
  readonly onOutput: (bytes: Bytes) => void | Promise<void>
  /** The title of the window. Strangers' text. */
  readonly onTitle?: ((title: string) => void) | undefined
  /** Called once, when the shell has ended (1000), or was lost. */
  readonly onClose: (end: TerminalEnd) => void
}

/** How a terminal ended. */
export interface TerminalEnd {
  readonly code: number
  readonly reason: string
  /** Whether the shell itself has ended. */
  readonly isOver: boolean
}

/** An open terminal. */
export interface RemoteTerminal {
  /** What was typed. */
  input(typed: Uint8Array | string): void
  resize(columns: number, rows: number): void
  /** Closes the connection. A shell that is kept goes on; any other ends. */
  close(): void
}

/** Why there is no terminal, and what would help. */
export type TerminalWant =
  /** A second factor: `showFactor` of the connection, then again. */
  | 'factor'
  /** ttyd's user and password, or others. */
  | 'password'

/** The error of a terminal that wants something more. */
export class TerminalWantsError extends RefusedError {
  readonly want: TerminalWant

  constructor(want: TerminalWant, { status, code, message }: RefusedError) {
    super(status, code, message)
    this.want = want
  }
}

/** The path of the terminal. */
const TERMINAL = '/terminal'

/** A message of ttyd is a piece of output. The keeper of terminals sends a whole screen at once. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

/** The close code of a shell that has ended. */
const NORMAL = 1000

/**
 * Opens a terminal.
 * @throws {TerminalWantsError} for a second factor or a password
 * @throws {RemoteError} as the connection's `fetch`
 */
export async function openTerminal(
  remote: RemoteConnection,
  options: TerminalOptions,
): Promise<RemoteTerminal> {
  const { columns, rows, password, tab } = options
  const headers = password === undefined ? {} : basicHeader(password)
  const token = await terminalToken(remote, headers)
  const query = tab === undefined ? '' : `?${TAB_PARAMETER}=${tab}`
  const socket = await handshake(remote, `${TERMINAL}/ws${query}`, headers, options)
  void socket.send(utf8(JSON.stringify({ AuthToken: token, columns, rows })))
  return terminalOn(socket)
}

function basicHeader({ user, password }: { user: string; password: string }): Fields {
  const bytes = utf8(`${user}:${password}`)
  return { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` }
}

async function terminalToken(remote: RemoteConnection, headers: Fields): Promise<string> {
  const answer = await remote.fetch({
    path: `${TERMINAL}/token`,
    headers: { ...headers, Accept: 'application/json' },
  })
  if (answer.status !== 200) throw await wantOf(answer)
  const { token } = fieldsOf(await answer.text())
  if (typeof token !== 'string') throw new RemoteError('bad-answer', 'the terminal gave no token')
  return token
}

/** What a refusal asks for. */
async function wantOf(answer: RemoteAnswer): Promise<RefusedError> {
  const challenge = answer.headers.get('WWW-Authenticate') ?? ''
  const refusal = await refusalOf(answer)
  if (refusal.code === 'step-up-required') return new TerminalWantsError('factor', refusal)
  if (answer.status === 401 && /^basic /i.test(challenge))
    return new TerminalWantsError('password', refusal)
  return refusal
}

async function handshake(
  remote: RemoteConnection,
  path: string,
  headers: Fields,
  options: TerminalOptions,
): Promise<RemoteSocket> {
  const request = { path, headers, protocols: [TTYD_PROTOCOL], maxMessageBytes: MAX_MESSAGE_BYTES }
  try {
    return await remote.openWebSocket(request, {
      onMessage: (message) => take(message, options),
      onClose(code, reason) {
        const isOver = code === NORMAL || code === NOT_AUTHENTICATED
        options.onClose({ code, reason, isOver })
      },
    })
  } catch (error) {
    if (!(error instanceof HandshakeRefused)) throw error
    const code = error.headers.get('X-Gateway-Error') ?? ''
    const refusal = new RefusedError(error.status, code, error.message)
    throw code === 'step-up-required' ? new TerminalWantsError('factor', refusal) : refusal
  }
}

async function take(message: Bytes | string, options: TerminalOptions): Promise<void> {
  const bytes = typeof message === 'string' ? utf8(message) : message
  const rest = bytes.subarray(1)
  if (bytes[0] === FROM_TTYD.output) await options.onOutput(rest)
  else if (bytes[0] === FROM_TTYD.title) options.onTitle?.(new TextDecoder().decode(rest))
}

function terminalOn(socket: RemoteSocket): RemoteTerminal {
  return {
    input(typed) {
      const bytes = typeof typed === 'string' ? utf8(typed) : typed
      void socket.send(concat(Uint8Array.of(FROM_CLIENT.input), bytes))
    },
    resize(columns, rows) {
      const size = utf8(JSON.stringify({ columns, rows }))
      void socket.send(concat(Uint8Array.of(FROM_CLIENT.resize), size))
    },
    close: () => socket.close(),
  }
}
