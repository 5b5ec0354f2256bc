/** How is the gateway replaced without refusing a connection? A small process keeps the port while gateways come and go. */
import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import type { Config, Environment } from '../config/load.ts'
import { onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { openLog } from '../observe/log.ts'
import { notifyReady, notifyStopping, type NotifyOptions } from './notify.ts'

/**
 * What the keeper tells a gateway: save your budgets, a successor has taken over, your predecessor has saved more; stop,
 * and stop without waiting for requests. Stopping is not passed on as a signal: where a supervisor signals every process
 * (systemd's KillMode=control-group), the gateway would take the second one for a person in a hurry.
 */
export type ToGateway = 'save-budgets' | 'retire' | 'take-budgets' | 'stop' | 'stop-at-once'

/** What a gateway tells its keeper: it takes requests, or its budgets are in the state folder. */
export type ToKeeper = 'ready' | 'budgets-saved'

/** The variable that tells a gateway that it takes over from another one. */
const TAKES_OVER = 'WORKSPACE_GATEWAY_TAKES_OVER'

/** How long a successor may take until it takes requests, in milliseconds. */
const READY_MS = 30_000

/** What a gateway that retires or stops may take beyond its drain time before it is killed, in milliseconds. */
const RETIRE_MS = 5000

/** What a gateway may take that was told to end at once, in milliseconds. */
const AT_ONCE_MS = 1000

/** What a keeper needs besides the settings. */
export interface KeeperOptions {
  /** The environment that gateways are started with. */
  readonly env: Environment
  /** Is called once, when the first gateway takes requests. What it throws ends the keeper. */
  readonly onReady: () => void
}

/** Whether this process is a gateway that a keeper has started. */
export function isKept(): boolean {
  return cluster.isWorker
}

/** Whether this process is a gateway that takes over from another one. */
export function takesOver(env: Environment): boolean {
  return isKept() && env[TAKES_OVER] !== undefined
}

/** Tells the keeper of this gateway. */
export function tellKeeper(message: ToKeeper): void {
  process.send?.(message)
}

/**
 * Keeps the port, and the process id that a supervisor watches. The gateway runs as its child. SIGUSR2 starts another
 * one, and when that takes requests the first retires; a successor that does not get so far changes nothing. The keeper
 * ends with its gateway.
 * @returns the gateway's exit code
 */
export async function keep(config: Config, { env, onReady }: KeeperOptions): Promise<number> {
  const log = openLog(config.logLevel)
  const { logger } = log
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  process.umask(0o077) // the file of a GATEWAY_SOCKET is made by this process: nobody else's, not even for a moment
  // Gateways accept for themselves, all from the queue of one socket that stays open. With a socket each (SO_REUSEPORT)
  // the connections in the queue of the one that closes would be reset.
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
    await ended // a gateway that outlives its keeper would keep the port from the next one
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

/** The gateways of a keeper: the one that takes requests, and for a while the next and the last one. */
class Gateways {
  /** The first gateway takes requests. */
  onReady: () => void = () => {}
  /** The last gateway has ended. */
  onEnd: (exitCode: number) => void = () => {}
  readonly #env: Environment
  readonly #logger: Logger
  readonly #drainMs: number
  #current: Worker | undefined
  #successor: Worker | undefined
  #retiring: Worker | undefined
  #isReady = false
  #isStopping = false
  /** Whether another replacement was asked for while one was under way: there may be a newer program by now. */
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

  /** Starts a successor; it takes over when it is ready. */
  replace(): void {
    if (this.#isStopping || !this.#isReady) return
    if (this.#successor !== undefined || this.#retiring !== undefined) {
      this.#again = true
      return
    }
    this.#logger.info({ pid: this.#current?.process.pid }, 'replacing the gateway')
    this.#tell(this.#current, 'save-budgets') // what is spent is spent from the successor's first moment on
  }

  /** Passes a signal on to the gateway that takes requests. */
  signalCurrent(signal: NodeJS.Signals): void {
    this.#current?.process.kill(signal)
  }

  /** Stops all of them. */
  stop(): void {
    this.#stopWithin('stop', this.#drainMs + RETIRE_MS)
  }

  /** Ends all of them at once; one that cannot hear it is killed. */
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
    // The program as it is on the disk now: this is how an update gets in.
    cluster.setupPrimary({ exec: process.argv[1] ?? '', args: ['serve'] })
    const gateway = cluster.fork({
      ...this.#env,
      // The keeper's own business: the process id that a supervisor watches, and what the supervisor is told.
      GATEWAY_PID_FILE: undefined,
      GATEWAY_NOTIFY_FD: undefined,
      NOTIFY_SOCKET: undefined,
      [TAKES_OVER]: successor ? 'true' : undefined,
    })
    gateway.on('message', (message: ToKeeper) => this.#onMessage(gateway, message))
    gateway.once('exit', (code: number | null) => this.#onExit(gateway, code ?? EXIT.failed))
    gateway.on('error', (error: Error) => {
      this.#logger.error({ err: error }, 'gateway not started')
      if (gateway.process.pid === undefined) this.#onExit(gateway, EXIT.failed)
    })
    return gateway
  }

  #onMessage(gateway: Worker, message: ToKeeper): void {
    if (message === 'ready') {
      if (gateway === this.#successor) this.#handOver(gateway)
      else if (!this.#isReady) this.#begin()
    } else if (gateway === this.#retiring) this.#tell(this.#current, 'take-budgets')
    else if (gateway === this.#current && this.#successor === undefined && !this.#isStopping) {
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
    this.#tell(retiring, 'retire')
    if (retiring !== undefined)
      killUnless(retiring, this.#drainMs + RETIRE_MS, () => this.#retiring !== retiring)
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

/** Kills a gateway that has not done its part in time. */
function killUnless(gateway: Worker, milliseconds: number, isDone: () => boolean): void {
  setTimeout(() => {
    if (!isDone()) gateway.process.kill('SIGKILL')
  }, milliseconds).unref()
}
