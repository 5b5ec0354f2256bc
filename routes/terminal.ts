/** `/terminal`: ttyd's page and its WebSocket. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { offeredProtocols } from '../src/sockets/dial.ts'
import { TERMINAL_WEBSOCKET_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { mountService, type ProxiedOptions } from './proxied.ts'

export default async function terminal(
  app: FastifyInstance,
  options: ProxiedOptions,
): Promise<void> {
  await mountService(app, {
    ...options,
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
  const reason =
    exchange.target?.path !== '/terminal/ws'
      ? 'not the terminal’s WebSocket'
      : offeredProtocols(raw).includes('tty')
        ? undefined
        : 'subprotocol is not tty'
  return reason === undefined
    ? undefined
    : new GatewayError('bad-request', { reason, detail: TERMINAL_WEBSOCKET_DETAIL })
}
