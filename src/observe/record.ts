/** What is kept of a request when it has ended? One record: the log has a part of it, `workspace-gateway explain` all. */
import type { IncomingMessage } from 'node:http'
import type { Client } from '../http/address.ts'
import { GatewayError, type ErrorCode } from '../answers/errors.ts'
import type { CredentialKind } from '../identity/credentials.ts'
import type { Exchange } from '../request/exchange.ts'
import type { Stage } from '../request/outcome.ts'
import { loggedPath } from './logged-path.ts'
import type { RouteName } from '../rules/site-map.ts'

/** How much is remembered, in bytes: some 4,000 requests. */
const MEMORY_BYTES = 2 * 1024 * 1024

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

/**
 * The fields of a log line, as JSON text that begins with a comma: path without query values, no header values. By hand,
 * since a proxy that is busy spends more on a general JSON writer than on most of its decisions.
 */
export function logFields(decision: Decision): string {
  const { id, client, host, method, path, route, stage, status, code, reason, user } = decision
  const { websocket, bytes, bytesIn, ms, upstreamMs, trace } = decision
  return (
    `,"id":"${id}"` +
    textField('client', client) +
    textField('host', host) +
    textField('method', method) +
    textField('path', path) +
    textField('route', route) +
    `,"stage":"${stage}","status":${status}` +
    textField('code', code) +
    textField('reason', reason) +
    textField('user', user) +
    (websocket ? ',"websocket":true' : '') +
    `,"bytes":${bytes}` +
    numberField('bytesIn', bytesIn) +
    `,"ms":${hundredths(ms)}` +
    numberField('upstreamMs', upstreamMs === undefined ? undefined : hundredths(upstreamMs)) +
    textField('trace', trace)
  )
}

/** What a record has besides the fields of the log line. */
function rememberedFields(decision: Decision): string {
  const { at, peer, viaProxy, scheme, credential, credentialError, credentialReason } = decision
  return (
    `,"at":${Math.round(at)},"viaProxy":${viaProxy}` +
    textField('peer', peer) +
    textField('scheme', scheme) +
    textField('credential', credential) +
    textField('credentialError', credentialError) +
    textField('credentialReason', credentialReason) +
    textField('budget', decision.budget)
  )
}

// Text that is its own JSON form: printable ASCII without quotes and backslashes.
const PLAIN = /^[ !#-[\]-~]*$/

function textField(name: keyof Decision, text: string | undefined): string {
  if (text === undefined) return ''
  return PLAIN.test(text) ? `,"${name}":"${text}"` : `,"${name}":${JSON.stringify(text)}`
}

function numberField(name: keyof Decision, value: number | undefined): string {
  return value === undefined ? '' : `,"${name}":${value}`
}

function hundredths(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}

const LINE_END = 0x0a

/**
 * The last few thousand decisions, as JSON text in a ring of bytes: a new one is written over the oldest. Objects that live
 * for some thousand requests are what a garbage collector is worst at: they took it 15 µs a request.
 */
export class Decisions {
  readonly #ring: Buffer
  #end = 0

  /** @param bytes how much is remembered */
  constructor(bytes = MEMORY_BYTES) {
    this.#ring = Buffer.alloc(bytes)
  }

  /** @param fields of its log line, when they have been written already */
  add(decision: Decision, fields = logFields(decision)): void {
    this.#write(fields + rememberedFields(decision))
  }

  /** The decision about a request; undefined when it is unknown, too old, or not finished. */
  find(id: string): Decision | undefined {
    // Quotes inside of texts are escaped, so this is where a record begins and nothing else.
    const start = this.#ring.indexOf(`,"id":${JSON.stringify(id)}`)
    if (start < 0) return undefined
    const end = this.#ring.indexOf(LINE_END, start)
    const text = this.#ring.toString('utf8', start + 1, end)
    return { websocket: false, ...JSON.parse(`{${text}}`) } as Decision
  }

  #write(record: string): void {
    const line = `${record}\n`
    // A character takes three bytes at most; what is left of the oldest records there has lost its beginning.
    if (this.#end + 3 * line.length > this.#ring.length) {
      this.#ring.fill(0, this.#end)
      this.#end = 0
    }
    this.#end += this.#ring.write(line, this.#end)
  }
}
