/**
 * The request path, from top to bottom: each stage may answer a request, and a request that passes reaches the next one. The
 * parts that live as long as the gateway are made here once (parts.ts), and each stage gets those that it needs.
 */
import { randomUUID } from 'node:crypto'
import websocket from '@fastify/websocket'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyRequest } from 'fastify'
import listener from '../plugins/0-listener.ts'
import target, { buildRouting } from '../plugins/1-target.ts'
import clientAddress from '../plugins/2-client-address.ts'
import host from '../plugins/3-host.ts'
import sensitiveFiles from '../plugins/4-sensitive-files.ts'
import credential from '../plugins/5-credential.ts'
import rateLimit, { RequestBudgets } from '../plugins/6-rate-limit.ts'
import authentication from '../plugins/7-authentication.ts'
import { buildUpstream } from '../plugins/8-upstream.ts'
import cors from '../plugins/cors.ts'
import endConnections from '../plugins/drain.ts'
import problemDetails from '../plugins/problem-details.ts'
import requestLog from '../plugins/request-log.ts'
import { takeUpgrades } from '../plugins/upgrade.ts'
import api from '../routes/api.ts'
import assets from '../routes/assets.ts'
import health from '../routes/health.ts'
import otherMethods, { OwnAddresses } from '../routes/other-methods.ts'
import ownerPageRoutes from '../routes/owner-page.ts'
import pairedDevices from '../routes/paired-devices.ts'
import probes from '../routes/probes.ts'
import proxied from '../routes/proxied.ts'
import remotePageRoutes from '../routes/remote-page.ts'
import renewRoutes from '../routes/renew.ts'
import secondFactorRoutes from '../routes/second-factor.ts'
import signInRoutes from '../routes/sign-in.ts'
import signOutRoutes from '../routes/sign-out.ts'
import { livePartsOf } from './admin/live-parts.ts'
import { PageShell } from './answers/pages/shell.ts'
import type { Config } from './config/load.ts'
import { NO_SCHEMAS } from './http/no-schemas.ts'
import { buildServer, MAX_HEADER_BYTES } from './http/server.ts'
import type { Log } from './observe/log.ts'
import { closeParts, makeParts, type Gateway } from './parts.ts'
import { originsOf } from './request/login.ts'
import { siteMapOf } from './rules/site-map.ts'
import { State } from './store/state.ts'

/**
 * Builds a gateway that is ready to listen. Tests and production call exactly this.
 * @param state where sessions and API tokens are kept; by default in memory only
 */
export async function buildGateway(
  config: Config,
  log: Log,
  state = State.inMemory(),
): Promise<Gateway> {
  const parts = makeParts(config, log, state)
  const { clients, sessions, apiTokens, factors, issuer, verifier, waitingRoom } = parts
  const { watchdog, services } = parts
  const { openSockets, drain, basicMemory, terminals, metrics, decisions, refusals } = parts
  const { allowedOrigins, trustedProxies, sessionRoutes, programRoutes } = config
  const publicHost = `${config.workspace}.${config.domain}`
  const siteMap = siteMapOf(config)
  const ownAddresses = new OwnAddresses()
  const app = Fastify({
    serverFactory: buildServer, // 0: the limits of the HTTP server
    rewriteUrl: ownAddresses.routing(buildRouting(siteMap)), // 1: the canonical form of the target decides the route
    // A longer segment would be answered by the router, before every stage and with the path in the answer. None is longer.
    routerOptions: { maxParamLength: MAX_HEADER_BYTES },
    genReqId: () => randomUUID(),
    loggerInstance: frameworkLogger(log),
    childLoggerFactory: (parent) => parent,
    logController: new LogController({ disableRequestLogging: true }), // plugins/request-log.ts writes the one line of a request
    return503OnClosing: false,
    exposeHeadRoutes: true,
    schemaController: NO_SCHEMAS,
  })
  app.addHook('onClose', async () => closeParts(parts))
  // Whatever hangs on a session ends with it. What is checked twice a second anyway (relayed answers) asks the session itself.
  const endWhatHangsOnThem = () => {
    openSockets.closeEnded()
    basicMemory.forgetEnded()
    terminals.sessionsChanged()
  }
  sessions.onEnded(endWhatHangsOnThem)
  apiTokens.onEnded(endWhatHangsOnThem)
  sessions.onSuperseded(({ session }) => {
    if (session !== undefined) terminals.sessionsChanged() // it was renewed, and ends later
  })

  // @fastify/websocket owns the server's `upgrade` event and makes each upgrade a request (`request.ws`) that passes the same
  // stages as any other. It would then accept the upgrade with ws, which plugins/upgrade.ts prevents: the service accepts it.
  await app.register(websocket)
  const login = {
    loginUrl: config.loginUrl,
    stepUpUrl: config.stepUpUrl,
    domain: config.domain,
  }
  const stepUp = {
    methods: config.terminalAmr,
    isLocal: config.secondFactor === 'local',
    maxAgeSeconds: config.terminalMaxAge,
    routes: config.stepUpRoutes,
  }
  const pages = new PageShell({ workspace: config.workspace, formOrigins: originsOf(login) })
  await app.register(problemDetails, { login, stepUp, pages, waitingRoom, drain })
  const { logProbes } = config
  await app.register(requestLog, { log, metrics, decisions, clients, logProbes, refusals })
  await app.register(cors, { allowedOrigins })
  await app.register(endConnections, { drain })

  await app.register(listener, {
    log,
    metrics,
    decisions,
    refusals,
    watchdog,
    trustedProxies,
    allowedOrigins,
  })
  await app.register(target, {})
  await app.register(clientAddress, { clients })
  await app.register(host, { publicHost, rules: config.allowedHosts })
  await app.register(sensitiveFiles, { added: config.sensitiveFiles })
  await app.register(credential, { verifier, apiTokens, domain: config.domain, waitingRoom })
  const budgets = new RequestBudgets(parts)
  await app.register(rateLimit, { budgets, sessionRoutes, programRoutes, allowedOrigins })
  await app.register(authentication, { allowedOrigins, stepUp, drain, waitingRoom })
  const dial = takeUpgrades(app.websocketServer, {
    openSockets,
    watchdog,
    drain,
    basicMemory,
    terminals,
    beginTokenTry: (request, authorization) => budgets.beginTokenTry(request, authorization),
    idleMs: config.idleSeconds * 1000,
  })
  const forwardTo = buildUpstream(app, { config, watchdog, basicMemory, apiTokens, dial }) // 8: for the routes of services

  await app.register(otherMethods, { ownAddresses })
  await app.register(health, {
    service: services.health,
    drain,
    host: publicHost,
    strict: config.healthStrict,
  })
  await app.register(assets)
  await app.register(remotePageRoutes, { workspace: config.workspace })
  await app.register(probes, { probe: parts.probe, drain, state })
  const forSessions = {
    ...{ issuer, sessions, login, verifier, watchdog, waitingRoom },
    payForGuess: (request: FastifyRequest) => budgets.spendAddress(request),
  }
  await app.register(signInRoutes, forSessions)
  await app.register(renewRoutes, forSessions)
  await app.register(signOutRoutes, { sessions, watchdog, state })
  const forOwners = {
    parts: livePartsOf({ app, parts }, config),
    ...{ logger: log.logger, watchdog, payForGuess: forSessions.payForGuess },
  }
  const forFactors = { ...forSessions, ...forOwners, factors, isLocal: stepUp.isLocal }
  await app.register(secondFactorRoutes, forFactors)
  if (config.linkSocket !== undefined)
    await app.register(pairedDevices, { ...forFactors, state, log })
  await app.register(api, forOwners)
  await app.register(ownerPageRoutes, { ...forOwners, factors, login })
  await app.register(proxied, { siteMap, services, forwardTo, stepUp })
  return { app, parts }
}

/** Fastify's logger. Only warnings pass, because Fastify's debug lines quote URLs, which may hold sign-in tokens. */
function frameworkLogger({ logger }: Log): FastifyBaseLogger {
  return logger.child({}, { level: logger.level === 'silent' ? 'silent' : 'warn' })
}
