/** How does the relay live? It listens, survives whatever strangers send, and closes its connections bit by bit when it is told to stop. */
import { startMetricsPort } from '../admin/metrics-port.ts'
import { RELAY_PREFIX, RELAY_SETTINGS, type RelayConfig } from '../config/relay-settings.ts'
import { EventLoopDelay } from '../observe/event-loop.ts'
import { openLog } from '../observe/log.ts'
import { relayExposition } from '../relay/server/relay-metrics.ts'
import { startRelay } from '../relay/server/server.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { portProblem } from './listen-error.ts'

/** How long stopping may take beyond RELAY_DRAIN_SECONDS, in milliseconds. */
const STOP_MS = 5000

/**
 * Runs the relay until a signal stops it.
 * @throws {AlreadyRunningError} when the port is taken
 * @throws {ConfigError} when it cannot be listened on
 */
export async function runRelay(config: RelayConfig): Promise<void> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the relay, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const relay = await startRelay(config, logger).catch(async (error: unknown) => {
    await log.flush() // so that the reason comes last, where a supervisor looks for it
    throw portProblem(RELAY_PREFIX, config, error)
  })
  const loop = new EventLoopDelay()
  const metrics = (): string => {
    const { counts, sizes, isDraining, isStoreAway } = relay
    return relayExposition({ counts, sizes, isDraining, isStoreAway, eventLoopDelay: loop.read() })
  }
  if (config.metricsPort !== undefined)
    await startMetricsPort(metrics, config.metricsPort, logger, RELAY_SETTINGS.metricsPort.env)
  // They mean something to the gateway, whose process has the same name.
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => logger.warn(`nothing to be done on ${signal} for the relay`))
  onStopSignals({
    first() {
      const { drainSeconds } = config
      setTimeout(() => endProcess(EXIT.failed), drainSeconds * 1000 + STOP_MS).unref()
      logger.info({ seconds: drainSeconds, ...relay.sizes }, 'stopping')
      void relay
        .drain()
        .then(() => log.flush())
        .then(() => endProcess(EXIT.ok))
    },
    second: () => endProcess(EXIT.failed),
  })
  // Last, because whoever reads this line may send a signal at once.
  const { address, port } = relay.address
  logger.info({ host: address, port, pid: process.pid }, 'relaying')
}
