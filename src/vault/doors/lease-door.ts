/**
 * What may be asked at the loopback port (VAULT_PORT)? A service, with a lease, and nothing else: every user of the machine reaches
 * the port, so that the lease alone says who asks.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Logger } from 'pino'
import type { Denials } from '../denials.ts'
import { LEASES_PATH } from '../protocol.ts'
import { refuseOnSocket } from '../refusal.ts'
import { VaultError } from '../vault-errors.ts'
import {
  makeDoorServer,
  refusalOf,
  refuseBrowsers,
  refuseFields,
  sendProblem,
} from './server-shared.ts'
import { Uses } from './uses.ts'

/** What the port needs. */
export interface LeaseDoorParts {
  readonly uses: Uses
  readonly denials: Denials
  readonly logger: Logger
  /** Connections of all agents that may be open at once. */
  readonly maxConnections: number
}

/** Makes the server of the port. */
export function makeLeaseDoor({ uses, denials, logger, maxConnections }: LeaseDoorParts): Server {
  const refuse = (request: IncomingMessage, error: unknown): VaultError => {
    const refusal = refusalOf(error, logger)
    if (refusal.code !== 'internal-error')
      denials.note({ method: request.method, reason: refusal.code })
    return refusal
  }
  return makeDoorServer(
    {
      request: async (request, response) => {
        try {
          check(request)
          await uses.serve(undefined, request, response)
        } catch (error) {
          sendProblem(request, response, refuse(request, error))
        }
      },
      upgrade: async (request, socket, head) => {
        try {
          check(request)
          await uses.upgrade(undefined, request, socket, head)
        } catch (error) {
          refuseOnSocket(socket, refuse(request, error))
        }
      },
    },
    { logger, maxConnections },
  )
}

/** @throws {VaultError} */
function check(request: IncomingMessage): void {
  refuseBrowsers(request)
  refuseFields(request)
  if (!Uses.isMeant(request.url ?? ''))
    throw new VaultError(
      'not-found',
      `leases are given at the agent’s own socket (POST ${LEASES_PATH}); here they are used, at /s/SERVICE/…`,
    )
}
