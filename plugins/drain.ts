/** Is the gateway on its way out? Then nothing new begins, and what is open ends properly. */
import fp from 'fastify-plugin'
import { OpenSockets, RESTARTING } from '../src/sessions.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the gateway is stopping: probes hear 503, answers end their connection. */
    readonly isDraining: boolean
    /** Every upgraded connection. */
    readonly openSockets: OpenSockets
    /** Begins to stop: no new connection, WebSockets are told to come back (1012), idle connections end. */
    beginDrain(): void
  }
}

export default fp(
  async function drain(app) {
    const openSockets = new OpenSockets()
    let isDraining = false
    app.decorate('openSockets', openSockets)
    app.decorate('isDraining', { getter: () => isDraining })
    app.decorate('beginDrain', function beginDrain() {
      isDraining = true
      openSockets.close(RESTARTING)
    })
    app.addHook('onRequest', function endConnectionAfterAnswer(_request, reply, done) {
      // A kept-alive connection would bring the next request to a process that is about to end.
      if (isDraining) reply.raw.shouldKeepAlive = false
      done()
    })
  },
  { name: 'drain', fastify: '5.x' },
)
