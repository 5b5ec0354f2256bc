/** wrk, which asks as fast as it is answered: how many requests, and were they answered as expected? */
import { findProgram, runToEnd } from '../child.ts'
import type { Target } from '../peers/peer.ts'

export const WRK = findProgram('wrk')

/** What wrk is to do. */
export interface WrkJob {
  readonly target: Pick<Target, 'port' | 'path'>
  readonly seconds: number
  /** Default 32. */
  readonly connections?: number
  readonly headers: Readonly<Record<string, string>>
  /** A file of requests to take turns with; see requests.lua. */
  readonly requests?: string
}

/** What wrk saw. */
export interface WrkResult {
  readonly requests: number
  readonly seconds: number
  /** Answers with a status of 400 and above. */
  readonly refused: number
  /** Connections that failed. */
  readonly failed: number
}

/** Reads what wrk prints. @throws {Error} when it is not wrk's */
export function parseWrk(text: string): WrkResult {
  const total = /^\s*(\d+) requests in ([\d.]+)(us|ms|s|m),/m.exec(text)
  if (total === null) throw new Error(`not the output of wrk: ${text}`)
  const unit = { us: 1e-6, ms: 1e-3, s: 1, m: 60 }[total[3] ?? ''] ?? 1
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text)
  return {
    requests: Number(total[1]),
    seconds: Number(total[2]) * unit,
    refused: Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0),
    failed: (errors ?? []).slice(1).reduce((sum, count) => sum + Number(count), 0),
  }
}

/** Runs wrk: one thread, connections kept alive. */
export async function runWrk({
  target,
  seconds,
  connections = 32,
  headers,
  requests,
}: WrkJob): Promise<WrkResult> {
  const script = new URL('requests.lua', import.meta.url).pathname
  const command = [
    WRK ?? 'wrk',
    '--threads=1',
    `--connections=${connections}`,
    `--duration=${seconds}s`,
    '--timeout=10s',
    ...(requests === undefined ? [] : [`--script=${script}`]),
    ...Object.entries(headers).map(([name, value]) => `--header=${name}: ${value}`),
    `http://127.0.0.1:${target.port}${target.path}`,
    ...(requests === undefined ? [] : ['--', requests]),
  ]
  return parseWrk(await runToEnd(command, 'load'))
}
