/** What does the process do around the gateway? It handles signals, messages of the port keeper, and uncaught errors. */
import {
  checkSecretFiles,
  loadConfig,
  SECRET_VARIABLES,
  type Config,
  type Environment,
} from '../config/load.ts'
import { stopOnSignals } from './drain.ts'
import { endProcess } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { handedDownListener } from './handed-down.ts'
import { hasPortKeeper, takesOver, tellPortKeeper, type ToGateway } from './port-keeper.ts'
import { freeCompilersAtOnce } from '../http/node-internals.ts'
import { secretsOf } from '../parts.ts'
import { startGateway, type RunningGateway } from './lifecycle.ts'

/** What the process needs besides the settings. */
export interface ProcessOptions {
  /** The environment that the process was started with, secrets included. */
  readonly env: Environment
  /** Called when the gateway accepts requests. An error that it throws stops the gateway. */
  readonly onReady: () => void
}

/** Starts the gateway. A signal stops it and then ends the process. */
export async function runGateway(config: Config, { env, onReady }: ProcessOptions): Promise<void> {
  freeCompilersAtOnce()
  const starting = startGateway(config, {
    notifySocket: env['NOTIFY_SOCKET'],
    listenFd: handedDownListener(env, hasPortKeeper() ? process.ppid : process.pid),
    takesOver: takesOver(env),
    keepsSocketFile: hasPortKeeper(),
  })
  // Before the gateway listens, because a request may be in flight by the time that `starting` resolves.
  obeySignals(starting, config, env)
  const gateway = await starting
  try {
    onReady()
  } catch (error) {
    await gateway.close()
    throw error
  }
  surviveFaults(gateway)
  if (hasPortKeeper()) obeyPortKeeper(gateway)
}

/** Handles the messages by which the port keeper replaces one gateway with another. */
function obeyPortKeeper(gateway: RunningGateway): void {
  const saved = (): void => tellPortKeeper('budgets-saved')
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
  tellPortKeeper('ready')
}

/** Handles signals. They take effect once the gateway has started; one that cannot start ends the process by itself. */
function obeySignals(
  starting: Promise<RunningGateway>,
  { drainSeconds }: Config,
  env: Environment,
): void {
  const whenStarted = (act: (gateway: RunningGateway) => void) => void starting.then(act, () => {})
  stopOnSignals(whenStarted, drainSeconds)
  process.on('SIGHUP', () => whenStarted((gateway) => reloadSecrets(gateway, env)))
  const role = hasPortKeeper()
    ? 'for a gateway that has a port keeper'
    : 'without GATEWAY_HOT_RESTART'
  process.on('SIGUSR2', () =>
    whenStarted(({ parts }) => parts.log.logger.warn(`nothing to be done on SIGUSR2 ${role}`)),
  )
}

/**
 * Logs an uncaught error and lets the process run on, because ending it would close the terminals of everybody. This is safe
 * here: requests share no state that an error could leave half changed. The level is `fatal`, since the error is a bug.
 */
function surviveFaults({ parts }: RunningGateway): void {
  const survive = (error: unknown): void => {
    parts.log.logger.fatal({ err: error }, 'fault of the gateway, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
}

/** Reads the secret files again (SIGHUP). When one of them is invalid, the secrets in force stay. */
function reloadSecrets(gateway: RunningGateway, sources: Environment): void {
  try {
    checkSecretFiles(SECRET_VARIABLES, sources)
    const config = loadConfig(sources)
    gateway.setKeys(secretsOf(config))
    gateway.setOpenclawToken(config.openclawToken)
  } catch (error) {
    gateway.parts.log.logger.error(
      { err: error },
      'secrets not reloaded; the old ones stay in force',
    )
  }
}
