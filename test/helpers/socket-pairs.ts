/** How does a test hold both ends of a WebSocket that passes through the gateway? The service's end is a plain socket. */
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { startBefore } from './gateway.ts'
import { startUpstream, switchingProtocols } from './upstream.ts'
import { eventually } from './waiting.ts'
import { upgrade } from './wire.ts'

/** The subprotocol of ttyd, without which the terminal's WebSocket is refused. */
export const TTY = 'Sec-WebSocket-Protocol: tty'

/** Starts a gateway before a service that accepts each WebSocket handshake and leaves the rest to the test. */
export async function startPairs(t: Test, overrides: Record<string, string | undefined> = {}) {
  const sockets: Socket[] = []
  const heard: Buffer[][] = []
  const service = await startUpstream(t, undefined, (request, socket, head) => {
    sockets.push(socket as Socket)
    const chunks = [head]
    heard.push(chunks)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.write(switchingProtocols(request))
  })
  const gateway = await startBefore(t, service, overrides)
  return {
    ...gateway,
    /** Opens the terminal's WebSocket or another one, and waits until the service has its end. A refused client has no service. */
    async connect(credential: string | readonly string[] = gateway.auth, path = '/terminal/ws') {
      const at = sockets.length
      const client = await upgrade(gateway.port, path, [credential, TTY].flat())
      if (client.answer.status === 101)
        await eventually(() => sockets.length === at + 1, 'switched')
      return {
        client,
        service: sockets[at] as Socket,
        /** The bytes that the service has received after the handshake. */
        heard: () => Buffer.concat(heard[at] ?? []),
        heardBytes: () => (heard[at] ?? []).reduce((sum, { length }) => sum + length, 0),
      }
    },
  }
}
