/** Where is it kept which Basic credentials the terminal accepted from which session? Here; and it is tidied up. */
import fp from 'fastify-plugin'
import { BasicMemory } from '../src/terminals/safari-password.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What the terminal accepted, for handshakes of the same session that cannot bring it. */
    readonly basicMemory: BasicMemory
  }
}

export default fp(
  async function basicMemory(app) {
    const memory = new BasicMemory()
    app.decorate('basicMemory', memory)
    app.watchdog.add(memory)
  },
  { name: 'safari-terminal', fastify: '5.x', dependencies: ['upstream'] },
)
