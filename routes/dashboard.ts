/** Everything that is nobody else's: the Next.js dashboard. */
import type { FastifyInstance } from 'fastify'
import { mountService } from './proxied.ts'

export default async function dashboard(app: FastifyInstance): Promise<void> {
  await mountService(app, { service: 'dashboard', address: '' })
}
