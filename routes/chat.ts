/** `/chat`: OpenClaw's control UI, when it is switched on. */
import type { FastifyInstance } from 'fastify'
import { GatewayError } from '../src/errors.ts'
import { namesForeignGateway } from '../src/isolation.ts'
import { mountService } from './proxied.ts'

export default async function chat(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', function refuseForeignGateway({ exchange }, _reply, done) {
    const isForeign = namesForeignGateway(exchange.target?.query ?? '')
    done(
      isForeign ? new GatewayError('bad-request', { reason: 'names another gateway' }) : undefined,
    )
  })

  await mountService(app, { service: 'chat', address: '/chat' })
}
