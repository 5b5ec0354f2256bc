/** The request path. Read it top to bottom: each stage may answer; what passes reaches the next. */
import { randomUUID } from 'node:crypto'
import websocket from '@fastify/websocket'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import listener from '../plugins/0-listener.ts'
import target, { buildRouting } from '../plugins/1-target.ts'
import clientAddress from '../plugins/2-client-address.ts'
import host from '../plugins/3-host.ts'
import sensitiveFiles from '../plugins/4-sensitive-files.ts'
import credential from '../plugins/5-credential.ts'
import rateLimit from '../plugins/6-rate-limit.ts'
import authentication from '../plugins/7-authentication.ts'
import upstream from '../plugins/8-upstream.ts'
import basicMemory from '../plugins/safari-terminal.ts'
import cors from '../plugins/cors.ts'
import drain from '../plugins/drain.ts'
import metrics from '../plugins/metrics.ts'
import problemDetails from '../plugins/problem-details.ts'
import requestLog from '../plugins/request-log.ts'
import upgrade from '../plugins/upgrade.ts'
import waitingRoom from '../plugins/waiting-room.ts'
import gatewayRoutes from '../routes/gateway.ts'
import health from '../routes/health.ts'
import probes from '../routes/probes.ts'
import proxied from '../routes/proxied.ts'
import { buildServer } from './http/server.ts'
import type { SlidingWindowLimiter } from './limits/budget.ts'
import type { Config } from './config/load.ts'
import type { Log } from './observe/log.ts'
import type { TokenVerifier } from './identity/verifier.ts'
import { siteMapOf } from './rules/site-map.ts'

/** What outlives a request: made by the server, or by a test with its own clock. */
export interface GatewayParts {
  readonly log: Log
  readonly verifier: TokenVerifier
  /** Budgets of client addresses. */
  readonly addresses: SlidingWindowLimiter
  /** Budgets of sessions. */
  readonly sessions: SlidingWindowLimiter
}

/** No route here has a schema: like this, Fastify does not load the compilers of schemas when it starts. */
const NO_SCHEMAS = {
  compilersFactory: { buildValidator: refuseSchema, buildSerializer: refuseSchema },
}

function refuseSchema(): never {
  throw new Error('a route with a schema needs a compiler of schemas')
}

/** Builds the gateway, ready to listen. Tests call exactly this. */
export async function buildGateway(
  config: Config,
  { log, verifier, addresses, sessions }: GatewayParts,
): Promise<FastifyInstance> {
  const { logger } = log
  const siteMap = siteMapOf(config)
  // Fastify's own debug lines quote URLs, and with them sign-in tokens: only its warnings are let through.
  const frameworkLogger: FastifyBaseLogger = logger.child(
    {},
    { level: logger.level === 'silent' ? 'silent' : 'warn' },
  )
  const app = Fastify({
    serverFactory: buildServer, // 0 limits
    rewriteUrl: buildRouting(siteMap), // 1 the one canonical form of the target
    genReqId: () => randomUUID(),
    loggerInstance: frameworkLogger,
    childLoggerFactory: (parent) => parent,
    logController: new LogController({ disableRequestLogging: true }), // plugins/request-log.ts writes the one line
    return503OnClosing: false,
    exposeHeadRoutes: true,
    schemaController: NO_SCHEMAS,
  })

  await app.register(websocket)
  await app.register(waitingRoom)
  await app.register(problemDetails, { loginUrl: config.loginUrl })
  await app.register(metrics, { verifier, addresses, sessions })
  await app.register(requestLog, { log, logProbes: config.logProbes })
  await app.register(cors, { allowedOrigins: config.allowedOrigins })
  await app.register(drain)

  await app.register(listener, {
    log,
    trustedProxies: config.trustedProxies,
    allowedOrigins: config.allowedOrigins,
  })
  await app.register(target)
  await app.register(clientAddress, { trustedProxies: config.trustedProxies })
  await app.register(host, {
    publicHost: `${config.workspace}.${config.domain}`,
    rules: config.allowedHosts,
  })
  await app.register(sensitiveFiles, { added: config.sensitiveFiles })
  await app.register(credential, { verifier, domain: config.domain })
  await app.register(rateLimit, {
    addresses,
    sessions,
    sessionRoutes: config.sessionRoutes,
    programRoutes: config.programRoutes,
    allowedOrigins: config.allowedOrigins,
  })
  await app.register(authentication, { allowedOrigins: config.allowedOrigins })
  await app.register(upstream, config)
  await app.register(basicMemory)
  await app.register(upgrade, {
    leewaySeconds: config.jwtLeewaySeconds,
    idleMs: config.idleSeconds * 1000,
  })

  await app.register(health, {
    strict: config.healthStrict,
    host: `${config.workspace}.${config.domain}`,
  })
  await app.register(probes)
  await app.register(gatewayRoutes, { verifier })
  await app.register(proxied, { siteMap })
  return app
}
