/** At which path is a service asked? At the agent's; behind the gateway of another workspace, below the address of its vault. */
import { SERVICES } from '../../rules/services.ts'
import { remoteOf, type Policy } from '../policy.ts'
import { SERVICE_PREFIX } from '../protocol.ts'

/** The path of a request to an entry's origin. @param path the agent's, canonical */
export function serviceTarget(policy: Policy, path: string): string {
  const remote = remoteOf(policy)
  return remote === undefined ? path : `${SERVICES.vault.path}${SERVICE_PREFIX}${remote}${path}`
}
