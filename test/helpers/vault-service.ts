/** Which services does a vault's test need? One that answers with the bytes that it is given, and one with a certificate. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createHttps } from 'node:https'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A service, and what it was sent. */
export interface ByteService {
  readonly origin: string
  readonly port: number
  /** The number of connections. */
  readonly dials: () => number
  /** The bytes of all requests. */
  readonly received: () => string
}

/**
 * Starts a service that answers each request head with bytes, through TCP.
 * @param respond gets the head and the socket; what it returns is sent, and then the connection is ended
 */
export async function startByteService(
  t: Test,
  respond: (head: string, socket: Socket) => string | Buffer | undefined,
  host = '127.0.0.1',
  wanted = 0,
): Promise<ByteService> {
  let dials = 0
  let received = ''
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    dials++
    sockets.add(socket)
    let pending = ''
    let isAnswered = false
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      pending += chunk.toString('latin1')
      if (isAnswered || !pending.includes('\r\n\r\n')) return
      isAnswered = true
      const bytes = respond(pending, socket)
      if (bytes !== undefined)
        socket.end(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    })
  })
  server.listen(wanted, host)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { origin: `http://${host}:${port}`, port, dials: () => dials, received: () => received }
}

/** The text of an answer with a length. */
export function answerText(
  body: string | Buffer,
  fields: readonly string[] = [],
  status = '200 OK',
): string {
  const bytes = Buffer.from(body)
  const lines = [
    `HTTP/1.1 ${status}`,
    `Content-Length: ${bytes.length}`,
    'Connection: close',
    ...fields,
  ]
  return `${lines.join('\r\n')}\r\n\r\n${bytes.toString('latin1')}`
}

/** The header's value that a service was sent; every line of it, divided by a newline. */
export function sentField(head: string, name: string): string {
  return head
    .split('\r\n')
    .filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))
    .map((line) => line.slice(name.length + 1).trim())
    .join('\n')
}

const certificate = (name: string) =>
  readFileSync(new URL(`../vault/certificates/${name}`, import.meta.url), 'utf8')

/** The file of the tests' CA. */
export const TEST_CA_FILE = new URL('../vault/certificates/ca.pem', import.meta.url).pathname

/** The CA of the tests' certificates. */
export const TEST_CA = certificate('ca.pem')

/** Starts an https service that answers with its path. Its name is `service.test`. */
export async function startHttpsService(
  t: Test,
  name: 'valid' | 'expired' | 'other-name' | 'self-signed',
  options: { readonly maxVersion?: 'TLSv1.1' } = {},
) {
  const paths: string[] = []
  const names: unknown[] = []
  const server = createHttps(
    {
      cert: certificate(`${name}.pem`),
      key: certificate('service.key'),
      minVersion: 'TLSv1',
      ciphers: 'DEFAULT@SECLEVEL=0',
      ...options,
    },
    (request, response) => {
      paths.push(request.url ?? '')
      response.end(request.url)
    },
  )
  server.on('secureConnection', (socket) => names.push(socket.servername))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const dropConnections = () => server.closeAllConnections()
  return { origin: `https://service.test:${port}`, port, paths, names, dropConnections }
}
