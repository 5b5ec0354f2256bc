/** Where does the gateway listen? On an inherited listening socket, a Unix socket of mode 600, or a TCP address. */
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'
import { codeOf } from '../answers/errors.ts'
import type { Config } from '../config/load.ts'
import { openSocketFile } from '../services/socket-file.ts'

/** Where a gateway listens; port 0 and an empty host for a Unix socket. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/**
 * Listens on the inherited socket if there is one, else on the configured address.
 * @param fd the number of a listening socket that a supervisor or the port keeper has passed to this process
 * @throws an error whose `code` is `EADDRINUSE` or `EACCES` when the address cannot be used
 */
export async function listen(
  app: FastifyInstance,
  { host, port, socket }: Pick<Config, 'host' | 'port' | 'socket'>,
  fd: number | undefined,
): Promise<ListenAddress> {
  if (fd !== undefined) {
    await app.ready()
    app.server.listen({ fd })
    await once(app.server, 'listening')
  } else if (socket === undefined) await listenOnPort(app, host, port)
  else await openSocketFile(socket, () => app.listen({ path: socket }))
  const bound = app.server.address()
  return typeof bound === 'object' && bound !== null
    ? { host: bound.address, port: bound.port }
    : { host: '', port: 0 }
}

async function listenOnPort(app: FastifyInstance, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    // A machine without IPv6 has no `::`, which here means every address of the machine: listen on all IPv4 addresses.
    if (host !== '::' || codeOf(error) !== 'EAFNOSUPPORT') throw error
    await app.listen({ host: '0.0.0.0', port })
  }
}
