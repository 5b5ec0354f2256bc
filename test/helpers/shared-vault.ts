/**
 * How does a test share a vault? Workspace A has a vault with the credential and a gateway before it; workspace B has a vault whose entry
 * leads to that gateway. All three are real, and B's vault knows no more of A than the address and the token.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { MadeApiToken } from '../../src/identity/api-tokens.ts'
import { startTestGateway, type TestGateway } from './gateway.ts'
import { runBare, temporaryFolder } from './process.ts'
import { startRunningVault, type RunningVault } from './running-vault.ts'

/** Two workspaces of one owner. */
interface SharedVault {
  readonly a: RunningVault
  readonly gateway: TestGateway
  /** The token of workspace B at the gateway of A. */
  readonly made: MadeApiToken
  readonly b: RunningVault
  /** Adds an entry to B that leads to A. */
  readonly addToB: (body?: object) => Promise<void>
}

/** Makes a HUB.yaml. @returns its path */
export function hubFile(t: Test, { id, isShared }: { id: string; isShared: boolean }): string {
  const path = join(temporaryFolder(t), 'HUB.yaml')
  writeFileSync(
    path,
    `vault:\n  id: ${id}\nprivacy:\n  vault_shared_across_workspaces: ${isShared}\n`,
  )
  return path
}

function startHubVault(t: Test, hub: { id: string; isShared: boolean }): Promise<RunningVault> {
  const path = hubFile(t, hub)
  return startRunningVault(t, {}, (env) => runBare(t, ['vault', '--config', path], env))
}

/** Starts both workspaces. A has `github`, granted to research as a whole; B is the workspace research, with the agents coder and ops. */
export async function startShared(
  t: Test,
  origin: string,
  { isShared = true, scopes = ['vault'] }: { isShared?: boolean; scopes?: string[] } = {},
): Promise<SharedVault> {
  const [a, b] = await Promise.all([
    startHubVault(t, { id: 'alice', isShared }),
    startHubVault(t, { id: 'research', isShared: false }),
  ])
  await a.add(origin, isShared ? { grants: ['research/*'] } : {})
  const gateway = await startTestGateway(t, { GATEWAY_VAULT_SOCKETS: a.env['VAULT_SOCKETS'] })
  const { apiTokens } = gateway.running.parts
  const made = apiTokens.create({
    name: 'research',
    subject: 'alice',
    scopes,
    expiresAt: undefined,
  })
  const addToB = (body: object = {}) =>
    b.add(gateway.origin, { kind: 'workspace', value: made.token, ...body })
  return { a, gateway, made, b, addToB }
}
