/**
 * Which grants are for another workspace of the same owner? Those of the form `research/*`: the workspace as a whole, whichever of its
 * agents asks, because its own vault decides that. The name before the slash is that of the workspace's API token (docs/vault.md).
 */
import { VaultError } from './vault-errors.ts'

/** The key of HUB.yaml that shares a vault. */
export const SHARED_KEY = 'privacy.vault_shared_across_workspaces'

/** As the names of API tokens (src/identity/api-tokens.ts). */
const WORKSPACE = /^[a-z0-9][a-z0-9-]{0,63}$/

const ALL = '/*'

/** Whether a text may be the name of a workspace. */
export function isWorkspaceName(text: string): boolean {
  return WORKSPACE.test(text)
}

/** Under which name a workspace stands in grants, in the audit log and in leases: `research/*`. */
export function workspaceGrant(workspace: string): string {
  return workspace + ALL
}

/** Whether a grant is one for another workspace. */
export function isWorkspaceGrant(grant: string): boolean {
  return grant.endsWith(ALL) && isWorkspaceName(grant.slice(0, -ALL.length))
}

/** A grant as a word of a shell, which would else look for files. */
export function quotedGrant(grant: string): string {
  return isWorkspaceGrant(grant) ? `'${grant}'` : grant
}

/** What is said where sharing is off, as a predicate of the vault. */
export const NOT_SHARED = `is not shared with other workspaces; its owner shares it with ${SHARED_KEY}: true in the HUB.yaml that it is started with (vault --config HUB.yaml)`

/** The refusal of everything at the workspaces' door while sharing is off. */
export function notShared(): VaultError {
  return new VaultError('not-shared', `this vault ${NOT_SHARED}`)
}
