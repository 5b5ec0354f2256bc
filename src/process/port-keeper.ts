/**
 * How is the gateway replaced without refusing a connection? A small process, the port keeper, holds the listening socket;
 * gateways are its child processes and share that socket, so the socket stays open while one gateway replaces another. (The
 * keeper of terminals is another process, in src/terminals/keeper.)
 */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import type { Config, Environment } from '../config/load.ts'
import { onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { openLog } from '../observe/log.ts'
import { notifyReady, notifyStopping, type NotifyOptions } from './notify.ts'

/**
 * The messages of the port keeper to a gateway.
 * - `save-budgets`: a successor is about to start.
 * - `retire`: a successor has taken over.
 * - `take-budgets`: the predecessor has saved more, and the state may be written.
 * - `stop`, and `stop-at-once`, which does not wait for requests. These are messages and not signals, because some
 *   supervisors signal every process of a service (systemd's KillMode=control-group): the gateway would count the port
 *   keeper's signal as the second one and end at once.
 */
export type ToGateway = 'save-budgets' | 'retire' | 'take-budgets' | 'stop' | 'stop-at-once'

/**
 * The messages of a gateway to its port keeper: it accepts requests, or its budgets are in the state folder; a gateway that
 * retires says the second when it has also closed the state for writing.
 */
export type ToPortKeeper = 'ready' | 'budgets-saved'

/** The environment variable of a gateway that replaces another one. */
const TAKES_OVER = 'WORKSPACE_GATEWAY_TAKES_OVER'

/** A successor that does not accept requests after this time is killed (milliseconds). */
const READY_MS = 30_000

/** A gateway that retires or stops is killed this long after its drain time (milliseconds). */
const RETIRE_MS = 5000

/** A gateway that is to retire and does not close the state within this time is killed, because its successor waits for that (milliseconds). */
const HAND_OVER_MS = 10_000

/** A gateway that got `stop-at-once` is killed after this time (milliseconds). */
const AT_ONCE_MS = 1000

/** What a port keeper needs besides the settings. */
export interface PortKeeperOptions {
  /** The environment of the gateways. */
  readonly env: Environment
  /** Called once, when the first gateway accepts requests. An error that it throws ends the port keeper. */
  readonly onReady: () => void
}

/** Whether this process is a gateway that a port keeper started. */
export function hasPortKeeper(): boolean {
  return cluster.isWorker
}

/** Whether this process is a gateway that replaces another one. */
export function takesOver(env: Environment): boolean {
  return hasPortKeeper() && env[TAKES_OVER] !== undefined
}

/** Sends a message to the port keeper, if this process has one. */
export function tellPortKeeper(message: ToPortKeeper): void {
  process.send?.(message)
}

/**
 * Runs the port keeper, which is the process that a supervisor watches. The gateway is its child process. SIGUSR2 starts another
 * gateway, and the first one retires once the second accepts requests; a successor that fails before that changes nothing.
 * The port keeper ends when its gateway has ended.
 * @returns the gateway's exit code
 */
export async function keepPort(
  config: Config,
  { env, onReady }: PortKeeperOptions,
): Promise<number> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  process.umask(0o077) // this process creates the file of GATEWAY_SOCKET, which no other user may open even for a moment
  // Each gateway accepts connections itself, from the queue of one shared socket that stays open. With a socket for each
  // gateway (SO_REUSEPORT) the connections in the queue of the socket that closes would be reset.
  cluster.schedulingPolicy = cluster.SCHED_NONE
  const gateways = new Gateways(env, logger, config.drainSeconds * 1000)
  const supervisor = { fd: config.notifyFd, socket: env['NOTIFY_SOCKET'], logger }
  gateways.onReady = () => announce(supervisor, onReady, reject)
  gateways.onEnd = resolve
  onStopSignals({
    first() {
      void notifyStopping(supervisor)
      gateways.stop()
    },
    second: () => gateways.stopAtOnce(),
  })
  process.on('SIGHUP', () => gateways.signalCurrent('SIGHUP'))
  process.on('SIGUSR2', () => gateways.replace())
  gateways.start()
  try {
    return await promise
  } catch (error) {
    const { promise: ended, resolve: end } = Promise.withResolvers<number>()
    gateways.onEnd = end
    gateways.stop()
    await ended // a gateway that outlives its port keeper would occupy the port of the next one
    throw error
  } finally {
    await log.flush()
  }
}

function announce(supervisor: NotifyOptions, onReady: () => void, reject: (e: unknown) => void) {
  try {
    onReady()
    void notifyReady(supervisor)
  } catch (error) {
    reject(error)
  }
}

/** The gateways of a port keeper: the current one, and during a replacement its successor or its predecessor. */
class Gateways {
  /** Called when the first gateway accepts requests. */
  onReady: () => void = () => {}
  /** Called when the last gateway has ended. */
  onEnd: (exitCode: number) => void = () => {}
  readonly #env: Environment
  readonly #logger: Logger
  readonly #drainMs: number
  #current: Worker | undefined
  #successor: Worker | undefined
  #retiring: Worker | undefined
  /** Whether the gateway that retires has closed the state for writing. */
  #isHandedOver = false
  #isReady = false
  #isStopping = false
  /** Whether SIGUSR2 came again during a replacement. It is then repeated, since the program on the disk may be newer. */
  #again = false
  #exitCode: number = EXIT.failed

  constructor(env: Environment, logger: Logger, drainMs: number) {
    this.#env = env
    this.#logger = logger
    this.#drainMs = drainMs
  }

  /** Starts the first gateway. */
  start(): void {
    this.#current = this.#fork(false)
  }

  /** Starts a successor, which takes over when it is ready. */
  replace(): void {
    if (this.#isStopping || !this.#isReady) return
    if (this.#successor !== undefined || this.#retiring !== undefined) {
      this.#again = true
      return
    }
    this.#logger.info({ pid: this.#current?.process.pid }, 'replacing the gateway')
    // The successor starts once the budgets are saved, so that no client gets a fresh budget.
    this.#tell(this.#current, 'save-budgets')
  }

  /** Sends a signal to the gateway that accepts requests. */
  signalCurrent(signal: NodeJS.Signals): void {
    this.#current?.process.kill(signal)
  }

  /** Stops every gateway. */
  stop(): void {
    this.#stopWithin('stop', this.#drainMs + RETIRE_MS)
  }

  /** Ends every gateway without waiting for requests, and kills one that does not react. */
  stopAtOnce(): void {
    this.#stopWithin('stop-at-once', AT_ONCE_MS)
  }

  #stopWithin(message: ToGateway, milliseconds: number): void {
    this.#isStopping = true
    for (const gateway of this.#running()) {
      this.#tell(gateway, message)
      killUnless(gateway, milliseconds, () => !this.#running().includes(gateway))
    }
  }

  #running(): Worker[] {
    return [this.#current, this.#successor, this.#retiring].filter((one) => one !== undefined)
  }

  #fork(successor: boolean): Worker {
    // Runs the program as it is on the disk now, so that a replacement is also an update.
    cluster.setupPrimary({ exec: process.argv[1] ?? '', args: ['serve'] })
    const gateway = cluster.fork({
      ...this.#env,
      // The port keeper writes the PID file and notifies the supervisor itself.
      GATEWAY_PID_FILE: undefined,
      GATEWAY_NOTIFY_FD: undefined,
      NOTIFY_SOCKET: undefined,
      [TAKES_OVER]: successor ? 'true' : undefined,
    })
    gateway.on('message', (message: ToPortKeeper) => this.#onMessage(gateway, message))
    gateway.once('exit', (code: number | null) => this.#onExit(gateway, code ?? EXIT.failed))
    gateway.on('error', (error: Error) => {
      this.#logger.error({ err: error }, 'gateway not started')
      if (gateway.process.pid === undefined) this.#onExit(gateway, EXIT.failed)
    })
    return gateway
  }

  #onMessage(gateway: Worker, message: ToPortKeeper): void {
    if (message === 'ready') {
      if (gateway === this.#successor) this.#handOver(gateway)
      else if (!this.#isReady) this.#begin()
    } else if (gateway === this.#retiring) {
      this.#isHandedOver = true
      this.#tell(this.#current, 'take-budgets')
    } else if (gateway === this.#current && this.#successor === undefined && !this.#isStopping) {
      const successor = this.#fork(true)
      this.#successor = successor
      killUnless(successor, READY_MS, () => this.#successor !== successor)
    }
  }

  #begin(): void {
    this.#isReady = true
    this.onReady()
  }

  #handOver(successor: Worker): void {
    const retiring = this.#current
    this.#current = successor
    this.#successor = undefined
    this.#retiring = retiring
    this.#isHandedOver = false
    this.#tell(retiring, 'retire')
    if (retiring !== undefined) {
      const isGone = () => this.#retiring !== retiring
      killUnless(retiring, HAND_OVER_MS, () => isGone() || this.#isHandedOver)
      killUnless(retiring, this.#drainMs + RETIRE_MS, isGone)
    }
    const [pid, predecessor] = [successor.process.pid, retiring?.process.pid]
    this.#logger.info({ pid, predecessor }, 'gateway replaced')
  }

  #onExit(gateway: Worker, code: number): void {
    if (gateway === this.#successor) {
      this.#successor = undefined
      this.#logger.error({ code }, 'successor not ready; the gateway goes on')
    } else if (gateway === this.#retiring) {
      this.#retiring = undefined
      this.#tell(this.#current, 'take-budgets')
    } else if (gateway === this.#current) {
      this.#current = undefined
      this.#exitCode = code
      if (!this.#isStopping) this.stop()
    }
    if (this.#running().length === 0) this.onEnd(this.#exitCode)
    else if (this.#again) {
      this.#again = false
      this.replace()
    }
  }

  #tell(gateway: Worker | undefined, message: ToGateway): void {
    gateway?.send(message, (error: Error | null) => {
      if (error !== null) this.#logger.warn({ err: error, message }, 'gateway not told')
    })
  }
}

/** Kills a gateway unless a condition holds after some time. */
function killUnless(gateway: Worker, milliseconds: number, isDone: () => boolean): void {
  setTimeout(() => {
    if (!isDone()) gateway.process.kill('SIGKILL')
  }, milliseconds).unref()
}
