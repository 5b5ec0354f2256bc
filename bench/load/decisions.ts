/**
 * How many decisions does the limits service make a second, and how long does each take? Every connection sends its next request when
 * the answer has come. Takes a job as JSON, prints the result as JSON.
 */
import { Agent, request } from 'node:http'
import { percentile } from '../statistics.ts'

/** What is asked for. */
export interface DecisionsJob {
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly connections: number
  readonly seconds: number
  /** New users, who are all allowed; or one user, who is always refused. */
  readonly users: 'new' | 'one'
}

/** The result. Times are in milliseconds. */
export interface DecisionsResult {
  readonly count: number
  readonly rate: number
  readonly p50: number
  readonly p99: number
}

const { port, path, headers, connections, seconds, users } = JSON.parse(
  process.argv[2] ?? '{}',
) as DecisionsJob

/** Not the same in two runs: the service still knows those of an earlier one. */
const run = `${process.pid}-${Date.now()}`

const agent = new Agent({ keepAlive: true, maxSockets: connections })
const times: number[] = []
let sent = 0

/** Asks for one decision. @returns the status */
function decide(user: string): Promise<number | undefined> {
  const body = JSON.stringify({ user })
  return new Promise((resolve, reject) => {
    const lengths = { 'Content-Length': Buffer.byteLength(body), ...headers }
    request(
      { host: '127.0.0.1', port, path, method: 'POST', headers: lengths, agent },
      (answer) => {
        answer.resume()
        answer.once('end', () => resolve(answer.statusCode))
      },
    )
      .on('error', reject)
      .end(body)
  })
}

async function keepAsking(until: number, expected: number): Promise<void> {
  while (performance.now() < until) {
    const startedAt = performance.now()
    const status = await decide(users === 'new' ? `${run}-${sent++}` : run)
    times.push(performance.now() - startedAt)
    if (status !== expected) throw new Error(`answered ${status}, not ${expected}`)
  }
}

if (users === 'one') await decide(run) // takes all there is
const startedAt = performance.now()
const until = startedAt + seconds * 1000
const expected = users === 'new' ? 200 : 429
await Promise.all(Array.from({ length: connections }, () => keepAsking(until, expected)))
const result: DecisionsResult = {
  count: times.length,
  rate: times.length / ((performance.now() - startedAt) / 1000),
  p50: percentile(times, 0.5),
  p99: percentile(times, 0.99),
}
process.stdout.write(JSON.stringify(result), () => process.exit())
