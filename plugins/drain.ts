/** Which response is the last one on its connection? Every one, once the gateway drains or has been replaced. */
import fp from 'fastify-plugin'
import { endConnectionAfter } from '../src/http/node-internals.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/** What the plugin needs besides the request. */
interface DrainOptions {
  readonly drain: DrainState
}

export default fp(
  async function endConnections(app, { drain }: DrainOptions) {
    app.addHook('onRequest', function endConnectionAfterAnswer(_request, reply, done) {
      // A kept-alive connection would carry the next request to a process that is about to end.
      if (drain.endsConnections) endConnectionAfter(reply.raw)
      done()
    })
  },
  { name: 'drain', fastify: '5.x' },
)
