/**
 * How long do responses take at a fixed rate? The clock decides when a request is due, not the response before. A request that
 * is due while every connection is busy is timed from its due time, so that a stall is measured in full for every request
 * that it affects (no coordinated omission).
 *
 * Takes a job as JSON, prints the result as JSON.
 */
import { connect, type Socket } from 'node:net'
import { percentile } from '../statistics.ts'

/** The request to send, and how often. */
export interface PacerJob {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** Requests a second. */
  readonly rate: number
  readonly seconds: number
  readonly connections: number
}

/** The result. Times are in milliseconds. */
export interface PacerResult {
  readonly requests: number
  /** Responses other than 200, and missing ones. */
  readonly wrong: number
  readonly p50: number
  readonly p99: number
  readonly worst: number
}

/** A keep-alive connection that waits for at most one response. */
interface Line {
  readonly socket: Socket
  dueAt: number
  /** The part of the response that was received, until its header section is complete. */
  header: string
  /** The remaining bytes of the body; undefined while the header section is incomplete. */
  left: number | undefined
}

const job = JSON.parse(process.argv[2] ?? '{}') as PacerJob
const request = Buffer.from(
  `GET ${job.path} HTTP/1.1\r\n${Object.entries(job.headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n`,
)
const total = job.rate * job.seconds
const idle: Line[] = []
const waiting: number[] = []
const latencies: number[] = []
let sent = 0
let wrong = 0

function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true })
    const line: Line = { socket, dueAt: 0, header: '', left: undefined }
    socket.once('connect', () => {
      idle.push(line)
      resolve()
    })
    socket.once('error', reject)
    socket.on('data', (chunk: Buffer) => take(line, chunk))
    socket.on('close', () => {
      if (latencies.length < total) reject(new Error('a connection was closed'))
    })
  })
}

/** Reads a response, which must have a `Content-Length`. */
function take(line: Line, chunk: Buffer): void {
  let bodyBytes = chunk.length
  if (line.left === undefined) {
    line.header += chunk.toString('latin1')
    const end = line.header.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = /^content-length: *(\d+)\r$/im.exec(line.header)?.[1]
    if (length === undefined) throw new Error(`an answer of unknown length: ${line.header}`)
    if (!line.header.startsWith('HTTP/1.1 200')) wrong++
    line.left = Number(length)
    bodyBytes = line.header.length - end - 4
  }
  line.left -= bodyBytes
  if (line.left > 0) return
  latencies.push(performance.now() - line.dueAt)
  line.header = ''
  line.left = undefined
  const due = waiting.shift()
  if (due === undefined) idle.push(line)
  else ask(line, due)
}

function ask(line: Line, dueAt: number): void {
  line.dueAt = dueAt
  line.socket.write(request)
}

/** Sends the due requests. A late timer delays the request, not the response, so the due time is the time of sending. */
function sendDue(startedAt: number): void {
  const now = performance.now()
  while (sent < total && startedAt + (sent * 1000) / job.rate <= now) {
    sent++
    const line = idle.shift()
    if (line === undefined) waiting.push(now)
    else ask(line, now)
  }
}

await Promise.all(Array.from({ length: job.connections }, open))
const startedAt = performance.now()
const timer = setInterval(() => sendDue(startedAt), 1)
/** How long to wait for late responses, in milliseconds. */
const PATIENCE_MS = 10_000
const deadline = startedAt + job.seconds * 1000 + PATIENCE_MS
const watch = setInterval(() => {
  if (latencies.length < total && performance.now() < deadline) return
  clearInterval(timer)
  clearInterval(watch)
  const result: PacerResult = {
    requests: total,
    wrong: wrong + total - latencies.length,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    worst: percentile(latencies, 1),
  }
  process.stdout.write(JSON.stringify(result), () => process.exit())
}, 10)
