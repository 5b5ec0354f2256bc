/** What lives as long as the gateway? Everything here: made once, and passed to the stages and routes that need it. */
import type { FastifyInstance } from 'fastify'
import type { Config } from './config/load.ts'
import { buildTokenVerifier, type KeyRing, type TokenVerifier } from './identity/verifier.ts'
import { SlidingWindowLimiter } from './limits/budget.ts'
import { WaitingRoom } from './limits/waiting-room.ts'
import { Watchdog } from './limits/watchdog.ts'
import { EventLoopDelay } from './observe/event-loop.ts'
import type { Log } from './observe/log.ts'
import { RequestMetrics } from './observe/metrics.ts'
import { Decisions } from './observe/recent.ts'
import { StrayBytesLog } from './observe/stray-bytes.ts'
import { ClientFinder } from './request/client-finder.ts'
import type { ServiceName } from './rules/services.ts'
import { ServiceProbe } from './services/probe.ts'
import { openServices, type Service } from './services/service.ts'
import { DrainState } from './sockets/drain-state.ts'
import { OpenSockets } from './sockets/open-sockets.ts'
import { BasicMemory } from './terminals/safari-password.ts'

/** How many client addresses have a budget of their own. */
const ADDRESS_CAPACITY = 100_000

/** How many sessions have a budget of their own; each needs a token that we signed. */
const SESSION_CAPACITY = 10_000

/** The long-lived parts of a gateway. */
export interface Parts {
  readonly log: Log
  /** Finds the client of a request. */
  readonly clients: ClientFinder
  readonly verifier: TokenVerifier
  /** Budgets of client addresses. */
  readonly addresses: SlidingWindowLimiter
  /** Budgets of sessions. */
  readonly sessions: SlidingWindowLimiter
  /** Where refusals wait, so that they do not delay requests that may pass. */
  readonly waitingRoom: WaitingRoom
  /** Checks everything under way twice a second. */
  readonly watchdog: Watchdog
  /** The closed table of services. */
  readonly services: Readonly<Record<ServiceName, Service>>
  /** Which services are up, looked at once a second at most, whoever asks. */
  readonly probe: ServiceProbe
  /** Logs bytes of services that belong to no response. */
  readonly strayBytes: StrayBytesLog
  /** Every open WebSocket. */
  readonly openSockets: OpenSockets
  readonly drain: DrainState
  /** The Basic credentials that the terminal accepted, for handshakes of the same session that cannot bring them. */
  readonly basicMemory: BasicMemory
  /** The counters that ended requests fill. */
  readonly metrics: RequestMetrics
  readonly eventLoop: EventLoopDelay
  /** The records of recent requests, for `workspace-gateway explain`. */
  readonly decisions: Decisions
}

/** A gateway: its parts, and the application that takes requests through the stages. */
export interface Gateway {
  readonly app: FastifyInstance
  readonly parts: Parts
}

/** The keys of a configuration, the signing one first. */
export function keyRing({
  jwtSecret,
  jwtPreviousSecrets,
}: Pick<Config, 'jwtSecret' | 'jwtPreviousSecrets'>): KeyRing {
  return [jwtSecret, ...jwtPreviousSecrets]
}

/** Makes the parts of a gateway. */
export function makeParts(config: Config, log: Log): Parts {
  const { logger } = log
  const windowSeconds = config.rateLimitSeconds
  const watchdog = new Watchdog((error) => logger.error({ err: error }, 'a check failed'))
  const openSockets = new OpenSockets()
  const basicMemory = new BasicMemory()
  const strayBytes = new StrayBytesLog(logger)
  const services = openServices(config, {
    onStrayBytes: (service, count) => strayBytes.note(service, count),
  })
  watchdog.add(basicMemory) // it forgets credentials in time
  return {
    log,
    clients: new ClientFinder(config.trustedProxies),
    verifier: buildTokenVerifier(
      {
        workspace: config.workspace,
        issuer: config.jwtIssuer,
        leewaySeconds: config.jwtLeewaySeconds,
      },
      keyRing(config),
    ),
    addresses: new SlidingWindowLimiter({
      limit: config.rateLimit,
      windowSeconds,
      capacity: ADDRESS_CAPACITY,
    }),
    sessions: new SlidingWindowLimiter({
      limit: config.sessionRateLimit,
      windowSeconds,
      capacity: SESSION_CAPACITY,
    }),
    waitingRoom: new WaitingRoom((error) => logger.error({ err: error }, 'a refusal failed')),
    watchdog,
    services,
    probe: new ServiceProbe(services),
    strayBytes,
    openSockets,
    drain: new DrainState(openSockets),
    basicMemory,
    metrics: new RequestMetrics(),
    eventLoop: new EventLoopDelay(),
    decisions: new Decisions(),
  }
}

/** Stops the timers and connections of the parts when the application closes, after src/process/drain.ts drained the gateway. */
export function closeParts({
  watchdog,
  services,
  strayBytes,
  eventLoop,
  waitingRoom,
}: Parts): void {
  watchdog.close()
  for (const { pool } of Object.values(services)) pool.close()
  strayBytes.close()
  eventLoop.stop()
  waitingRoom.empty() // those who still wait are answered
}
