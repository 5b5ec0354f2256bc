/** Which bytes does the gateway send to a service? A wiretap between the two forwards and records them. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Started } from './neighbour.ts'

/** A wiretap in front of a service. */
export interface Wiretap extends Started {
  readonly url: string
  /** The bytes that were sent to the service since the last call, as latin1. */
  take(): string
}

/** Starts a wiretap on a free port for the service at a URL. */
export async function startWiretap(service: string): Promise<Wiretap> {
  const { hostname, port } = new URL(service)
  const sockets = new Set<Socket>()
  let heard = ''
  const server = createServer((client) => {
    const beyond = connect(Number(port), hostname)
    for (const socket of [client, beyond]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('data', (bytes) => (heard += bytes.toString('latin1')))
    client.pipe(beyond).pipe(client)
    client.on('error', () => beyond.destroy()).on('close', () => beyond.destroy())
    beyond.on('error', () => client.destroy()).on('close', () => client.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const said = heard
      heard = ''
      return said
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
