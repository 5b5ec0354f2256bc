/** Does a server respond? One request tells; or requests are repeated until one gets a 200. */
import { request } from 'node:http'
import { pause } from './child.ts'
import type { Target } from './peers/peer.ts'
import { visitorHeaders } from './workspace.ts'

/** How long a process may take until its first 200, in milliseconds. */
const PATIENCE_MS = 15_000

/** Sends one request. @returns the status, or undefined when there is no response */
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
 * Sends requests every few milliseconds until one gets a 200.
 * @param startedAt the start of the process, from `performance.now()`
 * @param says the status that a peer answers with, if it is another one
 * @returns the milliseconds from the start to that response
 * @throws {Error} when no 200 comes in time
 */
export async function untilReady(
  target: Pick<Target, 'port' | 'path'>,
  startedAt: number = performance.now(),
  says = 200,
): Promise<number> {
  const deadline = startedAt + PATIENCE_MS
  let status: number | undefined
  while (performance.now() < deadline) {
    status = await statusOf(target)
    if (status === says) return performance.now() - startedAt
    await pause(2)
  }
  throw new Error(`port ${target.port} ${target.path} answers ${status ?? 'nothing'}, not ${says}`)
}
