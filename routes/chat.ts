/** `/chat`: OpenClaw's control UI, when it is switched on. */
import type { FastifyInstance } from 'fastify'
import { mountService } from './proxied.ts'

export default async function chat(app: FastifyInstance): Promise<void> {
  await mountService(app, { service: 'chat', address: '/chat', servesControlUi: true })
}
