/** How is the gateway tested with a vault that is slow, broken or hostile, and how is it counted how often it asks? At an owner's door that a test makes. */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Test } from 'tap'
import { ownerSocket } from '../../src/vault/protocol.ts'
import { temporaryFolder } from './process.ts'

/** A door that counts its connections. */
export interface CountedDoor {
  /** GATEWAY_VAULT_SOCKETS */
  readonly sockets: string
  /** How many connections it has accepted. */
  readonly dials: () => number
}

/** Opens an owner's door in a folder of its own. It is closed when the test ends. */
export async function startOwnerDoor(
  t: Test,
  onConnection: (socket: Socket) => void,
): Promise<CountedDoor> {
  const sockets = temporaryFolder(t)
  const path = ownerSocket(sockets)
  mkdirSync(dirname(path))
  const open = new Set<Socket>()
  let dials = 0
  const server = createServer((socket) => {
    dials += 1
    open.add(socket.on('error', () => socket.destroy()))
    onConnection(socket)
  })
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  return { sockets, dials: () => dials }
}

/** Opens a door through which a vault is reached. @param owner the socket of that vault's own door */
export function startDoorBefore(t: Test, owner: string): Promise<CountedDoor> {
  return startOwnerDoor(t, (socket) => {
    const vault = connect(owner)
    vault.on('error', () => socket.destroy())
    socket.on('close', () => vault.destroy())
    socket.pipe(vault).pipe(socket)
  })
}

/** Opens a door that answers each request with these bytes, and ends then. */
export function startScriptedDoor(
  t: Test,
  answerTo: (path: string) => string,
): Promise<CountedDoor> {
  return startOwnerDoor(t, (socket) => {
    socket.once('data', (bytes: Buffer) => {
      socket.end(answerTo(bytes.toString().split(' ')[1] ?? ''))
    })
  })
}

/** An HTTP answer with JSON. */
export function answerOf(json: unknown, status = '200 OK'): string {
  const body = JSON.stringify(json)
  return `HTTP/1.1 ${status}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}
