/** How does the keeper of terminals live? It starts, survives whatever terminals do, and ends them when it is told to stop. */
import { codeOf } from '../answers/errors.ts'
import { ConfigError } from '../config/load.ts'
import type { TerminalsConfig } from '../config/terminals-settings.ts'
import { openLog } from '../observe/log.ts'
import { isFolderMissing } from '../services/socket-file.ts'
import { startKeeper } from '../terminals/keeper/server.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { AlreadyRunningError } from './pid-file.ts'

/** How long stopping may take, in milliseconds. */
const STOP_MS = 3000

/**
 * Runs the keeper until a signal stops it.
 * @throws {AlreadyRunningError} when another keeper listens on the socket
 * @throws {ConfigError} when the socket cannot be created
 */
export async function runTerminals(config: TerminalsConfig): Promise<void> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the keeper, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const keeper = await startKeeper(config, logger).catch((error: unknown) => {
    throw describeListenFailure(config.socket, error)
  })
  // They mean something to the gateway, whose process has the same name. Their default action would end every shell.
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () =>
      logger.warn(`nothing to be done on ${signal} for the keeper of terminals`),
    )
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
  // Last, because whoever reads this line may send a signal at once.
  logger.info({ socket: config.socket, pid: process.pid }, 'keeping terminals')
}

/** Says why the keeper cannot listen, and which setting is meant. */
function describeListenFailure(socket: string, error: unknown): unknown {
  const code = isFolderMissing(socket) ? 'ENOENT' : codeOf(error)
  if (code === 'EADDRINUSE')
    return new AlreadyRunningError(
      `TERMINALS_SOCKET "${socket}" is in use: another keeper of terminals listens on it, or it is a file of another kind`,
    )
  const problem = LISTEN_PROBLEMS[code]
  if (problem === undefined) return error
  return new ConfigError([
    `TERMINALS_SOCKET "${socket}" cannot be created (${code}): ${problem}; it takes a path in a folder that exists and that this user may write to`,
  ])
}

const LISTEN_PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'a part of its path is no folder',
  EACCES: 'its folder may not be written to',
  EPERM: 'its folder may not be written to',
  EROFS: 'its file system may only be read',
  ENOSPC: 'its file system is full',
  ENAMETOOLONG: 'it is too long',
  ELOOP: 'its path has too many symbolic links',
}
