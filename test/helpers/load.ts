/** Requests without a pause, each of which must be answered: nothing is sent twice. */
import { Agent, request, type RequestOptions } from 'node:http'

/** What became of the requests. */
export interface Tally {
  answered: number
  /** What went wrong, by status or error code, and how often. */
  failures: Record<string, number>
  /** The longest time until an answer was complete, in milliseconds. */
  slowestMs: number
}

/** What is asked, and by how many clients at once. */
export interface LoadOptions {
  readonly options: RequestOptions
  /** Clients that open a connection for each request. */
  readonly fresh: number
  /** Clients that send every request on the one connection they have, as long as it is there. */
  readonly kept: number
}

/** Starts asking. @returns a function that ends it, and tells */
export function startLoad({ options, fresh, kept }: LoadOptions): () => Promise<Tally> {
  const tally: Tally = { answered: 0, failures: {}, slowestMs: 0 }
  const over = new AbortController()
  const client = async (agent: Agent | false): Promise<void> => {
    while (!over.signal.aborted) {
      const begun = performance.now()
      const outcome = await ask({ ...options, agent })
      tally.slowestMs = Math.max(tally.slowestMs, performance.now() - begun)
      if (outcome === '200') tally.answered++
      else tally.failures[outcome] = (tally.failures[outcome] ?? 0) + 1
    }
    if (agent !== false) agent.destroy()
  }
  const clients = [
    ...Array.from({ length: fresh }, () => client(false)),
    ...Array.from({ length: kept }, () => client(new Agent({ keepAlive: true, maxSockets: 1 }))),
  ]
  return async () => {
    over.abort()
    await Promise.all(clients)
    return tally
  }
}

/** Asks once. @returns the status, or what went wrong */
function ask(options: RequestOptions): Promise<string> {
  return new Promise((resolve) => {
    const outgoing = request(options, (answer) => {
      answer.resume()
      answer.on('error', ({ message }) => resolve(message))
      answer.on('end', () => resolve(answer.complete ? String(answer.statusCode) : 'cut'))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    outgoing.end()
  })
}
