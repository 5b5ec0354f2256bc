/** Does a process listen at an address? A connection is opened and closed at once; nothing is sent. */
import { connect } from 'node:net'
import type { Listener } from '../config/values.ts'

/** How long a process may take to accept a connection to its Unix socket before the socket is stale, in milliseconds. */
export const ALIVE_MS = 500

/** Whether a connection is accepted. Never rejects. @param timeoutMs how long to try, in milliseconds */
export function canConnect(listener: Listener, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect(listener)
  const end = (isThere: boolean) => () => {
    socket.destroy()
    resolve(isThere)
  }
  socket.setTimeout(timeoutMs, end(false))
  socket.once('connect', end(true))
  socket.once('close', end(false))
  socket.on('error', end(false))
  return promise
}
