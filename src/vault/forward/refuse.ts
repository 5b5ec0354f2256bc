/** How does the forwarding part refuse, and how does it break an answer off that has begun? */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { resetConnection } from '../../http/reset.ts'
import { vaultProblem, type VaultError } from '../vault-errors.ts'

function refusalFields(error: VaultError, body: string): string[] {
  return [
    ...['Content-Type', 'application/problem+json'],
    ...['Content-Length', String(Buffer.byteLength(body))],
    ...['Cache-Control', 'no-store', ...error.fields.flat()],
  ]
}

/** Sends a refusal as the answer. */
export function refuse(response: ServerResponse, error: VaultError): void {
  const body = vaultProblem(error)
  response.writeHead(error.status, refusalFields(error, body)).end(body)
}

/** Sends a refusal of an upgrade, and closes the connection. */
export function refuseUpgrade(socket: Duplex, error: VaultError): void {
  const body = vaultProblem(error)
  const raw = refusalFields(error, body)
  socket.write(headText(error.status, 'Refused', [...raw, 'Connection', 'close']))
  endSoon(socket, body)
}

/** The bytes of a head. @param raw valid names and values */
export function headText(status: number, message: string, raw: readonly string[]): Buffer {
  const lines = [`HTTP/1.1 ${status} ${message}`]
  for (let i = 0; i < raw.length; i += 2) lines.push(`${raw[i]}: ${raw[i + 1]}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** A closed connection is given up after this time when its reader does not read, in milliseconds. */
const LINGER_MS = 5000

/** Ends a connection, and destroys it when the rest was read, or not within some time. */
export function endSoon(socket: Duplex, rest: string | Buffer = ''): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
  socket.end(rest, () => socket.destroy())
}

/**
 * Breaks an answer off, so that the agent sees that it is not whole. HTTP/1.0 has no other end than that of the connection, so the
 * connection is reset. (A Unix socket cannot be reset.)
 */
export function breakOff(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = response
  if (request.httpVersion === '1.0' && socket !== null) resetConnection(socket)
  response.destroy()
}
