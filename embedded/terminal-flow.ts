/** When a shell has to wait: its output stands still while the browser does not keep up. */
import type { IPty } from '@lydell/node-pty'
import type { WebSocket } from 'ws'

/** The first character of a message that carries output. */
const OUTPUT = Buffer.from('0')
/** A shell waits when this much is on its way to the browser, and goes on when a quarter of it is left. */
const HIGH_WATER_BYTES = 512 * 1024
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 4

/** The output of one shell on its way to one browser. */
export interface Flow {
  /** Sends what the shell wrote. */
  send(data: Buffer): void
  /** The browser asks the shell to wait, or to go on. */
  pausedByBrowser(paused: boolean): void
}

/** Back-pressure: the shell's output stands still while the browser asks for it or does not read. */
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
