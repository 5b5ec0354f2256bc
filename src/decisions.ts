/** Why was a recent request answered as it was? A bounded memory of decisions, put into words only when somebody asks. */
import type { IncomingMessage } from 'node:http'
import type { Client } from './address.ts'
import { GatewayError, type ErrorCode } from './errors.ts'
import { STAGES, type CredentialKind, type Exchange, type Stage } from './exchange.ts'
import type { RouteName } from './routes.ts'

/** How many finished requests are remembered; a new one takes the place of the oldest. */
const REMEMBERED = 4096

/** The longest path that is kept, in characters: 16 KiB of each request would be 64 MiB. */
const MAX_PATH_LENGTH = 512

/** One finished request. Nothing that a client keeps secret: no query, no field values, no token. */
export interface Decision {
  readonly id: string
  /** When the request arrived, in milliseconds since 1970. */
  readonly at: number
  readonly ms: number
  readonly upstreamMs: number | undefined
  readonly client: string | undefined
  /** The TCP peer; undefined for a Unix socket. */
  readonly peer: string | undefined
  /** Whether the peer is a trusted proxy, whose word about the client was taken. */
  readonly viaProxy: boolean
  readonly scheme: 'http' | 'https' | undefined
  readonly host: string | undefined
  readonly method: string | undefined
  readonly path: string | undefined
  readonly route: RouteName | undefined
  readonly stage: Stage
  readonly status: number
  readonly code: ErrorCode | undefined
  readonly reason: string | undefined
  readonly credential: CredentialKind | undefined
  /** Why the credential was refused; undefined for a good one. */
  readonly credentialError: ErrorCode | undefined
  readonly credentialReason: string | undefined
  readonly user: string | undefined
  /** The `RateLimit` field of the answer; undefined when the request was not counted. */
  readonly budget: string | undefined
  readonly websocket: boolean
  readonly trace: string | undefined
}

/** What a finished request leaves behind. */
export interface Finished {
  readonly id: string
  readonly raw: IncomingMessage
  readonly exchange: Exchange
  readonly client: Client
  readonly ms: number
  readonly trace: string | undefined
  readonly websocket: boolean
}

/** The record of a finished request: values only, so that nothing of the request itself stays in memory. */
export function decisionOf({
  id,
  raw,
  exchange,
  client,
  ms,
  trace,
  websocket,
}: Finished): Decision {
  const { target, credential, principal, loggedPath: path } = exchange
  const outcome = credential?.outcome
  const refusal = outcome instanceof GatewayError ? outcome : undefined
  return {
    id,
    at: Date.now() - ms,
    ms,
    upstreamMs: exchange.upstreamMs,
    client: client.address,
    peer: raw.socket.remoteAddress,
    viaProxy: client.viaProxy,
    scheme: exchange.scheme,
    host: exchange.authority?.host,
    method: raw.method,
    path: path === undefined ? undefined : ownText(path, target?.query !== ''),
    route: target?.route,
    stage: exchange.stage,
    status: exchange.status,
    code: exchange.code,
    reason: exchange.reason,
    credential: credential?.kind,
    credentialError: refusal?.code,
    credentialReason: refusal?.reason,
    user: principal?.subject,
    budget: exchange.budgetFields[1],
    websocket,
    trace,
  }
}

/** The record of bytes that never became a request. */
export function rejectionOf(
  id: string,
  client: string | undefined,
  status: number,
  code: ErrorCode,
  reason: string,
): Decision {
  return {
    id,
    at: Date.now(),
    ms: 0,
    upstreamMs: undefined,
    client,
    peer: client,
    viaProxy: false,
    scheme: undefined,
    host: undefined,
    method: undefined,
    path: undefined,
    route: undefined,
    stage: 'listener',
    status,
    code,
    reason,
    credential: undefined,
    credentialError: undefined,
    credentialReason: undefined,
    user: undefined,
    budget: undefined,
    websocket: false,
    trace: undefined,
  }
}

/** A path that is not too long and, as a part of a longer text would, does not keep the query in memory. */
function ownText(path: string, isPart: boolean): string {
  const short = path.length > MAX_PATH_LENGTH ? `${path.slice(0, MAX_PATH_LENGTH)}…` : path
  // V8 makes a slice a view of the whole text; a slice of a fresh concatenation is a view of that alone.
  return isPart || short !== path ? ` ${short}`.slice(1) : short
}

/** The last few thousand decisions. Adding one is a write into an array; only asking costs a search. */
export class Decisions {
  readonly #ring: Array<Decision | undefined>
  #next = 0

  constructor(capacity = REMEMBERED) {
    this.#ring = Array.from({ length: capacity }, () => undefined)
  }

  get capacity(): number {
    return this.#ring.length
  }

  add(decision: Decision): void {
    this.#ring[this.#next] = decision
    this.#next = this.#next + 1 === this.#ring.length ? 0 : this.#next + 1
  }

  /** The decision about a request; undefined when it is unknown, too old, or not finished. */
  find(id: string): Decision | undefined {
    return this.#ring.find((decision) => decision?.id === id)
  }
}

/** What came of one stage. */
export interface Step {
  readonly stage: Stage
  readonly result: 'passed' | 'answered' | 'refused' | 'failed' | 'not reached'
  readonly detail: string
}

/** A decision in words, for the operator alone. */
export interface Explanation {
  readonly id: string
  readonly time: string
  readonly ms: number
  readonly upstreamMs: number | undefined
  readonly client: string | undefined
  readonly peer: string | undefined
  readonly scheme: string | undefined
  readonly host: string | undefined
  readonly method: string | undefined
  readonly path: string | undefined
  readonly route: string | undefined
  readonly websocket: boolean
  readonly user: string | undefined
  readonly trace: string | undefined
  /** 0 when the client left before there was an answer. */
  readonly status: number
  readonly code: string | undefined
  readonly reason: string | undefined
  readonly chain: readonly Step[]
}

const UPSTREAM = STAGES.indexOf('upstream')

/** Puts a decision into words, stage by stage. */
export function explainDecision(decision: Decision): Explanation {
  const { id, at, ms, upstreamMs, client, peer, scheme, host, method, path } = decision
  const { route, websocket, user, trace, stage, status, code, reason } = decision
  const answeredAt = STAGES.indexOf(stage)
  // Behind authentication stands the service, or what the gateway itself serves in its place.
  const stages = STAGES.filter((_, i) => i < UPSTREAM || i === Math.max(answeredAt, UPSTREAM))
  const end = Math.min(answeredAt, UPSTREAM)
  const chain = stages.map((name, i): Step => {
    if (i < end) return { stage: name, result: 'passed', detail: FINDINGS[name]?.(decision) ?? '' }
    if (i > end) return { stage: name, result: 'not reached', detail: '' }
    return { stage: name, result: endOf(decision), detail: answerOf(decision) }
  })
  return {
    id,
    time: new Date(at).toISOString(),
    ms: hundredths(ms),
    upstreamMs: upstreamMs === undefined ? undefined : hundredths(upstreamMs),
    client,
    peer,
    scheme,
    host,
    method,
    path,
    route,
    websocket,
    user,
    trace,
    status,
    code,
    reason,
    chain,
  }
}

/** What a stage found before it let the request pass. */
const FINDINGS: Partial<Record<Stage, (decision: Decision) => string>> = {
  listener: ({ method, websocket }) => `${method}${websocket ? ', to become a WebSocket' : ''}`,
  target: ({ path, route }) => `${path} belongs to ${route}`,
  'client-address': clientFinding,
  host: ({ host }) => host ?? 'any host is served here',
  'sensitive-files': () => 'names none',
  credential: credentialFinding,
  'rate-limit': ({ budget }) => (budget === undefined ? 'not counted' : budgetFinding(budget)),
  authentication: ({ user }) => (user === undefined ? 'open to everybody' : `signed in as ${user}`),
}

function clientFinding({ client, peer, viaProxy }: Decision): string {
  if (!viaProxy) return `${client}, the TCP peer, which is no trusted proxy`
  if (peer === undefined) return `${client}, by way of a Unix socket, whose peers are trusted`
  const proxy = peer.replace(/^::ffff:(?=[0-9.]+$)/i, '')
  return proxy === client
    ? `${client}, a trusted proxy that named nobody else`
    : `${client}, told by the trusted proxy ${proxy}`
}

function credentialFinding({ credential, credentialError, credentialReason }: Decision): string {
  if (credential === undefined) return 'none of ours'
  const kind = { header: 'X-Workspace-Token', bearer: 'Authorization', cookie: 'session cookie' }[
    credential
  ]
  if (credentialError === undefined) return `${kind}, good`
  return `${kind}, ${credentialError}${credentialReason === undefined ? '' : ` (${credentialReason})`}`
}

/** `"address";r=9;t=60` in words. */
function budgetFinding(field: string): string {
  const [, name = '', left = '', seconds = ''] = /^"(\w+)";r=(\d+);t=(\d+)$/.exec(field) ?? []
  return `${name} budget, ${left} left for ${seconds} s`
}

function endOf({ status, code }: Decision): Step['result'] {
  if (status === 0) return 'failed'
  if (code === undefined || status < 400) return 'answered'
  return status >= 500 ? 'failed' : 'refused'
}

/** How the stage that answered did it. */
function answerOf(decision: Decision): string {
  const { status, code, reason, stage, route } = decision
  const answer = [
    status === 0 ? 'no answer' : status,
    code ?? (stage === 'upstream' && status > 0 ? `from ${route}` : ''),
  ]
  const budget = stage === 'rate-limit' && decision.budget !== undefined ? decision.budget : ''
  return [answer.join(' ').trim(), reason, budget === '' ? '' : budgetFinding(budget)]
    .filter((part) => part !== undefined && part !== '')
    .join('; ')
}

function hundredths(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
