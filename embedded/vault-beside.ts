/** Which vault does a workspace have? The user's own if they named it, else one that is started here, beside everything else. */
import { dirname, join } from 'node:path'
import type { Environment } from '../src/config/load.ts'
import { nearestVaultVariable } from '../src/config/vault-settings.ts'
import { parseDoorsFolder } from '../src/config/values.ts'
import { askThroughVault } from './vault-agent.ts'
import { vaultPlace } from './vault-place.ts'
import { startVault } from './vault.ts'

/** What became of the vault that was started here. */
export interface VaultOutcome {
  /** Why it does not run, for a person; null when it runs. */
  readonly problem: string | null
  /** The settings of another vault in the user's environment, which this one does not use. */
  readonly unused: readonly string[]
}

/** The vault of a workspace. */
export interface VaultBeside {
  /** The folder of its doors. */
  readonly doors: string
  /** What the gateway is told. */
  readonly settings: Environment
  /** Resolves when it runs, or is known not to, with null for the user's own. Never rejects. */
  readonly outcome: Promise<VaultOutcome | null>
  /** Uses its entry as the agent; undefined when it is the user's own, whose entries are not for trying. */
  readonly ask: (() => Promise<boolean>) | undefined
  readonly close: () => Promise<void>
}

/**
 * Starts the vault without waiting for it, because it takes as long as the whole rest and nothing of that needs it.
 * @param settings the workspace's, with its state folder
 * @param onUnexpectedExit called with a message for a person
 */
export function startVaultBeside(
  settings: Environment,
  onUnexpectedExit: (message: string) => void,
): VaultBeside {
  const named = settings['GATEWAY_VAULT_SOCKETS']
  const close = async (): Promise<void> => {}
  if (named !== undefined)
    return { doors: named, settings: {}, outcome: Promise.resolve(null), ask: undefined, close }
  const place = vaultPlace(settings)
  const { doors } = place
  // Only the names of settings: others that begin like them are of other programs.
  const unused = Object.keys(settings)
    .filter((name) => nearestVaultVariable(name) === name)
    .toSorted()
  const unfit = problemOf(doors)
  if (unfit !== undefined) {
    const outcome = Promise.resolve({ problem: unfit, unused })
    return { doors, settings: {}, outcome, ask: undefined, close }
  }
  const logFile = join(dirname(doors), 'vault.log')
  const running = startVault({ place, logFile, onUnexpectedExit }).then(
    (end) => ({ end, problem: null }),
    (error: Error) => ({ end: close, problem: error.message }),
  )
  return {
    doors,
    settings: { GATEWAY_VAULT_SOCKETS: doors },
    outcome: running.then(({ problem }) => ({ problem, unused })),
    ask: () => askThroughVault(doors),
    close: async () => await (await running).end(),
  }
}

/** What is wrong with the folder of the doors; undefined when its sockets have room. */
function problemOf(doors: string): string | undefined {
  try {
    parseDoorsFolder(doors)
    return undefined
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    return `${doors} ${what}. A shorter GATEWAY_STATE_DIR makes the path shorter.`
  }
}
