/** Which vault is it? The one whose id HUB.yaml says, or the only one of its machine when no file was named. */
import { readFileSync } from 'node:fs'
import { codeOf } from '../../answers/errors.ts'
import { ConfigError } from '../../config/load.ts'
import { DEFAULT_VAULT_ID } from '../../vault/protocol.ts'

/** The option that names the file, of every command that opens the sealed file itself. */
export const HUB_OPTIONS = { config: { type: 'string' } } as const

/**
 * The id that the sealed file is bound to.
 * @param path of HUB.yaml
 * @throws {ConfigError} with every problem of the file
 */
export async function vaultIdOf(path: string | undefined): Promise<string> {
  if (path === undefined) return DEFAULT_VAULT_ID
  // Loaded late, because the parser is large and most vaults have no such file.
  const { readHubYaml } = await import('../../vault/hub-yaml.ts')
  const { vaultId, sharedAcrossWorkspaces } = readHubYaml(contentOf(path), path)
  if (sharedAcrossWorkspaces)
    throw new ConfigError([
      `${path}: privacy.vault_shared_across_workspaces is true, and this release keeps every vault to its own workspace; set it to false`,
    ])
  return vaultId
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfigError([`--config ${path} cannot be read (${codeOf(error)})`])
  }
}
