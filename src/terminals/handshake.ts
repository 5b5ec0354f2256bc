/** What does the keeper of terminals tell the gateway in its response to a handshake? Three fields, which no client gets. */
import type { IncomingMessage } from 'node:http'
import { fieldLines, type RawHeaders } from '../http/fields.ts'
import { ARRIVALS, KEPT_HEADER, REFUSAL_HEADER, TERMINAL_HEADER, type Arrival } from './protocol.ts'

/** How a handshake got its terminal; undefined when the keeper does not say. */
export function arrivalIn(headers: RawHeaders): Arrival | undefined {
  const said = fieldLines(headers, TERMINAL_HEADER.toLowerCase())[0]
  return ARRIVALS.find((arrival) => arrival === said)
}

/** Whether the terminal waits for its page when the connection is lost. */
export function isKeptIn(headers: RawHeaders): boolean {
  return fieldLines(headers, KEPT_HEADER.toLowerCase()).length > 0
}

/** Whether the keeper, and not ttyd, refused a handshake: it has no room for another terminal. */
export function isRefusedByKeeper({ headers }: IncomingMessage): boolean {
  return headers[REFUSAL_HEADER.toLowerCase()] === 'too-many-terminals'
}
