/** How does the keeper of terminals live? It starts, survives whatever terminals do, and ends them when it is told to stop. */
import type { TerminalsConfig } from '../config/terminals-settings.ts'
import { openLog } from '../observe/log.ts'
import { startKeeper } from '../terminals/keeper/server.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'

/** How long stopping may take, in milliseconds. */
const STOP_MS = 3000

/** Runs the keeper until a signal stops it. @throws an error with a code when it cannot listen */
export async function runTerminals(config: TerminalsConfig): Promise<void> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the keeper, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const keeper = await startKeeper(config, logger)
  logger.info({ socket: config.socket, pid: process.pid }, 'keeping terminals')
  onStopSignals({
    first() {
      setTimeout(() => endProcess(EXIT.failed), STOP_MS).unref()
      void keeper
        .close()
        .then(() => log.flush())
        .then(() => endProcess(EXIT.ok))
    },
    second: () => endProcess(EXIT.failed),
  })
}
