/**
 * How does a gateway start, and what can be done with it while it runs? {@link startGateway} opens the log, listens, opens
 * the state folder and then the admin socket; its result replaces keys, saves budgets and stops (drain.ts).
 */
import type { Config } from '../config/load.ts'
import { configWarnings } from '../config/rules.ts'
import { buildGateway } from '../gateway.ts'
import { openLog, type LogDestination } from '../observe/log.ts'
import { startOperations } from '../admin/routes.ts'
import { setOpenclawToken } from '../services/service.ts'
import { openStateDir, restoreBudgets, saveBudgets } from '../store/budgets.ts'
import { State } from '../store/state.ts'
import type { Secrets } from '../identity/key-ring.ts'
import type { Gateway } from '../parts.ts'
import { VERSION } from '../answers/version.ts'
import { retireGateway, stopGateway, trackConnections, type StopOptions } from './drain.ts'
import { LinkListener } from './link-listener.ts'
import { listen, type ListenAddress } from './listen.ts'
import { notifyReady } from './notify.ts'

/** Options that come from the process and not from a setting. */
export interface ServerOptions {
  /** Where log lines are written. Default: standard output. */
  readonly logDestination?: LogDestination
  /** systemd's `NOTIFY_SOCKET`: the socket on which the gateway notifies its supervisor that it is ready. */
  readonly notifySocket?: string | undefined
  /** The file descriptor of an inherited listening socket, used instead of the configured address. */
  readonly listenFd?: number | undefined
  /**
   * Whether this gateway replaces one that still runs: both listen on the port, and this one takes over the admin socket.
   */
  readonly takesOver?: boolean
  /** Whether the port keeper owns the file of `GATEWAY_SOCKET`, so that this gateway must not remove it. */
  readonly keepsSocketFile?: boolean
}

/** A gateway that listens. */
export interface RunningGateway extends Gateway {
  readonly address: ListenAddress
  /** Replaces the signing keys. Sessions whose key is gone lose their WebSockets and their remembered terminal passwords. */
  setKeys(secrets: Secrets): void
  /** Replaces the token that is sent to OpenClaw; undefined sends none. */
  setOpenclawToken(token: string | undefined): void
  /** Stops the gateway, in the steps of drain.ts. Another call returns the same promise. */
  close(): Promise<void>
  /**
   * Stops after a successor has taken over the port. Unlike {@link close}, it leaves idle connections open, until the drain
   * time is over, for one more request each, because that request may be on its way already.
   * @param onBudgetsSaved Called once, right after the first save. Budgets are saved again before the returned promise
   * resolves; the successor takes that save when this process exits.
   */
  retire(onBudgetsSaved: () => void): Promise<void>
  /** Saves the budgets to the state folder, for a successor. */
  saveBudgets(): void
  /**
   * Adds the budgets that a predecessor has saved since they were last read, and becomes the writer of the state, which the
   * predecessor has closed.
   */
  takeBudgets(): void
}

/**
 * Starts the gateway.
 * @throws {ListenError}, or an error whose `code` is `EADDRINUSE` or `EACCES`, when an address cannot be used
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
  const hasState = openStateDir(config.stateDir, logger)
  const state = await State.open(config.stateDir, { logger, isUsable: hasState, takesOver })
  const gateway = await buildGateway(config, log, state).catch((error: unknown) => {
    state.close()
    throw error
  })
  const { app, parts } = gateway
  const { keys, sessions, factors, verifier, services } = parts
  const { addressBudgets: addresses, sessionBudgets: sessionTable, tokenBudgets: tokens } = parts
  const budgets = { addresses, sessions: sessionTable, tokens }
  // A shell whose session ended while no gateway ran must not be there for one moment more.
  if (!takesOver) await parts.terminals.compare()
  const link = config.linkSocket === undefined ? undefined : new LinkListener(app.server, logger)
  const connections = trackConnections(gateway, link)
  let address: ListenAddress
  try {
    address = await listen(app, config, listenFd)
  } catch (error) {
    await app.close()
    throw error
  }
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
  // Last, because the predecessor's file is replaced, and a successor that fails now would leave none.
  if (link !== undefined && config.linkSocket !== undefined)
    await link.open(config.linkSocket, takesOver).catch(async (error: unknown) => {
      await app.close()
      await operations.close()
      throw error
    })
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
    link,
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
    setKeys(secrets) {
      keys.replace(secrets)
      factors.rewrap()
      const hasKey = (kid: string) => keys.has(kid)
      verifier.forget(({ key }) => key !== undefined && !hasKey(key.kid))
      sessions.endWithoutKey(hasKey) // and so do terminals
      logger.info({ keys: secrets.length }, 'keys replaced')
    },
    setOpenclawToken(token) {
      setOpenclawToken(services, token)
    },
    saveBudgets: save,
    takeBudgets() {
      if (hasState) restoreBudgets(config.stateDir, budgets, logger)
      void state.takeOver().then(() => parts.terminals.sessionsChanged())
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
