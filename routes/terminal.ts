/** Which WebSocket handshakes reach ttyd? Only the one that ttyd's own page makes, because ttyd takes too many others. */
import type { FastifyRequest } from 'fastify'
import { offeredProtocols } from '../src/sockets/dial.ts'
import { TERMINAL_WEBSOCKET_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'

/**
 * Refuses every handshake but that for `/terminal/ws` with the subprotocol `tty`. ttyd compares the path of a handshake the
 * wrong way round, so that `/terminal/w` opens a shell too, and ttyd answers a handshake without a subprotocol with `101`
 * before it has asked for a password.
 * @param path of the service, such as `/terminal`
 */
export function ttydUpgradeProblem(
  path: string,
  { exchange, raw }: FastifyRequest,
): GatewayError | undefined {
  const reason =
    exchange.target?.path !== `${path}/ws`
      ? 'not the terminal’s WebSocket'
      : offeredProtocols(raw).includes('tty')
        ? undefined
        : 'subprotocol is not tty'
  return reason === undefined
    ? undefined
    : new GatewayError('bad-request', { reason, detail: TERMINAL_WEBSOCKET_DETAIL })
}
