/** How is a refusal of the vault written? As a problem document (RFC 9457) with the same header fields, wherever it is refused. */
import { STATUS_CODES, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { vaultProblem, type VaultError } from './vault-errors.ts'

/** A connection is given up after this time when its reader does not take the last bytes (ms). */
const LINGER_MS = 5000

function fieldsOf(error: VaultError, body: string): string[] {
  return [
    ...['Content-Type', 'application/problem+json'],
    ...['Content-Length', String(Buffer.byteLength(body))],
    ...['Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff'],
    ...error.fields.flat(),
  ]
}

/** Sends a refusal as the answer, whose head must not have been sent. */
export function refuse(response: ServerResponse, error: VaultError): void {
  const body = vaultProblem(error)
  response.writeHead(error.status, fieldsOf(error, body)).end(body)
}

/** Refuses a handshake, or bytes that are no request, and ends the connection. */
export function refuseOnSocket(socket: Duplex, error: VaultError): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const body = vaultProblem(error)
  const message = STATUS_CODES[error.status] ?? ''
  socket.write(headText(error.status, message, [...fieldsOf(error, body), 'Connection', 'close']))
  endSoon(socket, body)
}

/** The bytes of a head. @param raw valid names and values */
export function headText(status: number, message: string, raw: readonly string[]): Buffer {
  const lines = [`HTTP/1.1 ${status} ${message}`]
  for (let i = 0; i < raw.length; i += 2) lines.push(`${raw[i]}: ${raw[i + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** Ends a connection, and destroys it when the rest was read, or not within some time. */
export function endSoon(socket: Duplex, rest: string | Buffer = ''): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
  socket.end(rest, () => socket.destroy())
}
