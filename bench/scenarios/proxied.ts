/** How many requests a second are proxied, and what does one cost? 32 connections send without a pause, each with a token. */
import { runWrk, type WrkJob } from '../load/wrk.ts'
import { cpuMicros } from '../proc.ts'
import type { Lab } from '../lab.ts'
import type { Peer, Target } from '../peers/peer.ts'
import { visitorHeaders } from '../workspace.ts'
import type { Scenario } from './scenario.ts'

/** The cost of a load for the peer's processes. */
export interface Cost {
  /** The rate in requests a second. */
  readonly rate: number
  /** The processor time per request of all the peer's processes, in microseconds. */
  readonly cpu: number
  /** The share of one core that they used, in percent. If it is well below 100, the peer did not limit the rate. */
  readonly busy: number
  /** The share of responses with a status of 400 and above, in percent. */
  readonly refused: number
}

/**
 * Runs a load and computes its cost.
 * @throws {Error} for unexpected responses, because then something else was measured
 */
export async function costOf(
  target: Target,
  job: Omit<WrkJob, 'target' | 'headers'> & Partial<Pick<WrkJob, 'headers'>>,
  expected: 'answered' | 'refused' | 'either' = 'answered',
): Promise<Cost> {
  const before = cpuMicros(target.processes)
  const result = await runWrk({ headers: visitorHeaders(), ...job, target })
  const spent = cpuMicros(target.processes) - before
  const { requests, refused, failed, seconds } = result
  const wrong = expected === 'answered' ? refused : requests - refused
  if (expected !== 'either' && wrong > requests / 1000)
    throw new Error(
      `port ${target.port}${target.path}: ${wrong} of ${requests} were not ${expected}`,
    )
  if (failed > requests / 1000)
    throw new Error(`port ${target.port}${target.path}: ${failed} connections failed`)
  return {
    rate: requests / seconds,
    cpu: spent / requests,
    busy: spent / (seconds * 1e4),
    refused: (refused / requests) * 100,
  }
}

/** Measures the processor time of a proxied request, in microseconds. */
export async function loadProxied(peer: Peer, _lab: Lab, seconds: number): Promise<number> {
  return (await costOf(peer, { seconds })).cpu
}

export const proxied: Scenario = {
  peers: ['nginx', 'nginx-auth', 'caddy', 'caddy-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: ['wrk'],
  load: loadProxied,
  async measure(peer, _lab, seconds) {
    const { rate, cpu, busy } = await costOf(peer, { seconds })
    return { rate, cpu, busy }
  },
}
