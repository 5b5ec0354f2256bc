/**
 * How fast can a proxy in Node be? This server passes each request to undici's dispatch and streams the response back. It checks
 * and logs nothing. A WebSocket is two sockets piped into each other.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { Pool } from 'undici'

const [, , port, upstreamPort] = process.argv
const pool = new Pool(`http://127.0.0.1:${upstreamPort}`, { connections: null })

function forward(request: IncomingMessage, response: ServerResponse): void {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  const hasBody = length !== undefined || coding !== undefined
  let resume: () => void = () => undefined
  response.on('drain', () => resume())
  pool.dispatch(
    {
      path: request.url ?? '/',
      method: request.method as 'GET',
      headers: withoutConnection(request.rawHeaders),
      body: hasBody ? request : null,
    },
    {
      onConnect() {},
      onHeaders(status, headers, resumeAnswer) {
        resume = resumeAnswer
        response.writeHead(
          status,
          headers.map((field) => field.toString('latin1')),
        )
        return true
      },
      onData: (chunk) => response.write(chunk),
      onComplete: () => response.end(),
      onError: () => response.destroy(),
    },
  )
}

/** Removes the connection's headers, which undici's dispatch refuses. */
function withoutConnection(rawHeaders: readonly string[]): string[] {
  const kept: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (!/^(?:connection|transfer-encoding|keep-alive)$/i.test(name))
      kept.push(name, rawHeaders[i + 1] ?? '')
  }
  return kept
}

function tunnel(request: IncomingMessage, client: Duplex, head: Buffer): void {
  const service = connect(Number(upstreamPort), '127.0.0.1')
  const lines = [`${request.method} ${request.url} HTTP/1.1`]
  for (let i = 0; i < request.rawHeaders.length; i += 2)
    lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`)
  service.write(`${lines.join('\r\n')}\r\n\r\n`)
  service.write(head)
  service.setNoDelay(true)
  client.on('error', () => service.destroy())
  client.on('close', () => service.destroy())
  service.on('error', () => client.destroy())
  service.on('close', () => client.destroy())
  client.pipe(service).pipe(client)
}

createServer(forward)
  .on('upgrade', tunnel)
  .listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 })
