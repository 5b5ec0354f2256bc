/** How fast is one large body transferred? Transfers it over its own connection. Takes a job as JSON, prints the seconds. */
import { connect } from 'node:net'

/** The transfer to do. */
export interface BodyJob {
  readonly port: number
  readonly direction: 'download' | 'upload'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly bytes: number
}

const CHUNK = Buffer.alloc(64 * 1024, 'x')

const { port, direction, path, headers, bytes } = JSON.parse(process.argv[2] ?? '{}') as BodyJob
const uploads = direction === 'upload'
const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
if (uploads) lines.push(`Content-Length: ${bytes}`, 'Content-Type: application/octet-stream')
const head = `${uploads ? 'POST' : 'GET'} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`

let answer = ''
let received = 0
const startedAt = performance.now()
// Read into one buffer, so that the client does not limit the rate.
const socket = connect({
  port,
  host: '127.0.0.1',
  onread: {
    buffer: Buffer.alloc(256 * 1024),
    callback(size, buffer) {
      if (received === 0) answer = Buffer.from(buffer.subarray(0, size)).toString('latin1')
      received += size
      const headerBytes = answer.indexOf('\r\n\r\n') + 4
      const isComplete = uploads ? answer.includes(String(bytes)) : received - headerBytes >= bytes
      if (isComplete) finish()
      return true
    },
  },
})
socket.on('error', (error) => {
  throw error
})
socket.on('close', () => {
  throw new Error(`cut after ${received} bytes: ${answer.slice(0, 200)}`)
})
socket.write(head)
if (uploads) send(bytes)

function send(left: number): void {
  let rest = left
  while (rest > 0) {
    const part = rest < CHUNK.length ? CHUNK.subarray(0, rest) : CHUNK
    rest -= part.length
    if (!socket.write(part) && rest > 0) {
      socket.once('drain', () => send(rest))
      return
    }
  }
}

function finish(): void {
  if (!answer.startsWith('HTTP/1.1 200')) throw new Error(answer.slice(0, 200))
  const seconds = (performance.now() - startedAt) / 1000
  process.stdout.write(JSON.stringify({ seconds }), () => process.exit())
}
