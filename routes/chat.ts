/** `/chat`: OpenClaw's control UI, when it is switched on. */
import type { FastifyInstance } from 'fastify'
import { mountService, type ProxiedOptions } from './proxied.ts'

export default async function chat(app: FastifyInstance, options: ProxiedOptions): Promise<void> {
  await mountService(app, { ...options, service: 'chat', address: '/chat', servesControlUi: true })
}
