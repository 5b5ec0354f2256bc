/** How long does a keystroke's echo take? Each is sent after the last one returned. Takes a job as JSON, prints milliseconds. */
import { percentile } from '../statistics.ts'
import { openWebSocket, type SocketJob } from './handshake.ts'

/** The job. */
export interface EchoJob extends SocketJob {
  readonly seconds: number
}

/** A masked text frame of eight bytes with a mask of zeros (RFC 6455 section 5.2). */
const KEYSTROKES = Buffer.from([0x81, 0x88, 0, 0, 0, 0, ...Buffer.from('keypress')])

/** The echoed frame, which is not masked. */
const ECHO_BYTES = 10

const job = JSON.parse(process.argv[2] ?? '{}') as EchoJob
const socket = await openWebSocket(job)
const times: number[] = []
const endsAt = performance.now() + job.seconds * 1000
let sentAt = 0
let received = 0

function send(): void {
  received = 0
  sentAt = performance.now()
  socket.write(KEYSTROKES)
}

socket.on('data', (chunk) => {
  received += chunk.length
  if (received < ECHO_BYTES) return
  const now = performance.now()
  times.push(now - sentAt)
  if (now < endsAt) {
    send()
    return
  }
  const result = { p50: percentile(times, 0.5), p99: percentile(times, 0.99) }
  process.stdout.write(JSON.stringify(result), () => process.exit())
})
socket.on('close', () => {
  throw new Error(`closed after ${times.length} echoes`)
})
send()
