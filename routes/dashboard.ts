/** Everything that is nobody else's: the Next.js dashboard. */
import type { FastifyInstance } from 'fastify'
import { mountService, type ProxiedOptions } from './proxied.ts'

export default async function dashboard(
  app: FastifyInstance,
  options: ProxiedOptions,
): Promise<void> {
  await mountService(app, { ...options, service: 'dashboard', address: '' })
}
