/** How does the limits service live? It opens its store, listens, reads tokens and policies again on SIGHUP, and lets requests end when it stops. */
import type { Logger } from 'pino'
import { startMetricsPort } from '../admin/metrics-port.ts'
import { codeOf } from '../answers/errors.ts'
import { readLimitPolicies } from '../config/limit-policy-file.ts'
import {
  LIMITS_PREFIX,
  LIMITS_SECRETS,
  LIMITS_SETTINGS,
  loadLimitsConfig,
  type LimitsConfig,
} from '../config/limits-settings.ts'
import { checkSecretFiles, ConfigError, type Environment } from '../config/load.ts'
import type { LimitStore } from '../fleet/limit-store.ts'
import { LimitsBusyError, LimitsDiskError, LimitsFileError } from '../fleet/limits-file.ts'
import { limitsExposition } from '../fleet/limits-metrics.ts'
import { startLimits, type RunningLimits } from '../fleet/server.ts'
import { SqliteStore } from '../fleet/sqlite-store.ts'
import { EventLoopDelay } from '../observe/event-loop.ts'
import { openLog } from '../observe/log.ts'
import { isFolderMissing } from '../services/socket-file.ts'
import { StateAccessError } from '../store/state-errors.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { portProblem } from './listen-error.ts'
import { AlreadyRunningError } from './pid-file.ts'

/** How long stopping may take beyond LIMITS_DRAIN_SECONDS, in milliseconds. */
const STOP_MS = 5000

/**
 * Runs the limits service until a signal stops it.
 * @param sources the environment that the process was started with, secrets included, to read them again on SIGHUP
 * @throws {AlreadyRunningError} when the port, the socket or the folder is taken
 * @throws {StateAccessError} when the disk of the folder is full or fails
 * @throws {ConfigError} when one of them, or the file of policies, cannot be used
 */
export async function runLimits(config: LimitsConfig, sources: Environment): Promise<void> {
  const policies = await readLimitPolicies(config.policyFile)
  const log = openLog(config.logLevel)
  const { logger } = log
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the limits service, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const { limits, kind } = await open().catch(async (error: unknown) => {
    await log.flush() // so that the reason comes last, where a supervisor looks for it
    throw describeStartFailure(config, error)
  })
  async function open() {
    const store = await openStore(config, logger)
    return { limits: await startLimits(config, { store, policies, logger }), kind: store.kind }
  }
  const loop = new EventLoopDelay()
  const metrics = (): string => {
    const { counts, isDraining, isStoreAway } = limits
    return limitsExposition({ counts, isDraining, isStoreAway, eventLoopDelay: loop.read() })
  }
  if (config.metricsPort !== undefined)
    await startMetricsPort(metrics, config.metricsPort, logger, LIMITS_SETTINGS.metricsPort.env)
  process.on('SIGHUP', () => void readAgain(limits, sources, logger))
  // It means something to the gateway, whose process has the same name.
  process.on('SIGUSR2', () => logger.warn('nothing to be done on SIGUSR2 for the limits service'))
  onStopSignals({
    first() {
      const { drainSeconds } = config
      setTimeout(() => endProcess(EXIT.failed), drainSeconds * 1000 + STOP_MS).unref()
      logger.info({ seconds: drainSeconds }, 'stopping')
      void limits
        .drain()
        .then(() => log.flush())
        .then(() => endProcess(EXIT.ok))
    },
    second: () => endProcess(EXIT.failed),
  })
  // Last, because whoever reads this line may send a signal at once.
  const { address, port } = limits.address ?? {}
  logger.info(
    {
      ...{ host: address, port, socket: config.socket, store: kind },
      ...{ policies: [...policies.keys()], pid: process.pid },
    },
    'limiting',
  )
}

async function openStore(
  { storeUrl, stateDir }: LimitsConfig,
  logger: Logger,
): Promise<LimitStore> {
  if (storeUrl === undefined) return SqliteStore.open(stateDir, { logger })
  // Loaded late, because one process with a file of its own needs no client.
  const { RedisStore } = await import('../fleet/redis-store.ts')
  return new RedisStore({ url: storeUrl, logger })
}

/** Reads tokens and policies again (SIGHUP). What cannot be used is logged, and what was in force before it stays. */
async function readAgain(
  limits: RunningLimits,
  sources: Environment,
  logger: Logger,
): Promise<void> {
  try {
    checkSecretFiles(LIMITS_SECRETS, sources)
    const { tokens = [] } = loadLimitsConfig(sources)
    limits.setTokens(tokens)
    logger.info({ tokens: tokens.length }, 'tokens read again')
  } catch (error) {
    logger.error({ err: error }, 'tokens not read again; those in force stay')
  }
  try {
    const policies = await readLimitPolicies(sources[LIMITS_SETTINGS.policyFile.env])
    limits.setPolicies(policies)
    logger.info({ policies: [...policies.keys()] }, 'policies read again')
  } catch (error) {
    logger.error({ err: error }, 'policies not read again; those in force stay')
  }
}

/** Says why the service cannot start, and which setting is meant. */
function describeStartFailure(config: LimitsConfig, error: unknown): unknown {
  const { socket } = config
  if (error instanceof LimitsBusyError) return new AlreadyRunningError(error.message)
  if (error instanceof LimitsDiskError) return new StateAccessError(error.message)
  if (error instanceof LimitsFileError) return new ConfigError([error.message])
  const code = codeOf(error)
  if (code === '' || !(error instanceof Error)) return error
  if (socket !== undefined && 'address' in error && error.address === socket)
    return code === 'EADDRINUSE'
      ? new AlreadyRunningError(
          `LIMITS_SOCKET "${socket}" is in use: another process listens on it, or it is a file of another kind`,
        )
      : new ConfigError([
          `LIMITS_SOCKET "${socket}" cannot be created (${isFolderMissing(socket) ? 'ENOENT' : code}); it takes a path in a folder that exists and that this user may write to`,
        ])
  return portProblem(LIMITS_PREFIX, config, error)
}
