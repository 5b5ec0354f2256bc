/**
 * Which paths does the machine's owner have, and which action is behind each? The admin socket has a path for every action of
 * actions.ts and of owner-actions.ts, the metrics port has one.
 */
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import type { Config } from '../config/load.ts'
import { EXPOSITION_TYPE } from '../observe/exposition.ts'
import type { Gateway } from '../parts.ts'
import type { State } from '../store/state.ts'
import type { LiveParts, OwnerAction } from './action.ts'
import { adminActions, type AdminActions } from './actions.ts'
import { MACHINE } from './caller.ts'
import { startAdmin, type AdminRoute } from './door.ts'
import { livePartsOf } from './live-parts.ts'
import { startMetricsPort } from './metrics-port.ts'
import { OWNER_ACTIONS } from './owner-actions.ts'
import { membersOf, subjectIn } from './members.ts'
import { logAct, perform } from './perform.ts'

/** The routes of the admin socket: each names one action. */
function adminRoutes(
  actions: AdminActions,
  parts: LiveParts,
  { logger, state }: { readonly logger: Logger; readonly state: Pick<State, 'ready'> },
): AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/explain/:id',
      answer: ({ names }) => ({ body: actions.explain(names['id'] ?? '') }),
    },
    {
      method: 'GET',
      path: '/metrics',
      answer: () => ({ body: actions.metrics(), type: EXPOSITION_TYPE }),
    },
    {
      method: 'POST',
      path: '/sign-in-link',
      async answer({ body }) {
        const subject = subjectIn(membersOf(body, ['sub']).sub, 'sub')
        const link = await actions.signInLink(subject)
        logAct(logger, 'make-sign-in-link', MACHINE, [subject])
        return { body: link }
      },
    },
    ...Object.entries<OwnerAction<LiveParts>>(OWNER_ACTIONS).map(([name, action]): AdminRoute => ({
      method: action.method,
      path: action.path,
      answer: async ({ names, body }) => {
        await state.ready // a predecessor may still write it
        const input = { id: names['id'] ?? '', agent: names['agent'], body }
        return { body: await perform(name, action, { parts, input, caller: MACHINE, logger }) }
      },
    })),
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
    ? await startAdmin({
        ...{ stateDir, logger, takesOver },
        routes: adminRoutes(actions, livePartsOf(gateway, config), {
          logger,
          state: gateway.parts.state,
        }),
      })
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
