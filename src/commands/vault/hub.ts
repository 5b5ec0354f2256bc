/** Which vault is it? The one whose id HUB.yaml says, or the only one of its machine when no file was named. */
import { readFileSync } from 'node:fs'
import { codeOf } from '../../answers/errors.ts'
import { ConfigError } from '../../config/load.ts'
import type { HubConfig } from '../../vault/hub-yaml.ts'
import { DEFAULT_VAULT_ID } from '../../vault/protocol.ts'

/** The option that names the file, of every command that opens the sealed file itself. */
export const HUB_OPTIONS = { config: { type: 'string' } } as const

/**
 * The id that the sealed file is bound to, and whether other workspaces may use the vault: not without the file.
 * @param path of HUB.yaml
 * @throws {ConfigError} with every problem of the file
 */
export async function hubOf(path: string | undefined): Promise<HubConfig> {
  if (path === undefined) return { vaultId: DEFAULT_VAULT_ID, sharedAcrossWorkspaces: false }
  // Loaded late, because the parser is large and most vaults have no such file.
  const { readHubYaml } = await import('../../vault/hub-yaml.ts')
  return readHubYaml(contentOf(path), path)
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError([`--config ${path} cannot be read (${codeOf(error)})`])
  }
}
