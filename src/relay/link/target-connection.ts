/** How is the target reached? By a connection of its own for each stream. Our gateway is told first, in one line, whose it is. */
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { LinkConfig } from '../../config/link-settings.ts'
import { listenerOf } from '../../config/values.ts'
import { writeLinkLine } from '../../http/link-line.ts'
import { connectionToService } from '../target/service-connection.ts'

/** How long the target may take to accept, in milliseconds. */
const CONNECT_MS = 10_000

/** Which device a connection is for. */
interface TargetDevice {
  readonly id: string
  readonly sub: string
  readonly name: string
}

/** Opens a connection to the target for a stream of a device. Failures are for the event `close`. */
export type ConnectTarget = (device: TargetDevice) => Duplex

/**
 * What opens connections to the target that is configured.
 * @throws {ConfigError} when the lists for another service than the gateway cannot be read
 */
export function connectionToTarget(config: LinkConfig): ConnectTarget {
  if (!config.isGateway) return connectionToService(config)
  const { relayUrl } = config
  return ({ id, sub, name }) => {
    const socket = dialTarget(config)
    socket.write(writeLinkLine({ kind: 'device', device: id, relay: relayUrl, sub, name }))
    return socket
  }
}

/** Opens a connection to the target. */
export function dialTarget({ target }: Pick<LinkConfig, 'target'>): Socket {
  const socket = connect({ ...listenerOf(target), allowHalfOpen: true, noDelay: true })
  socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('the target does not accept')))
  socket.once('connect', () => socket.setTimeout(0))
  return socket
}
