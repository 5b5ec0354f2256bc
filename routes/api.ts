/** `/api`: OpenClaw's HTTP endpoints, event streams and WebSocket, with the prefix taken off unless it is to be kept. */
import type { FastifyInstance } from 'fastify'
import { mountService } from './proxied.ts'

export default async function api(app: FastifyInstance): Promise<void> {
  await mountService(app, { service: 'api', address: '/api' })
}
