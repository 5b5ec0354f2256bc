/** `/api`: OpenClaw's HTTP endpoints, event streams and WebSocket, with the prefix taken off unless it is to be kept. */
import type { FastifyInstance } from 'fastify'
import { mountService, type ProxiedOptions } from './proxied.ts'

/** How the prefix is treated. */
export interface ApiOptions extends ProxiedOptions {
  /** Whether `/api` is kept: then it is where an operator has put the control UI, and all that goes with it. */
  readonly keepsPrefix: boolean
}

export default async function api(
  app: FastifyInstance,
  { keepsPrefix, ...options }: ApiOptions,
): Promise<void> {
  await mountService(app, {
    ...options,
    service: 'api',
    address: '/api',
    servesControlUi: keepsPrefix,
  })
}
