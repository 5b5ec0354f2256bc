/** wrk, which asks as fast as it is answered: how many requests, and were they answered as expected? */
import { findProgram, runToEnd } from '../child.ts'
import type { Target } from '../peers/peer.ts'
import { parseWrk, type WrkResult } from './wrk-output.ts'

const WRK = findProgram('wrk')

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
