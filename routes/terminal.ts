/** `/terminal`: ttyd's page and its WebSocket. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { offeredProtocols } from '../plugins/upgrade.ts'
import { GatewayError } from '../src/errors.ts'
import { mountService } from './proxied.ts'

export default async function terminal(app: FastifyInstance): Promise<void> {
  await mountService(app, {
    service: 'terminal',
    address: '/terminal',
    checkUpgrade: checkTerminalUpgrade,
  })
}

/**
 * Only `/terminal/ws` with the subprotocol `tty` reaches ttyd as an upgrade: ttyd compares its path the wrong way round,
 * so that `/terminal/w` opens too, and without a subprotocol it answers `101` before it has asked for a password.
 */
function checkTerminalUpgrade({ exchange, raw }: FastifyRequest): GatewayError | undefined {
  if (exchange.target?.path !== '/terminal/ws')
    return new GatewayError('bad-request', { reason: 'not the terminal’s WebSocket' })
  if (!offeredProtocols(raw).includes('tty'))
    return new GatewayError('bad-request', { reason: 'subprotocol is not tty' })
  return undefined
}
