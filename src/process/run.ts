/** How does the process of a gateway live? Its signals, its keeper if it has one, and faults that nobody caught. */
import { loadConfig, type Config, type Environment } from '../config/load.ts'
import { stopOnSignals } from './drain.ts'
import { endProcess } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { handedDownListener } from './handed-down.ts'
import { isKept, takesOver, tellKeeper, type ToGateway } from './port-keeper.ts'
import { keyRing } from '../parts.ts'
import { startGateway, type RunningGateway } from './lifecycle.ts'

/** What the process is given besides the settings. */
export interface ProcessOptions {
  /** The environment that it was started with, secrets included. */
  readonly env: Environment
  /** Is called when the gateway takes requests. What it throws ends the gateway. */
  readonly onReady: () => void
}

/** Starts the gateway; signals end it, and with it the process. */
export async function runGateway(config: Config, { env, onReady }: ProcessOptions): Promise<void> {
  const starting = startGateway(config, {
    notifySocket: env['NOTIFY_SOCKET'],
    listenFd: handedDownListener(env, isKept() ? process.ppid : process.pid),
    takesOver: takesOver(env),
    keepsSocketFile: isKept(),
  })
  obeySignals(starting, config, env) // before it listens: a request may be under way by the time that it is said to have started
  const gateway = await starting
  try {
    onReady()
  } catch (error) {
    await gateway.close()
    throw error
  }
  surviveFaults(gateway)
  if (isKept()) obeyKeeper(gateway)
}

/** A gateway with a keeper takes over from its predecessor, and makes way for its successor. */
function obeyKeeper(gateway: RunningGateway): void {
  const saved = (): void => tellKeeper('budgets-saved')
  process.on('message', (message: ToGateway) => {
    if (message === 'take-budgets') gateway.takeBudgets()
    else if (message === 'save-budgets') {
      gateway.saveBudgets()
      saved()
    } else if (message === 'retire')
      gateway.retire(saved).then(
        () => endProcess(EXIT.ok),
        () => endProcess(EXIT.failed),
      )
  })
  tellKeeper('ready')
}

/** What a signal asks for is done when the gateway has started; one that cannot start says so itself. */
function obeySignals(
  starting: Promise<RunningGateway>,
  { drainSeconds }: Config,
  env: Environment,
): void {
  const whenStarted = (act: (gateway: RunningGateway) => void) => void starting.then(act, () => {})
  stopOnSignals(whenStarted, drainSeconds)
  process.on('SIGHUP', () => whenStarted((gateway) => reloadSecrets(gateway, env)))
  const role = isKept() ? 'for the process that keeps the port' : 'without GATEWAY_HOT_RESTART'
  process.on('SIGUSR2', () =>
    whenStarted(({ app }) => app.log.warn(`nothing to be done on SIGUSR2 ${role}`)),
  )
}

/**
 * The last fence: a fault of ours that nothing caught costs one request, not everybody's terminal. It is said as loudly
 * as a log can; requests share nothing that such a fault could leave half done.
 */
function surviveFaults({ app }: RunningGateway): void {
  const survive = (error: unknown): void => {
    app.log.fatal({ err: error }, 'fault of the gateway, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
}

/** SIGHUP: reads the secret files again. A bad one keeps what is in force. */
function reloadSecrets(gateway: RunningGateway, sources: Environment): void {
  try {
    const config = loadConfig(sources)
    gateway.setKeys(keyRing(config))
    gateway.setOpenclawToken(config.openclawToken)
  } catch (error) {
    gateway.app.log.error({ err: error }, 'secrets not reloaded; the old ones stay in force')
  }
}
