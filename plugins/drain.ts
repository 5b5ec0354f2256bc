/** Is the gateway on its way out? Then what is open ends properly, and nothing new begins unless a successor has taken over. */
import fp from 'fastify-plugin'
import { endConnectionAfter } from '../src/http/node-internals.ts'
import { OpenSockets, RESTARTING } from '../src/sockets/open-sockets.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the gateway is stopping: probes hear 503, answers end their connection. */
    readonly isDraining: boolean
    /** Whether a successor listens on the same port: answers end their connection, but nobody is told to look elsewhere. */
    readonly isReplaced: boolean
    /** Every upgraded connection. */
    readonly openSockets: OpenSockets
    /** Begins to stop: WebSockets are told to come back (1012). @param replaced whether a successor takes what comes */
    beginDrain(replaced?: boolean): void
  }
}

export default fp(
  async function drain(app) {
    const openSockets = new OpenSockets()
    let isDraining = false
    let isReplaced = false
    app.decorate('openSockets', openSockets)
    app.decorate('isDraining', { getter: () => isDraining })
    app.decorate('isReplaced', { getter: () => isReplaced })
    app.decorate('beginDrain', function beginDrain(replaced = false) {
      if (replaced) isReplaced = true
      else isDraining = true
      openSockets.close(RESTARTING)
    })
    app.addHook('onRequest', function endConnectionAfterAnswer(_request, reply, done) {
      // A kept-alive connection would bring the next request to a process that is about to end.
      if (isDraining || isReplaced) endConnectionAfter(reply.raw)
      done()
    })
  },
  { name: 'drain', fastify: '5.x' },
)
