/**
 * What may another workspace of the owner ask? A service that was granted to it as a whole, and nothing else: no lease, no entry. Its
 * requests come through the gateway, which alone can open the socket and has checked the workspace's API token.
 */
import type { IncomingMessage, Server } from 'node:http'
import type { Logger } from 'pino'
import { fieldLines } from '../../http/fields.ts'
import { TOKEN_NAME_FIELD } from '../../http/vault-fields.ts'
import type { Denials } from '../denials.ts'
import { VaultError } from '../vault-errors.ts'
import { isWorkspaceName, notShared, workspaceGrant } from '../workspace-grants.ts'
import { makeDoorServer, refusalOf, refuseFields, sendProblem } from './server-shared.ts'
import { Uses } from './uses.ts'

/** What the workspaces' door needs. */
export interface WorkspacesDoorParts {
  readonly uses: Uses
  readonly denials: Denials
  readonly logger: Logger
  /** Whether HUB.yaml shares the vault. While it does not, everything is refused here. */
  readonly isShared: boolean
  /** Connections that may be open at once. */
  readonly maxConnections: number
}

/** Makes the server of the workspaces' door. An offer to upgrade is ignored, because the gateway passes none on. */
export function makeWorkspacesDoor({
  uses,
  denials,
  logger,
  isShared,
  maxConnections,
}: WorkspacesDoorParts): Server {
  return makeDoorServer(
    {
      request: async (request, response) => {
        let agent: string | undefined
        try {
          refuseFields(request)
          agent = workspaceGrant(workspaceOf(request))
          if (!isShared) throw notShared()
          if (!Uses.isMeant(request.url ?? ''))
            throw new VaultError('not-found', 'a service is used at /s/SERVICE/…')
          await uses.serveWorkspace(agent, request, response)
        } catch (error) {
          const refusal = refusalOf(error, logger)
          if (refusal.code !== 'internal-error')
            denials.note({ agent, method: request.method, reason: refusal.code })
          sendProblem(request, response, refusal)
        }
      },
    },
    { logger, maxConnections },
  )
}

/** The workspace that the gateway names. @throws {VaultError} */
function workspaceOf({ rawHeaders }: IncomingMessage): string {
  const [name = '', ...more] = fieldLines(rawHeaders, TOKEN_NAME_FIELD.toLowerCase())
  if (more.length > 0 || !isWorkspaceName(name))
    throw new VaultError('bad-request', 'this door is for the gateway, which names the workspace')
  return name
}
