/** What does an operator get beside the door itself? The admin socket and the metrics port. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { closeServer, startAdmin, type AdminRoute, type Closable } from './door.ts'
import type { Config } from '../config/load.ts'
import { explainDecision } from '../observe/explanation.ts'
import { GatewayError } from '../answers/errors.ts'
import { EXPOSITION_TYPE } from '../observe/metrics.ts'
import { problemAnswer } from '../answers/problem.ts'
import { ServiceProbe } from '../services/probe.ts'
import { VERSION } from '../answers/version.ts'

/** What operations need besides the gateway. */
export interface OperationsOptions {
  readonly logger: Logger
  /** Whether this gateway takes over from one that still runs. */
  readonly takesOver?: boolean
  /** Whether the state folder is ours: the admin door is a file in it. */
  readonly hasState?: boolean
}

/** Operations of a gateway that listens. */
export interface Operations {
  /** Where metrics are served over TCP, if they are. */
  readonly metricsAddress: AddressInfo | undefined
  /** Closes the admin door and the metrics port. To be called when everything else has ended. */
  close(): Promise<void>
}

/**
 * Opens the admin door, and serves metrics where that is configured. To be called when the gateway listens and its state
 * folder was opened. Whatever fails is said in the log: the gateway goes on without.
 */
export async function startOperations(
  app: FastifyInstance,
  config: Config,
  { logger, takesOver = false, hasState = true }: OperationsOptions,
): Promise<Operations> {
  const admin = hasState
    ? await startAdmin({
        stateDir: config.stateDir,
        logger,
        routes: adminRoutes(app, config),
        takesOver,
      })
    : undefined
  const metrics =
    config.metricsPort === undefined
      ? undefined
      : await startMetricsPort(app, config.metricsPort, logger)
  return {
    metricsAddress: metrics?.address,
    async close() {
      await Promise.all([admin?.close(), metrics?.close()])
    },
  }
}

/** What the admin door answers; later issues add sessions, keys and API tokens. */
function adminRoutes(app: FastifyInstance, config: Config): AdminRoute[] {
  const probe = new ServiceProbe(app.services)
  return [
    {
      method: 'GET',
      path: '/explain/:id',
      answer({ name: id }) {
        const decision = app.decisions.find(id)
        if (decision !== undefined) return { body: explainDecision(decision) }
        throw new GatewayError('not-found', {
          reason: `no such request among the last few thousand that ended here: it is older, still under way, from before the last restart, or a probe of health that was answered (GATEWAY_LOG_PROBES keeps those)`,
        })
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      answer: () => ({ body: app.renderMetrics(), type: EXPOSITION_TYPE }),
    },
    {
      method: 'GET',
      path: '/status',
      answer: async () => ({ body: await statusOf(app, config, probe) }),
    },
  ]
}

/** How the gateway is doing. */
async function statusOf(
  app: FastifyInstance,
  { workspace }: Config,
  probe: ServiceProbe,
): Promise<object> {
  const states = await probe.states()
  const { addresses, sessions, rememberedTokens } = app.memoryUse()
  return {
    workspace,
    version: VERSION,
    pid: process.pid,
    node: process.version,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    listening: app.server.address(),
    draining: app.isDraining,
    services: Object.fromEntries(
      Object.entries(states).map(([name, state]) => {
        const { address, inFlight } = app.services[name as keyof typeof states]
        return [name, { url: address.url, state, inFlight }]
      }),
    ),
    openWebSockets: app.openSockets.size,
    budgets: { addresses, sessions },
    rememberedTokens,
    residentBytes: process.memoryUsage.rss(),
  }
}

/**
 * Serves metrics, and nothing else, on the private address. There is no sign-in: they name no person and no path.
 * @returns undefined when the port cannot be had, which was then said in the log
 */
async function startMetricsPort(
  app: FastifyInstance,
  port: number,
  logger: Logger,
): Promise<(Closable & { address: AddressInfo }) | undefined> {
  const server = createServer(
    { headersTimeout: 5000, requestTimeout: 10_000, keepAliveTimeout: 5000 },
    ({ method, url }, response) => {
      const isKnown = url === '/metrics' && (method === 'GET' || method === 'HEAD')
      if (isKnown) {
        const body = app.renderMetrics()
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
    logger.warn({ err: error, setting: 'GATEWAY_METRICS_PORT', host, port }, 'metrics not served')
    return undefined
  }
  const address = server.address() as AddressInfo
  logger.info({ host: address.address, port: address.port }, 'metrics served')
  return { address, close: () => closeServer(server) }
}

/** The machine's address on Fly's private network (fdaa::/16), or loopback where there is none. */
export function privateAddress(
  interfaces: ReturnType<typeof networkInterfaces> = networkInterfaces(),
): string {
  const own = Object.values(interfaces).flatMap((addresses) => addresses ?? [])
  return own.find(({ address }) => /^fdaa:/i.test(address))?.address ?? '127.0.0.1'
}
