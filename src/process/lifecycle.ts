/** How does the gateway live? It opens its log and state, listens, re-reads secrets, and stops without losing a request. */
import type { Config } from '../config/load.ts'
import { configWarnings } from '../config/rules.ts'
import { buildGateway } from '../gateway.ts'
import { openLog, type LogDestination } from '../observe/log.ts'
import { startOperations } from '../admin/routes.ts'
import { setOpenclawToken } from '../services/service.ts'
import { SESSION_ENDED } from '../sockets/open-sockets.ts'
import { openStateDir, restoreBudgets, saveBudgets } from '../store/budgets.ts'
import type { KeyRing } from '../identity/verifier.ts'
import type { Gateway } from '../parts.ts'
import { VERSION } from '../answers/version.ts'
import { retireGateway, stopGateway, trackConnections, type StopOptions } from './drain.ts'
import { listen, type ListenAddress } from './listen.ts'
import { notifyReady } from './notify.ts'

/** What may differ from the defaults. */
export interface ServerOptions {
  /** Where log lines go; standard output when not given. */
  readonly logDestination?: LogDestination
  /** systemd's `NOTIFY_SOCKET`: where a supervisor hears that the gateway is ready. */
  readonly notifySocket?: string | undefined
  /** The number of a listening socket that was handed down to this process; used instead of the configured address. */
  readonly listenFd?: number | undefined
  /** Whether this gateway takes over from one that still listens: the port is shared, the admin door changes hands. */
  readonly takesOver?: boolean
  /** Whether the file of `GATEWAY_SOCKET` belongs to whoever keeps the port, and stays when this gateway ends. */
  readonly keepsSocketFile?: boolean
}

/** A gateway that listens. */
export interface RunningGateway extends Gateway {
  readonly address: ListenAddress
  /** Puts new signing keys in force; what the old ones opened ends. */
  setKeys(keys: KeyRing): void
  /** Sends another token to OpenClaw from now on, or none. */
  setOpenclawToken(token: string | undefined): void
  /** Stops: requests in flight get the drain time, WebSockets a close frame; budgets are saved, the log is flushed. */
  close(): Promise<void>
  /**
   * Stops after a successor has taken over: as {@link close}, but connections that people keep open are answered once
   * more before they end, so that not even a request that is on its way just now is lost.
   * @param onBudgetsSaved is called when the successor can take the budgets, and later once more by the end of the promise
   */
  retire(onBudgetsSaved: () => void): Promise<void>
  /** Saves the budgets for a successor. */
  saveBudgets(): void
  /** Takes what a predecessor has saved since the last time. */
  takeBudgets(): void
}

/**
 * Starts the gateway.
 * @throws an error whose `code` is `EADDRINUSE` or `EACCES` when the address cannot be had
 */
export async function startGateway(
  config: Config,
  {
    logDestination,
    notifySocket,
    listenFd,
    takesOver = false,
    keepsSocketFile = false,
  }: ServerOptions = {},
): Promise<RunningGateway> {
  const log = openLog(config.logLevel, logDestination)
  const { logger } = log
  const gateway = await buildGateway(config, log)
  const { app, parts } = gateway
  const { verifier, openSockets, basicMemory, services } = parts
  const budgets = { addresses: parts.addresses, sessions: parts.sessions }
  const connections = trackConnections(gateway)
  let address: ListenAddress
  try {
    address = await listen(app, config, listenFd)
  } catch (error) {
    await app.close()
    throw error
  }
  const hasState = openStateDir(config.stateDir, logger)
  if (hasState) restoreBudgets(config.stateDir, budgets, logger)
  for (const warning of configWarnings(config)) logger.warn(warning)
  logger.info(
    {
      version: VERSION,
      ...address,
      socket: config.socket,
      workspace: config.workspace,
      pid: process.pid,
    },
    'listening',
  )
  const operations = await startOperations(gateway, config, { logger, takesOver, hasState })
  const supervisor = { fd: config.notifyFd, socket: notifySocket, logger }
  void notifyReady(supervisor)

  const save = (): void => {
    if (hasState) saveBudgets(config.stateDir, budgets, logger)
  }
  const stopOptions: StopOptions = {
    gateway,
    log,
    connections,
    operations,
    supervisor,
    drainSeconds: config.drainSeconds,
    socketFile: keepsSocketFile ? undefined : config.socket,
    saveBudgets: save,
  }
  let closing: Promise<void> | undefined
  return {
    address,
    app,
    parts,
    setKeys(keys) {
      verifier.setKeys(keys)
      openSockets.close(SESSION_ENDED, ({ principal }) => !verifier.hasKey(principal.keyId))
      basicMemory.forget(({ keyId }) => !verifier.hasKey(keyId))
      logger.info({ keys: keys.length }, 'keys replaced')
    },
    setOpenclawToken(token) {
      setOpenclawToken(services, token)
    },
    saveBudgets: save,
    takeBudgets() {
      if (hasState) restoreBudgets(config.stateDir, budgets, logger)
    },
    close() {
      closing ??= stopGateway(stopOptions)
      return closing
    },
    retire(onBudgetsSaved) {
      closing ??= retireGateway(stopOptions, onBudgetsSaved)
      return closing
    },
  }
}
