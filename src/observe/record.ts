/**
 * What is kept of a request that has ended? One record of plain values, a {@link Decision}. The log line has a part of its
 * fields (log-line.ts); `workspace-gateway explain` has all of them (recent.ts, explanation.ts).
 */
import type { IncomingMessage } from 'node:http'
import type { Client } from '../http/address.ts'
import { GatewayError, type ErrorCode } from '../answers/errors.ts'
import type { CredentialKind } from '../identity/credentials.ts'
import type { Exchange } from '../request/exchange.ts'
import type { Stage, TerminalArrival } from '../request/outcome.ts'
import { loggedPath } from './logged-path.ts'
import type { RouteName } from '../rules/site-map.ts'

/** The record of a finished request. It contains no secret of the client: no query, no header values, no token. */
export interface Decision {
  readonly id: string
  /** When the request arrived, in milliseconds since 1970. */
  readonly at: number
  readonly ms: number
  readonly upstreamMs: number | undefined
  readonly client: string | undefined
  /** The address of the TCP peer; undefined for a Unix socket. */
  readonly peer: string | undefined
  /** Whether the peer is a trusted proxy, so that the client's address comes from the proxy's headers. */
  readonly viaProxy: boolean
  /** The relay through which a paired device came; undefined for any other client. */
  readonly relay: string | undefined
  readonly scheme: 'http' | 'https' | undefined
  readonly host: string | undefined
  readonly method: string | undefined
  /** The path as it is logged: cut to a maximum length, without tokens. */
  readonly path: string | undefined
  readonly route: RouteName | undefined
  readonly stage: Stage
  readonly status: number
  readonly code: ErrorCode | undefined
  readonly reason: string | undefined
  readonly credential: CredentialKind | undefined
  /** Why the credential was refused; undefined for a valid one. */
  readonly credentialError: ErrorCode | undefined
  readonly credentialReason: string | undefined
  readonly user: string | undefined
  /** The name of the API token that the request carried, also in its address. */
  readonly token: string | undefined
  /** The `RateLimit` header of the response; undefined when the request was not counted. */
  readonly budget: string | undefined
  readonly websocket: boolean
  /** How a WebSocket got its terminal; undefined without a keeper of terminals. */
  readonly terminal: TerminalArrival | undefined
  /** Bytes of the response body, or bytes relayed to the client over a WebSocket. */
  readonly bytes: number
  /** Bytes relayed from the client over a WebSocket; undefined for any other request. */
  readonly bytesIn: number | undefined
  readonly trace: string | undefined
}

/** A finished request, as {@link decisionOf} reads it. */
export interface Finished {
  readonly id: string
  readonly raw: IncomingMessage
  readonly exchange: Exchange
  readonly client: Client
  readonly ms: number
  readonly trace: string | undefined
  readonly websocket: boolean
}

/** Makes the record of a finished request. It has values only, so that the request itself does not stay in memory. */
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
    relay: raw.socket.linkPeer?.device?.relay,
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
    token: exchange.apiToken?.name,
    budget: exchange.budgetFields[1],
    websocket,
    terminal: exchange.outcome.terminal,
    bytes: exchange.outcome.bytesOut,
    bytesIn: websocket ? exchange.outcome.bytesIn : undefined,
    trace,
  }
}

/** Makes the record of bytes that could not be parsed as a request. */
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
    relay: undefined,
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
    token: undefined,
    budget: undefined,
    websocket: false,
    terminal: undefined,
    bytes: 0,
    bytesIn: undefined,
    trace: undefined,
  }
}
