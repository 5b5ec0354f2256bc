/** Where can a scraper read the metrics over TCP? On one port of the private network, which serves nothing else. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Logger } from 'pino'
import { problemAnswer } from '../answers/problem.ts'
import { EXPOSITION_TYPE } from '../observe/exposition.ts'
import { closeServer, type Closable } from './door.ts'

/**
 * Serves the metrics, and nothing else, on the private address. Clients need no credential, because the metrics contain no
 * name of a person and no path.
 * @param metrics the metrics, in the text format of Prometheus
 * @param setting the setting that has the port, which is named when the port cannot be opened
 * @returns undefined when the port cannot be opened, which is then logged
 */
export async function startMetricsPort(
  metrics: () => string,
  port: number,
  logger: Logger,
  setting = 'GATEWAY_METRICS_PORT',
): Promise<(Closable & { address: AddressInfo }) | undefined> {
  const server = createServer(
    { headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 5000 },
    ({ method, url }, response) => {
      const isKnown = url === '/metrics' && (method === 'GET' || method === 'HEAD')
      if (isKnown) {
        const body = metrics()
        const length = Buffer.byteLength(body)
        response.writeHead(200, { 'Content-Type': EXPOSITION_TYPE, 'Content-Length': length })
        response.end(body)
        return
      }
      const audience = { requestId: crypto.randomUUID(), page: false, returnTo: '/' }
      const { status, headers, body } = problemAnswer({ code: 'not-found', headers: {} }, audience)
      response.writeHead(status, [...headers]).end(body)
    },
  )
  server.maxConnections = 16
  const host = privateAddress()
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => resolve())
    })
  } catch (error) {
    logger.warn({ err: error, setting, host, port }, 'metrics not served')
    return undefined
  }
  const address = server.address() as AddressInfo
  logger.info({ host: address.address, port: address.port }, 'metrics served')
  return { address, close: () => closeServer(server) }
}

/** The machine's address on Fly's private network (fdaa::/16); the loopback address on a machine without one. */
export function privateAddress(
  interfaces: ReturnType<typeof networkInterfaces> = networkInterfaces(),
): string {
  const own = Object.values(interfaces).flatMap((addresses) => addresses ?? [])
  return own.find(({ address }) => /^fdaa:/i.test(address))?.address ?? '127.0.0.1'
}
