/** Does it answer? Asks one question, or asks until the answer is right. */
import { request } from 'node:http'
import { pause } from './child.ts'
import type { Target } from './peers/peer.ts'
import { visitorHeaders } from './workspace.ts'

/** How long a process may take until it answers, in milliseconds. */
const PATIENCE_MS = 15_000

/** Asks once. @returns the status, or undefined when there is no answer */
export function statusOf(
  { port, path }: Pick<Target, 'port' | 'path'>,
  headers: Readonly<Record<string, string>> = visitorHeaders(),
): Promise<number | undefined> {
  return new Promise((resolve) => {
    request({ host: '127.0.0.1', port, path, headers, agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
      .on('error', () => resolve(undefined))
      .end()
  })
}

/**
 * Asks every few milliseconds until the answer is 200.
 * @param startedAt when the process was started, as `performance.now()` said
 * @returns the milliseconds from then to the answer
 * @throws {Error} when it does not become 200
 */
export async function untilReady(
  target: Pick<Target, 'port' | 'path'>,
  startedAt: number = performance.now(),
): Promise<number> {
  const deadline = startedAt + PATIENCE_MS
  let status: number | undefined
  while (performance.now() < deadline) {
    status = await statusOf(target)
    if (status === 200) return performance.now() - startedAt
    await pause(2)
  }
  throw new Error(`port ${target.port} ${target.path} answers ${status ?? 'nothing'}, not 200`)
}
