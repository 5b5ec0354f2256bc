/**
 * Which paths does the machine's owner have, and which action is behind each? The admin socket has a path for every action,
 * the metrics port has one.
 */
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import type { Config } from '../config/load.ts'
import { EXPOSITION_TYPE } from '../observe/metrics.ts'
import type { Gateway } from '../parts.ts'
import { adminActions, type AdminActions } from './actions.ts'
import { startAdmin, type AdminRoute } from './door.ts'
import { startMetricsPort } from './metrics-port.ts'

/** The routes of the admin socket: each names one action. */
function adminRoutes(actions: AdminActions): AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/explain/:id',
      answer: ({ name: id }) => ({ body: actions.explain(id) }),
    },
    {
      method: 'GET',
      path: '/metrics',
      answer: () => ({ body: actions.metrics(), type: EXPOSITION_TYPE }),
    },
    {
      method: 'GET',
      path: '/status',
      answer: async () => ({ body: await actions.status() }),
    },
  ]
}

/** What {@link startOperations} needs besides the gateway. */
export interface OperationsOptions {
  readonly logger: Logger
  /** Whether this gateway replaces one that still runs. */
  readonly takesOver?: boolean
  /** Whether the state folder can be used: the admin socket is a file in it. */
  readonly hasState?: boolean
}

/** The owner's side of a running gateway. */
export interface Operations {
  /** The address of the metrics port; undefined when metrics are not served over TCP. */
  readonly metricsAddress: AddressInfo | undefined
  /** Closes the admin socket and the metrics port. Call it after everything else has ended. */
  close(): Promise<void>
}

/**
 * Opens the admin socket, and the metrics port if one is configured. Call it when the gateway listens and its state folder
 * is open. A failure is logged and the gateway runs without the part that failed, because no client depends on it.
 */
export async function startOperations(
  gateway: Gateway,
  config: Config,
  { logger, takesOver = false, hasState = true }: OperationsOptions,
): Promise<Operations> {
  const { stateDir, metricsPort } = config
  const actions = adminActions(gateway, config)
  const admin = hasState
    ? await startAdmin({ stateDir, logger, routes: adminRoutes(actions), takesOver })
    : undefined
  const metrics =
    metricsPort === undefined
      ? undefined
      : await startMetricsPort(() => actions.metrics(), metricsPort, logger)
  return {
    metricsAddress: metrics?.address,
    async close() {
      await Promise.all([admin?.close(), metrics?.close()])
    },
  }
}
