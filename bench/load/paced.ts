/** How is the pacer started? As a process of its own, so that the benchmark does not delay it. */
import { runScript } from '../child.ts'
import type { Target } from '../peers/peer.ts'
import { visitorHeaders } from '../workspace.ts'
import type { PacerJob, PacerResult } from './pacer.ts'

/** The fixed, modest rate, in requests a second. */
export const SMALL_RATE = 200

/** Sends requests at the modest rate. @throws {Error} when a response was not 200 */
export async function askSteadily(
  { port, path }: Pick<Target, 'port' | 'path'>,
  seconds: number,
  headers: Readonly<Record<string, string>> = visitorHeaders(),
): Promise<PacerResult> {
  const job: PacerJob = { port, path, headers, rate: SMALL_RATE, seconds, connections: 16 }
  const result = await runScript<PacerResult>(new URL('pacer.ts', import.meta.url), job)
  if (result.wrong > 0)
    throw new Error(`port ${port} ${path}: ${result.wrong} of ${result.requests} were not 200`)
  return result
}
