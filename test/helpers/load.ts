/** Does every request of a constant load get a response? Requests are sent without a pause, and none is retried. */
import { Agent, request, type RequestOptions } from 'node:http'

/** The result of the load. */
export interface Tally {
  answered: number
  /** The number of failures by status or error code. */
  failures: Record<string, number>
  /** The longest time to a complete response, in milliseconds. */
  slowestMs: number
}

/** The request, and the numbers of concurrent clients. */
export interface LoadOptions {
  readonly options: RequestOptions
  /** The number of clients that open a connection for each request. */
  readonly fresh: number
  /** The number of clients that send all requests on one connection for as long as it is open. */
  readonly kept: number
}

/** Starts the load. @returns a function that stops it and returns the result */
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

/** Sends one request. @returns the status, or the error code */
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
