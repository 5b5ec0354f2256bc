/** Where do refusals wait, so that they do not delay who may pass? In one room, for the whole gateway. */
import fp from 'fastify-plugin'
import { WaitingRoom } from '../src/limits/waiting-room.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is done in the time that requests which may pass leave over. */
    readonly waitingRoom: WaitingRoom
  }
}

export default fp(
  async function waitingRoom(app) {
    const room = new WaitingRoom((error) => app.log.error({ err: error }, 'a refusal failed'))
    app.decorate('waitingRoom', room)
    app.addHook('onClose', async function serveTheRest() {
      room.empty()
    })
  },
  { name: 'waiting-room', fastify: '5.x' },
)
