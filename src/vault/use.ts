/** What does the forwarding part need to know of a request? A use: who, which entry, which target. It was allowed already. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Entry } from './policy.ts'

/** A request of an agent that the leases have allowed. */
export interface Use {
  readonly agent: string
  readonly entry: Entry
  /** The lease: the first 8 characters of its hash for the audit log, and a signal that fires when it is revoked. */
  readonly lease: { readonly shortHash: string; readonly revoked: AbortSignal }
  /** The path below the entry's origin, canonical (src/rules/target.ts) and as it is sent. */
  readonly path: string
  /** With its `?`, or an empty string. */
  readonly query: string
}

/** Forwards requests to services with the credential in its slot, and scrubs the answers. */
export interface Forwarding {
  /** Answers the request in every case. Resolves when the answer is over. Never rejects. */
  forward(use: Use, request: IncomingMessage, response: ServerResponse): Promise<void>
  /** The same for an upgrade. */
  upgrade(use: Use, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>
  /**
   * Waits until every use has written its last row, and closes idle connections to services. Revoke all leases first, because a use
   * may run for hours.
   */
  close(): Promise<void>
}
