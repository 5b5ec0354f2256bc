/** When must a shell wait? While the browser does not read its output fast enough. */
import type { IPty } from '@lydell/node-pty'
import type { WebSocket } from 'ws'

/** The first character of a message with output. */
const OUTPUT = Buffer.from('0')
/** A shell is paused when this many bytes are buffered for the browser, and resumed when a quarter of them is left. */
const HIGH_WATER_BYTES = 512 * 1024
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 4

/** The flow control between one shell and one browser. */
export interface Flow {
  /** Sends output of the shell. */
  send(data: Buffer): void
  /** Pauses or resumes the shell, as the browser asked. */
  pausedByBrowser(paused: boolean): void
}

/** Builds the flow control: the shell is paused while the browser asks for a pause or does not read. */
export function flowOf(
  socket: Pick<WebSocket, 'send' | 'bufferedAmount'>,
  terminal: Pick<IPty, 'pause' | 'resume'>,
): Flow {
  let asked = false
  let full = false
  const update = () => {
    if (asked || full) terminal.pause()
    else terminal.resume()
  }
  return {
    send(data) {
      socket.send(Buffer.concat([OUTPUT, data]), () => {
        if (!full || socket.bufferedAmount > LOW_WATER_BYTES) return
        full = false
        update()
      })
      if (full || socket.bufferedAmount < HIGH_WATER_BYTES) return
      full = true
      update()
    },
    pausedByBrowser(paused) {
      asked = paused
      update()
    },
  }
}
