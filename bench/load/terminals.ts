/**
 * What does a person at a terminal get? This file opens terminals as ttyd's page does, types, and reads. Takes a job as JSON.
 * `echo`: prints how long a keystroke's echo takes, in milliseconds. `bulk`: prints how fast the output of `seq` arrives, in MB/s.
 */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { percentile } from '../statistics.ts'
import { visitorHeaders } from '../workspace.ts'

/** The job of this file when it runs as a process. */
export interface TerminalJob {
  readonly port: number
  readonly what: 'echo' | 'bulk'
  readonly seconds: number
}

/** Opens a terminal of a visitor. */
export async function openTerminal(
  port: number,
  tab: string,
  headers: Record<string, string> = visitorHeaders(),
): Promise<WebSocket> {
  const url = `ws://127.0.0.1:${port}/terminal/ws?tab=${tab}`
  const socket = new WebSocket(url, 'tty', { headers, perMessageDeflate: false })
  await once(socket, 'open')
  socket.send(JSON.stringify({ AuthToken: '', columns: 80, rows: 24 }))
  await once(socket, 'message')
  return socket
}

async function echo(socket: WebSocket, seconds: number): Promise<number> {
  socket.send('0stty -icanon; exec cat > /dev/null\r')
  await new Promise((resolve) => {
    setTimeout(resolve, 500)
  })
  const times: number[] = []
  const endsAt = performance.now() + seconds * 1000
  while (performance.now() < endsAt) {
    const sentAt = performance.now()
    socket.send('0k')
    await once(socket, 'message')
    times.push(performance.now() - sentAt)
  }
  return percentile(times, 0.5)
}

async function bulk(socket: WebSocket, seconds: number): Promise<number> {
  let bytes = 0
  socket.on('message', (data: Buffer) => (bytes += data.length))
  socket.send('0seq 1000000000 2000000000\r')
  const startedAt = performance.now()
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000)
  })
  return bytes / 1e6 / ((performance.now() - startedAt) / 1000)
}

/** Ends the shell. A terminal that were left alone would be kept, with its program running. */
async function end(socket: WebSocket): Promise<void> {
  socket.send('0\x03')
  socket.send('0exit\r')
  await once(socket, 'close')
}

if (process.argv[1] === import.meta.filename) {
  const { port, what, seconds } = JSON.parse(process.argv[2] ?? '{}') as TerminalJob
  const tab = `bench-${process.pid}-${Date.now()}`
  const socket = await openTerminal(port, tab)
  const value = await (what === 'echo' ? echo : bulk)(socket, seconds)
  await end(socket)
  process.stdout.write(JSON.stringify({ value }), () => process.exit())
}
