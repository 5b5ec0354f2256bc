/**
 * What is kept of a request that has ended? One record of plain values, a {@link Decision}: the log line has a part of its
 * fields (log-line.ts), `workspace-gateway explain` has all of them (recent.ts, explanation.ts).
 */
import type { IncomingMessage } from 'node:http'
import type { Client } from '../http/address.ts'
import { GatewayError, type ErrorCode } from '../answers/errors.ts'
import type { CredentialKind } from '../identity/credentials.ts'
import type { Exchange } from '../request/exchange.ts'
import type { Stage } from '../request/outcome.ts'
import { loggedPath } from './logged-path.ts'
import type { RouteName } from '../rules/site-map.ts'

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
  /** As the log has it: cut to a bound, without tokens. */
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
  /** Bytes of the answer's body, or relayed to the client over a WebSocket. */
  readonly bytes: number
  /** Bytes relayed from the client over a WebSocket; undefined for anything else. */
  readonly bytesIn: number | undefined
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
  const { target, credential, principal } = exchange
  const outcome = credential?.outcome
  const refusal = outcome instanceof GatewayError ? outcome : undefined
  return {
    id,
    at: Date.now() - ms,
    ms,
    upstreamMs: exchange.outcome.upstreamMs,
    client: client.address,
    peer: raw.socket.remoteAddress,
    viaProxy: client.viaProxy,
    scheme: exchange.scheme,
    host: exchange.authority?.host,
    method: raw.method,
    path: target === undefined ? undefined : loggedPath(target.decodedPath),
    route: target?.route,
    stage: exchange.outcome.stage,
    status: exchange.outcome.status,
    code: exchange.outcome.code,
    reason: exchange.outcome.reason,
    credential: credential?.kind,
    credentialError: refusal?.code,
    credentialReason: refusal?.reason,
    user: principal?.subject,
    budget: exchange.budgetFields[1],
    websocket,
    bytes: exchange.outcome.bytesOut,
    bytesIn: websocket ? exchange.outcome.bytesIn : undefined,
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
    bytes: 0,
    bytesIn: undefined,
    trace: undefined,
  }
}
