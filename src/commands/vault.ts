/** `workspace-gateway vault`: run the vault of credentials, ask it as its owner, or use it as an agent. */
import { parseArgs } from 'node:util'
import { nearestName } from '../config/nearest.ts'
import { loadVaultConfig } from '../config/vault-settings.ts'
import type { Io } from './io.ts'
import { exitCodeOf, wrongUsage } from './owner.ts'
import type { Input, VaultContext } from './vault/context.ts'
import { HUB_OPTIONS, hubOf } from './vault/hub.ts'
import { add, grant, list, remove, resume, revoke, rotate, show } from './vault/entries.ts'

type Verb = (context: VaultContext) => Promise<void>

/** The commands that need neither file nor key. */
const VERBS: Readonly<Record<string, Verb>> = {
  ...{ add, grant, list, remove, resume, revoke, rotate, show },
  lease: async (context) => (await import('./vault/lease.ts')).lease(context),
  check: async (context) => (await import('./vault/files.ts')).check(context),
  backup: async (context) => (await import('./vault/files.ts')).backup(context),
  restore: async (context) => (await import('./vault/files.ts')).restore(context),
  rekey: async (context) => (await import('./vault/files.ts')).rekey(context),
  audit: async (context) => (await import('./vault/files.ts')).audit(context),
}

/** What a test may replace. */
export interface VaultCommandOptions {
  readonly input?: Input
}

/**
 * Runs the vault, or one of its commands.
 * @param env The vault itself removes everything from it but a fixed list, once it has started.
 * @returns undefined while the vault runs; else 0; 1 when the vault refused; 64 for wrong usage; 69 when it cannot be asked; 78 for
 * an invalid setting or a file that is not sound; the program's exit code for `exec`
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments; {ConfigError} and others from the vault's start
 */
export async function vault(
  args: readonly string[],
  env: Record<string, string | undefined>,
  io: Io,
  { input = process.stdin }: VaultCommandOptions = {},
): Promise<number | undefined> {
  const [name, ...rest] = args
  if (name === undefined || name.startsWith('--')) return start(args, env)
  if (name === 'exec') return (await import('./vault/exec.ts')).exec(rest, env, io)
  return exitCodeOf(io, async () => {
    const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined
    if (verb === undefined) {
      const nearest = nearestName(name, [...Object.keys(VERBS), 'exec'], 2)
      const meant = nearest === undefined ? '' : `did you mean "vault ${nearest}"? `
      throw wrongUsage(
        'vault',
        `${meant}vault takes one of ${[...Object.keys(VERBS), 'exec'].toSorted().join(', ')}; or nothing, to run it`,
      )
    }
    await verb({ args: rest, env, io, input })
  })
}

async function start(
  args: readonly string[],
  env: Record<string, string | undefined>,
): Promise<undefined> {
  const { values } = parseArgs({ args: [...args], options: HUB_OPTIONS })
  const hub = await hubOf(values.config)
  const loaded = loadVaultConfig(env)
  const { runVault } = await import('../process/run-vault.ts')
  await runVault({ ...loaded, ...hub }, env)
}
