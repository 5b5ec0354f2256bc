/** How does the link live? It starts, survives whatever devices and the relay do, and tells devices when it stops. */
import { codeOf } from '../answers/errors.ts'
import { ConfigError } from '../config/load.ts'
import type { LinkConfig } from '../config/link-settings.ts'
import { openLog } from '../observe/log.ts'
import { LinkBusyError, startLink } from '../relay/link/link.ts'
import { LinkFileError } from '../relay/link/private-file.ts'
import { isFolderMissing } from '../services/socket-file.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { AlreadyRunningError } from './pid-file.ts'

/** How long stopping may take, in milliseconds. */
const STOP_MS = 3000

/**
 * Runs the link until a signal stops it.
 * @throws {AlreadyRunningError} when another link has the state folder or the owner's socket
 * @throws {ConfigError} when a file or the socket cannot be used
 */
export async function runLink(config: LinkConfig): Promise<void> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the link, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const link = await startLink(config, { logger }).catch(async (error: unknown) => {
    await log.flush() // so that the reason comes last, where a supervisor looks for it
    throw describeStartFailure(config, error)
  })
  // They mean something to the gateway, whose process has the same name.
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => logger.warn(`nothing to be done on ${signal} for the link`))
  onStopSignals({
    first() {
      setTimeout(() => endProcess(EXIT.failed), STOP_MS).unref()
      void link
        .close()
        .then(() => log.flush())
        .then(() => endProcess(EXIT.ok))
    },
    second: () => endProcess(EXIT.failed),
  })
  // Last, because whoever reads this line may send a signal at once.
  const { relayUrl: relay, ownerSocket } = config
  logger.info({ relay, ownerSocket, pid: process.pid }, 'linking devices')
}

/** Says why the link cannot start, and which setting is meant. */
function describeStartFailure({ ownerSocket, stateDir }: LinkConfig, error: unknown): unknown {
  if (error instanceof LinkBusyError) return new AlreadyRunningError(error.message)
  if (error instanceof LinkFileError) return new ConfigError([error.message])
  const code = isFolderMissing(ownerSocket) ? 'ENOENT' : codeOf(error)
  if (code === '') return error
  if (code === 'EADDRINUSE')
    return new AlreadyRunningError(
      `LINK_OWNER_SOCKET "${ownerSocket}" is in use: another link listens on it, or it is a file of another kind`,
    )
  const isFile =
    error instanceof Error && 'path' in error && String(error.path).startsWith(stateDir)
  return new ConfigError([
    isFile
      ? `LINK_STATE_DIR "${stateDir}" cannot be used (${code}); it takes a folder that this user may write to`
      : `LINK_OWNER_SOCKET "${ownerSocket}" cannot be created (${code}); it takes a path in a folder that exists and that this user may write to`,
  ])
}
