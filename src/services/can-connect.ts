/** Does anybody listen there? A connection is made and ended at once; nothing is sent. */
import { connect } from 'node:net'
import type { Listener } from '../config/values.ts'

/** How long another process may take to show that it listens on a Unix socket, in milliseconds. */
export const ALIVE_MS = 500

/** Tries to connect. Never rejects. @param timeoutMs how long to try, in milliseconds */
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
