/**
 * What happens on SIGTERM, in order? This file is the answer, top to bottom: {@link stopOnSignals} limits the time that
 * stopping may take, {@link stopGateway} has the steps, {@link drainRequests} is the step that waits for requests; then the
 * process ends. With GATEWAY_HOT_RESTART the port keeper (port-keeper.ts) gets the signal and sends the message `stop`.
 */
import { rmSync } from 'node:fs'
import type { Operations } from '../admin/routes.ts'
import { endIdle, trackSockets, type OpenConnections } from '../http/idle-connections.ts'
import { stopAccepting } from '../http/node-internals.ts'
import type { Log } from '../observe/log.ts'
import type { Gateway } from '../parts.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { notifyStopping, type NotifyOptions } from './notify.ts'
import type { LinkListener } from './link-listener.ts'
import { hasPortKeeper, type ToGateway } from './port-keeper.ts'

/**
 * Stopping may take this long beyond the drain time, to save budgets, close connections and write log lines (milliseconds).
 */
const STOP_MARGIN_MS = 2000

/** How often draining checks whether the requests in flight have ended, in milliseconds. */
const DRAIN_STEP_MS = 50

/**
 * SIGTERM and SIGINT stop the gateway, as process 1 of a container too; a second signal ends the process at once. A gateway
 * with a port keeper takes both orders as messages of that process, and a signal only ever stops it, because supervisors such
 * as systemd signal every process of a service.
 * @param whenStarted calls a function with the gateway once the gateway has started, or never when it cannot start
 */
export function stopOnSignals(
  whenStarted: (act: (gateway: { close(): Promise<void> }) => void) => void,
  drainSeconds: number,
): void {
  // Two calls are as good as one: `close` remembers its promise, and the time limit of the first call stays.
  const stop = (): void => {
    const limitMs = drainSeconds * 1000 + STOP_MARGIN_MS
    setTimeout(() => endProcess(EXIT.failed), limitMs).unref()
    whenStarted((gateway) =>
      gateway.close().then(
        () => endProcess(EXIT.ok),
        () => endProcess(EXIT.failed),
      ),
    )
  }
  const stopAtOnce = () => endProcess(EXIT.failed)
  onStopSignals({ first: stop, second: hasPortKeeper() ? stop : stopAtOnce })
  if (!hasPortKeeper()) return
  process.on('message', (message: ToGateway) => {
    if (message === 'stop') stop()
    else if (message === 'stop-at-once') stopAtOnce()
  })
}

/** What stopping needs. */
export interface StopOptions {
  readonly gateway: Gateway
  readonly log: Log
  readonly connections: OpenConnections
  /** The admin socket and the metrics port. */
  readonly operations: Operations
  /** The listener of the link; undefined when GATEWAY_LINK_SOCKET is not set. */
  readonly link: LinkListener | undefined
  readonly supervisor: NotifyOptions
  readonly drainSeconds: number
  /** The Unix socket that the gateway removes at the end; undefined when there is none or another process owns it. */
  readonly socketFile: string | undefined
  readonly saveBudgets: () => void
}

/**
 * Stops the gateway: notifies the supervisor, drains, saves the budgets, closes the server and then the admin socket, removes
 * the socket file, and flushes the log.
 * @param drain resolves when the requests in flight have ended, or when their time is over
 */
export async function stopGateway(
  options: StopOptions,
  drain: (options: StopOptions) => Promise<void> = drainRequests,
): Promise<void> {
  const { gateway, log, operations, link, supervisor } = options
  const { drainSeconds, socketFile, saveBudgets } = options
  const { logger } = log
  const { app, parts } = gateway
  const { pid } = process
  logger.info({ pid, openSockets: parts.openSockets.size, seconds: drainSeconds }, 'draining')
  void notifyStopping(supervisor)
  await drain(options)
  saveBudgets()
  link?.close()
  await app.close()
  await operations.close()
  if (socketFile !== undefined) rmSync(socketFile, { force: true })
  logger.info({ pid }, 'stopped')
  await log.flush()
}

/**
 * Stops accepting, closes WebSockets with 1012, and lets requests finish until the deadline; then destroys every connection.
 */
async function drainRequests({
  gateway,
  connections,
  link,
  drainSeconds,
}: StopOptions): Promise<void> {
  const { server } = gateway.app
  const { drain, openSockets } = gateway.parts
  const deadline = performance.now() + drainSeconds * 1000
  drain.begin()
  let listeners = link === undefined ? 1 : 2
  const onClosed = (): void => {
    listeners--
  }
  // The `close` of http.Server would also destroy the connections that it takes for idle: see isFlushing.
  stopAccepting(server, onClosed)
  link?.stopAccepting(onClosed)
  while (performance.now() < deadline) {
    endIdle(server, connections)
    if (listeners === 0 && openSockets.size === 0) return
    await pause(DRAIN_STEP_MS)
  }
  destroyAll(gateway, connections)
}

/**
 * Stops the gateway after a successor has taken over the port.
 * @param onBudgetsSaved Called once, right after the first save. Budgets are saved again before the returned promise
 * resolves; the successor takes that save when this process exits.
 */
export function retireGateway(options: StopOptions, onBudgetsSaved: () => void): Promise<void> {
  return stopGateway(options, async () => {
    const drained = drainReplaced(options)
    options.saveBudgets()
    options.gateway.parts.state.handOver() // before the successor hears of it, because one process writes at a time
    onBudgetsSaved()
    await drained
  })
}

/**
 * Drains while a successor listens on the same port. A connection that is idle or young is left open, because a request may
 * be on its way: that request is answered with `Connection: close`.
 */
async function drainReplaced({
  gateway,
  connections,
  link,
  drainSeconds,
}: StopOptions): Promise<void> {
  const deadline = performance.now() + drainSeconds * 1000
  gateway.parts.drain.begin(true)
  // The `close` of http.Server would end idle connections at once, and lose the request that is on its way.
  stopAccepting(gateway.app.server)
  link?.stopAccepting()
  while (connections.size > 0 && performance.now() < deadline) await pause(DRAIN_STEP_MS)
  destroyAll(gateway, connections)
}

function destroyAll({ parts }: Gateway, connections: OpenConnections): void {
  for (const connection of connections.keys()) connection.destroy()
  parts.openSockets.destroyAll()
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds)
  })
}

/** Records the connections of a gateway, from before it listens. One of the link is in from its first byte on. */
export function trackConnections({ app }: Gateway, link?: LinkListener): OpenConnections {
  return trackSockets(app.server, ...(link === undefined ? [] : [link.server]))
}
