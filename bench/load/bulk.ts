/** How fast does an endless WebSocket stream pass? Reads it for a while. Takes a job as JSON, prints the megabytes a second. */
import { openWebSocket, type SocketJob } from './handshake.ts'

/** The job. */
export interface BulkJob extends SocketJob {
  readonly seconds: number
}

const job = JSON.parse(process.argv[2] ?? '{}') as BulkJob
const socket = await openWebSocket(job)
const startedAt = performance.now()
let bytes = 0
socket.on('data', (chunk) => (bytes += chunk.length))
socket.on('close', () => {
  throw new Error(`closed after ${bytes} bytes`)
})
setTimeout(() => {
  const seconds = (performance.now() - startedAt) / 1000
  process.stdout.write(JSON.stringify({ rate: bytes / 1e6 / seconds }), () => process.exit())
}, job.seconds * 1000)
