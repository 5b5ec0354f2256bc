/** How many requests a second does a peer handle? wrk sends each request as soon as the response before has arrived. */
import { findProgram, runToEnd } from '../child.ts'
import type { Target } from '../peers/peer.ts'
import { parseWrk, type WrkResult } from './wrk-output.ts'

const WRK = findProgram('wrk')

/** The options of a run of wrk. */
export interface WrkJob {
  readonly target: Pick<Target, 'port' | 'path'>
  readonly seconds: number
  /** The number of connections. Default 32. */
  readonly connections?: number
  readonly headers: Readonly<Record<string, string>>
  /** A file of requests through which wrk cycles; see requests.lua. */
  readonly requests?: string
}

/** Runs wrk with one thread and keep-alive connections. */
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
