/** What lives as long as the gateway? Everything here: made once, and passed to the stages and routes that need it. */
import type { FastifyInstance } from 'fastify'
import type { Config } from './config/load.ts'
import { ApiTokens, MAX_API_TOKENS } from './identity/api-tokens.ts'
import { SessionIssuer } from './identity/issuer.ts'
import { KeyRing, type Secrets } from './identity/key-ring.ts'
import { SecondFactors } from './identity/second-factor/factors.ts'
import { Sessions } from './identity/sessions.ts'
import { TokenVerifier } from './identity/verifier.ts'
import { SlidingWindowLimiter } from './limits/budget.ts'
import { WaitingRoom } from './limits/waiting-room.ts'
import { Watchdog } from './limits/watchdog.ts'
import { EventLoopDelay } from './observe/event-loop.ts'
import type { Log } from './observe/log.ts'
import { FactorLog } from './observe/factor-log.ts'
import { RequestMetrics } from './observe/metrics.ts'
import { RateLimitCounts } from './observe/rate-limit-metrics.ts'
import { Decisions } from './observe/recent.ts'
import { RefusalSums } from './observe/refusal-sums.ts'
import { StrayBytesLog } from './observe/stray-bytes.ts'
import { ClientFinder } from './request/client-finder.ts'
import type { ServiceName } from './rules/services.ts'
import { ServiceProbe } from './services/probe.ts'
import { openServices, type Service } from './services/service.ts'
import { DrainState } from './sockets/drain-state.ts'
import { OpenSockets } from './sockets/open-sockets.ts'
import type { State } from './store/state.ts'
import { TerminalKeeper } from './terminals/keeper-client.ts'
import { BasicMemory } from './terminals/safari-password.ts'
import { LinkOwner } from './relay/owner-client.ts'
import { VaultOwner } from './vault/owner-client.ts'
import { endOfSession } from './terminals/session-of.ts'
import { workspacesSocket } from './vault/protocol.ts'

/** How many client addresses have a budget of their own. */
const ADDRESS_CAPACITY = 100_000

/** How many sessions have a budget of their own; each needs a token that we signed. */
const SESSION_CAPACITY = 10_000

/** The window of an API token's own rate, which is a number of requests a minute. */
const TOKEN_WINDOW_SECONDS = 60

/** The long-lived parts of a gateway. */
export interface Parts {
  readonly log: Log
  /** Finds the client of a request. */
  readonly clients: ClientFinder
  /** The state file. */
  readonly state: State
  /** The keys that sign and verify tokens. */
  readonly keys: KeyRing
  readonly sessions: Sessions
  readonly apiTokens: ApiTokens
  /** The second factors that are kept here. */
  readonly factors: SecondFactors
  readonly factorLog: FactorLog
  readonly verifier: TokenVerifier
  /** Issues the tokens of sessions. */
  readonly issuer: SessionIssuer
  /** Budgets of client addresses. */
  readonly addressBudgets: SlidingWindowLimiter
  /** Budgets of sessions. */
  readonly sessionBudgets: SlidingWindowLimiter
  /** Budgets of the API tokens that have a rate of their own. */
  readonly tokenBudgets: SlidingWindowLimiter
  /** What the three decided. */
  readonly rateLimits: RateLimitCounts
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
  /** The keeper of terminals, if one is behind GATEWAY_TERMINAL_URL. */
  readonly terminals: TerminalKeeper
  /** The owner's door of the vault; undefined when GATEWAY_VAULT_SOCKETS is not set. */
  readonly vault: VaultOwner | undefined
  /** The owner's door of the link; undefined when GATEWAY_LINK_OWNER_SOCKET is not set. */
  readonly link: LinkOwner | undefined
  /** The counters that ended requests fill. */
  readonly metrics: RequestMetrics
  readonly eventLoop: EventLoopDelay
  /** The records of recent requests, for `workspace-gateway explain`. */
  readonly decisions: Decisions
  /** Sums up the refusals of a flood; undefined with GATEWAY_LOG_REFUSALS=each. */
  readonly refusals: RefusalSums | undefined
}

/** A gateway: its parts, and the application that takes requests through the stages. */
export interface Gateway {
  readonly app: FastifyInstance
  readonly parts: Parts
}

/** The secrets of a configuration, the signing one first. */
export function secretsOf({
  jwtSecret,
  jwtPreviousSecrets,
}: Pick<Config, 'jwtSecret' | 'jwtPreviousSecrets'>): Secrets {
  return [jwtSecret, ...jwtPreviousSecrets]
}

/** Makes the parts of a gateway. */
export function makeParts(config: Config, log: Log, state: State): Parts {
  const { logger } = log
  const windowSeconds = config.rateLimitSeconds
  const watchdog = new Watchdog((error) => logger.error({ err: error }, 'a check failed'))
  const openSockets = new OpenSockets()
  const basicMemory = new BasicMemory()
  const strayBytes = new StrayBytesLog(logger)
  const { vaultSockets } = config
  const services = openServices(config, {
    vaultDoor: vaultSockets === undefined ? undefined : workspacesSocket(vaultSockets),
    onStrayBytes: (service, count) => strayBytes.note(service, count),
  })
  watchdog.add(basicMemory) // it forgets credentials in time
  const keys = new KeyRing(secretsOf(config))
  const { sessionMaxSeconds: maxSeconds, jwtLeewaySeconds: leewaySeconds } = config
  const sessions = new Sessions(state, { maxSeconds, leewaySeconds })
  const apiTokens = new ApiTokens(state)
  const factorLog = new FactorLog(logger)
  const factors = new SecondFactors({
    ...{ state, keys, workspace: config.workspace },
    onEvent: (event) => factorLog.note(event),
  })
  const load = (): void => {
    sessions.load((kid) => keys.has(kid))
    apiTokens.load()
    factors.load()
  }
  state.onOpened(load) // again, when a predecessor has changed it, or when it could not be read before
  load()
  const verifier = new TokenVerifier({
    rules: { workspace: config.workspace, issuer: config.jwtIssuer, leewaySeconds },
    ...{ keys, sessions, apiTokens, state },
  })
  watchdog.add(sessions) // it notices those whose time is over
  watchdog.add(apiTokens) // so do they
  const terminals = new TerminalKeeper({
    address: config.terminalUrl,
    logger,
    isInCharge: () => state.isInCharge,
    endOf: (entry) => endOfSession(entry, { sessions, apiTokens, keys }),
  })
  watchdog.add(terminals) // it compares again after a failure
  return {
    log,
    clients: new ClientFinder(config.trustedProxies),
    state,
    keys,
    sessions,
    apiTokens,
    factors,
    factorLog,
    verifier,
    issuer: new SessionIssuer({ keys, sessions, workspace: config.workspace }),
    addressBudgets: new SlidingWindowLimiter({
      limit: config.rateLimit,
      windowSeconds,
      capacity: ADDRESS_CAPACITY,
    }),
    sessionBudgets: new SlidingWindowLimiter({
      limit: config.sessionRateLimit,
      windowSeconds,
      capacity: SESSION_CAPACITY,
    }),
    tokenBudgets: new SlidingWindowLimiter({
      limit: 1, // each token has its own
      windowSeconds: TOKEN_WINDOW_SECONDS,
      capacity: MAX_API_TOKENS,
    }),
    rateLimits: new RateLimitCounts([
      { name: 'address', windows: [{ points: config.rateLimit, seconds: windowSeconds }] },
      { name: 'session', windows: [{ points: config.sessionRateLimit, seconds: windowSeconds }] },
      { name: 'token', windows: [{ seconds: TOKEN_WINDOW_SECONDS }] },
    ]),
    waitingRoom: new WaitingRoom((error) => logger.error({ err: error }, 'a refusal failed')),
    watchdog,
    services,
    probe: new ServiceProbe(services),
    strayBytes,
    openSockets,
    drain: new DrainState(openSockets),
    basicMemory,
    terminals,
    vault: config.vaultSockets === undefined ? undefined : new VaultOwner(config.vaultSockets),
    link: config.linkOwnerSocket === undefined ? undefined : new LinkOwner(config.linkOwnerSocket),
    metrics: new RequestMetrics(),
    eventLoop: new EventLoopDelay(),
    decisions: new Decisions(),
    refusals: config.logRefusals === 'summed' ? new RefusalSums(log) : undefined,
  }
}

/** Stops the timers and connections of the parts when the application closes, after src/process/drain.ts drained the gateway. */
export function closeParts({
  watchdog,
  services,
  strayBytes,
  eventLoop,
  waitingRoom,
  refusals,
  state,
}: Parts): void {
  watchdog.close()
  for (const { pool } of Object.values(services)) pool.close()
  strayBytes.close()
  eventLoop.stop()
  waitingRoom.empty() // those who still wait are answered
  refusals?.close()
  state.close()
}
