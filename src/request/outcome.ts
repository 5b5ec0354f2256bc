/** How did a request end, and who answered it? One record per request, which the log and the metrics read at the end. */
import type { ErrorCode, GatewayError } from '../answers/errors.ts'

/** Where a request can be answered: the stages of the request path in order, then what the gateway itself serves. */
export const STAGES = [
  'listener',
  'target',
  'client-address',
  'host',
  'sensitive-files',
  'credential',
  'rate-limit',
  'authentication',
  'upstream',
  'health',
  'sign-in',
  'renew',
  'sign-out',
  'second-factor',
  'asset',
  'probe',
  'owner',
] as const

export type Stage = (typeof STAGES)[number]

/** `new`: a new shell. `back`: the shell that waited. `taken-over`: the shell that another connection had until now. */
export type TerminalArrival = 'new' | 'back' | 'taken-over'

/** The response to one request, so far. */
export class Outcome {
  /** The stage at work. When the request ends, this is the stage that answered. */
  stage: Stage = 'listener'
  /** The error code when the gateway itself answered. */
  code: ErrorCode | undefined
  /** Why, for the log. */
  reason: string | undefined
  /** The underlying error, for the log. */
  cause: unknown
  /** The response status; 0 until one was chosen. */
  status = 0
  /** Bytes of the response body, or bytes relayed to the client over a WebSocket. */
  bytesOut = 0
  /** Bytes relayed from the client over a WebSocket. */
  bytesIn = 0
  /** When the request was handed to its service, on the monotonic clock in milliseconds. */
  dialledAt: number | undefined
  /** Milliseconds until the service began its response. */
  upstreamMs: number | undefined
  /** How a WebSocket got its terminal, when a keeper of terminals gave it one. */
  terminal: TerminalArrival | undefined
  /** Called once, when the response has ended or the client's connection has closed, before the request is logged. */
  onClientClose: (() => void) | undefined

  /** Notes why the gateway itself answered. */
  noteError({ code, reason, cause }: Pick<GatewayError, 'code' | 'reason' | 'cause'>): void {
    this.code = code
    this.reason = reason
    this.cause = cause
  }
}
