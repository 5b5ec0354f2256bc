/** Which service can the vault of `npm start` be tried with? This made-up one, which serves only requests with its credential. */
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { buildStandIn, listen, type Running } from './listener.ts'
import { sameAs } from './same-as.ts'

const EVENT_STREAM = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
const EVENTS = 5

/** Options of the service. */
export interface DemoServiceOptions {
  /** What a request must have in `Authorization: Bearer`. */
  readonly credential: string
  /** The port to listen on, unless another program has it. Default: any free one. */
  readonly port?: number | undefined
  /** Milliseconds between two events. Default 300. */
  readonly tickMs?: number
}

/** Starts the service: `/hello`, a short event stream at `/events`, and at `/echo` the headers that it got, its credential included. */
export async function startDemoService(options: DemoServiceOptions): Promise<Running> {
  const { port = 0 } = options
  try {
    return await listen(build(options), port)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    return await listen(build(options)) // a server that could not listen is of no further use
  }
}

function build({ credential, tickMs = 300 }: DemoServiceOptions) {
  const app = buildStandIn()
  const isRight = sameAs(`Bearer ${credential}`)
  app.addHook('onRequest', async function requireCredential(request, reply) {
    if (isRight(request.headers.authorization)) return
    await reply.code(401).send({ error: 'This request has no credential of mine, or a wrong one.' })
  })
  app.get('/hello', async () => ({ hello: 'from the made-up service', credential: 'right' }))
  app.get('/events', async (_request, reply) => {
    return await reply.headers(EVENT_STREAM).send(Readable.from(ticks(tickMs)))
  })
  app.get('/echo', async ({ headers }) => ({ headers }))
  return app
}

async function* ticks(tickMs: number): AsyncGenerator<string> {
  for (let count = 1; count <= EVENTS; count++) {
    yield `event: tick\ndata: {"count":${count},"of":${EVENTS}}\n\n`
    await delay(tickMs)
  }
}
