/** How does a program of an agent ask the vault? It sends requests to the agent's Unix socket: for a lease, for more time, to give it back. */
import { accessSync, constants, readdirSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { readAgentList } from './agent-list.ts'
import { askDoor } from '../services/ask-door.ts'
import { agentSocket, LEASES_PATH, type LeaseAnswer, type LeaseRequest } from './protocol.ts'

/** Time limit of a response, in milliseconds. */
const ANSWER_MS = 5000

/** Time limit for giving a lease back, in milliseconds: a program that ends is not held up for long. */
const REVOKE_MS = 2000

/** The largest response that is read, in bytes. */
const MAX_ANSWER_BYTES = 64 * 1024

/** The vault does not respond. The message names a remedy. */
export class VaultNotReachedError extends Error {
  constructor(socket: string, cause: unknown) {
    const code = codeOf(cause)
    const why = NOT_REACHED[code] ?? 'the vault did not answer'
    super(`${socket}: ${why}`, { cause })
    this.name = 'VaultNotReachedError'
  }
}

const OTHERS = "the door belongs to another agent's user; --socket names your own"
const NOT_REACHED: Readonly<Record<string, string>> = {
  ENOENT:
    'no vault runs with this socket; start "workspace-gateway vault", or name the door of your agent with --socket',
  ECONNREFUSED: 'the vault that made this socket has ended; start "workspace-gateway vault"',
  EACCES: OTHERS,
  EPERM: OTHERS,
  EINVAL: 'the path is too long for a socket',
}

/** The vault has refused. The message is its own, and names the rule and the remedy. */
export class VaultRefusedError extends Error {
  readonly status: number
  /** A code of src/vault/vault-errors.ts; empty when the answer has none. */
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.name = 'VaultRefusedError'
    this.status = status
    this.code = code
  }
}

/**
 * Asks for a lease.
 * @param socket the path of the agent's socket
 * @throws {VaultNotReachedError} when there is no response, or one that is not the vault's
 * @throws {VaultRefusedError}
 */
export async function askForLease(socket: string, asked: LeaseRequest): Promise<LeaseAnswer> {
  return leaseOf(socket, await ask(socket, 'POST', { body: asked }))
}

/** Asks for more time. The token stays the same. @throws as {@link askForLease} */
export async function renewLease(socket: string, token: string): Promise<LeaseAnswer> {
  const lease = leaseOf(socket, await ask(socket, 'POST', { token, body: { renew: true } }))
  if (lease.token !== token) throw notTheVault(socket)
  return lease
}

/** Gives a lease back, which ends the requests that use it. @throws as {@link askForLease} */
export async function revokeLease(socket: string, token: string): Promise<void> {
  await ask(socket, 'DELETE', { token, limitMs: REVOKE_MS })
}

interface Question {
  readonly token?: string
  readonly body?: object
  readonly limitMs?: number
}

/** Sends a request. @returns the body of a 2xx response */
async function ask(
  socketPath: string,
  method: 'POST' | 'DELETE',
  { token, body, limitMs = ANSWER_MS }: Question,
): Promise<string> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  const question = { method, path: LEASES_PATH, body, headers, limitMs, maxBytes: MAX_ANSWER_BYTES }
  const { status, bytes } = await askDoor(socketPath, question).catch((error: unknown) => {
    throw new VaultNotReachedError(socketPath, error)
  })
  const text = bytes.toString('utf8')
  if (status < 200 || status > 299) throw refusalOf(status, text)
  return text
}

function refusalOf(status: number, text: string): VaultRefusedError {
  const { code, detail } = objectOf(text)
  return new VaultRefusedError(
    status,
    typeof code === 'string' ? code : '',
    typeof detail === 'string' ? detail : `the vault answered ${status}`,
  )
}

/** Reads a lease. What does not fit would end in an environment or as an address, so it is refused. */
function leaseOf(socket: string, text: string): LeaseAnswer {
  const { token, base_url: base, origin, remote, expires_at: expires, env } = objectOf(text)
  const isLease =
    isToken(token) &&
    (base === null || isLoopback(base)) &&
    isText(origin) &&
    (remote === undefined || isText(remote)) &&
    isText(expires) &&
    !Number.isNaN(Date.parse(expires))
  if (!isLease) throw notTheVault(socket)
  const tools = { origin, ...(remote === undefined ? {} : { remote }) }
  return { token, base_url: base, ...tools, expires_at: expires, env: textsOf(env) }
}

function notTheVault(socket: string): VaultNotReachedError {
  return new VaultNotReachedError(socket, new Error('not an answer of the vault'))
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isToken(value: unknown): value is string {
  return isText(value) && /^[A-Za-z0-9_-]{1,200}$/.test(value)
}

function isLoopback(value: unknown): value is string {
  return isText(value) && /^http:\/\/127\.0\.0\.1:\d{1,5}\/s\/[a-z0-9-]+$/.test(value)
}

function textsOf(value: unknown): Record<string, string> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => isText(entry[1])))
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** What is known of the user that asks. */
export interface Asker {
  readonly uid: number | undefined
  readonly username: string
}

/**
 * Finds the socket of the agent that this process is: the one that the settings, or the vault's list, give to its user, else the only
 * one that it may open, else that of the agent with the user's name.
 * @param sockets the folder of the doors
 * @param agents the agents of the settings, if this process has them
 * @returns the path, or the names of several agents between which the user has to choose
 */
export function findAgentSocket(
  sockets: string,
  agents: ReadonlyArray<{ readonly name: string; readonly uid: number }>,
  { uid, username }: Asker,
): { path: string } | { several: readonly string[] } {
  const listed = readAgentList(sockets)
  const known = agents.length > 0 ? agents : listed
  const named = known.filter((agent) => agent.uid === uid).map(({ name }) => name)
  const all = new Set([...listed.map(({ name }) => name), ...namesIn(sockets)])
  const open = (named.length > 0 ? named : [...all]).filter((name) =>
    mayOpen(agentSocket(sockets, name)),
  )
  if (open.length > 1) return { several: open.toSorted() }
  return { path: agentSocket(sockets, open[0] ?? named[0] ?? username) }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}
