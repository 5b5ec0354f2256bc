/** How does the vault live? It opens the owner's door, the audit log and the file, then the agents' doors, and goes on until it is told to stop. */
import { X509Certificate } from 'node:crypto'
import { realpathSync } from 'node:fs'
import type { Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import { VERSION } from '../answers/version.ts'
import { ConfigError } from '../config/load.ts'
import type { LoadedVault, VaultConfig } from '../config/vault-settings.ts'
import { openLog } from '../observe/log.ts'
import { readWholeFile } from '../store/whole-file.ts'
import { backup } from '../vault/at-rest/backup.ts'
import { VaultFileError } from '../vault/at-rest/file-errors.ts'
import { Accesses } from '../vault/audit/accesses.ts'
import { AuditLog } from '../vault/audit/audit-log.ts'
import { clientEnvironment } from '../vault/client-environment.ts'
import { Denials } from '../vault/denials.ts'
import {
  openDoors,
  openOwnerDoor,
  type OpenDoors,
  type OpenOwnerDoor,
} from '../vault/doors/open-doors.ts'
import { Forwarder } from '../vault/forward/forwarder.ts'
import { Reflections } from '../vault/forward/reflections.ts'
import { presetOf } from '../vault/presets.ts'
import { auditPathOf, ownerSocket } from '../vault/protocol.ts'
import type { HubConfig } from '../vault/hub-yaml.ts'
import { selfCheck } from '../vault/self-check.ts'
import { Vault } from '../vault/vault.ts'
import { endProcess, onStopSignals } from './ending.ts'
import { EXIT } from './exit-codes.ts'
import { AlreadyRunningError } from './pid-file.ts'

/** How long stopping may take (ms). */
const STOP_MS = 3000

/** How often versions whose time is over are dropped, and old leases forgotten (ms). */
const TICK_MS = 30_000

const DAY_MS = 86_400_000

/** The only variables that stay in the environment: what Node and the C library read, and no secret of anybody. */
const KEPT_VARIABLES: ReadonlySet<string> = new Set([
  'PATH',
  'HOME',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
])

/**
 * Runs the vault until a signal stops it.
 * @param env the process's environment, which is emptied but for a fixed list
 * @throws {AlreadyRunningError} when another vault has the owner's door
 * @throws {ConfigError} when a folder, the file or the key cannot be used
 */
export async function runVault(
  { config, warnings, ...hub }: LoadedVault & HubConfig,
  env: Record<string, string | undefined>,
): Promise<void> {
  emptyEnvironment(env)
  const log = openLog(config.logLevel)
  const { logger } = log
  for (const warning of warnings) logger.warn(warning)
  const survive = (error: unknown): void => {
    logger.fatal({ err: error }, 'fault of the vault, which goes on')
  }
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  const running = await startVault(config, hub, logger).catch(async (error: unknown) => {
    await log.flush() // so that the reason comes last, where a supervisor looks for it
    throw describeStartFailure(config, error)
  })
  // They mean something to the gateway, whose process has the same name.
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => logger.warn(`nothing to be done on ${signal} for the vault`))
  onStopSignals({
    first() {
      setTimeout(() => endProcess(EXIT.failed), STOP_MS).unref()
      void running
        .close()
        .then(() => log.flush())
        .then(() => endProcess(EXIT.ok))
    },
    second: () => endProcess(EXIT.failed),
  })
  // Last, because whoever reads this line may send a signal at once.
  const { port } = running
  const agents = config.agents.map(({ name }) => name)
  logger.info({ sockets: config.sockets, agents, port, pid: process.pid }, 'keeping the vault')
}

/** Removes everything from an environment but what Node and the C library read. */
export function emptyEnvironment(env: Record<string, string | undefined>): void {
  for (const name of Object.keys(env)) if (!KEPT_VARIABLES.has(name)) delete env[name]
}

interface RunningVault {
  readonly port: number | undefined
  close(): Promise<void>
}

/** The owner's door comes first: of two vaults that start at once one cannot open it, and never reads the file. */
async function startVault(
  config: VaultConfig,
  hub: HubConfig,
  logger: Logger,
): Promise<RunningVault> {
  const extraCa = extraCaOf(config)
  const owner = await openOwnerDoor(config.sockets, logger)
  try {
    return await startWith(config, { owner, logger, extraCa, hub })
  } catch (error) {
    await owner.close()
    throw error
  }
}

async function startWith(
  config: VaultConfig,
  {
    owner,
    logger,
    extraCa,
    hub: { vaultId, sharedAcrossWorkspaces: isShared },
  }: {
    readonly owner: OpenOwnerDoor
    readonly logger: Logger
    readonly extraCa: string | undefined
    readonly hub: HubConfig
  },
): Promise<RunningVault> {
  const audit = AuditLog.open(auditPathOf(config.stateDir), {
    onNotRotated: (error) =>
      logger.warn({ err: error }, 'the audit log is long and could not be moved away; it goes on'),
  })
  const { file, masterKey } = config
  const vault = Vault.open({
    ...{ file, masterKey, vaultId, audit },
    onListenerError: (error) => logger.error({ err: error }, 'fault after a change'),
  })
  masterKey.fill(0)
  audit.write({ op: 'start', reason: 'running' })
  anchor(audit, logger)
  const accesses = new Accesses(audit, audit.recent(Infinity))
  const reflections = new Reflections({
    suspend: (entry) => suspend(vault, entry.policy.service, logger),
  })
  const denials = new Denials({ audit: accesses.audit, logger })
  const forwarding = new Forwarder({
    ...{ audit: accesses.audit, logger, denials },
    ...(extraCa === undefined ? {} : { extraCa }),
    onReflected: (entry) => reflections.note(entry),
    // A service that was sent the credential of one entry may show it to whoever uses another one.
    versionsOf: ({ id, policy, versions }) => {
      const others = vault.entries().filter((other) => other.policy.origin === policy.origin)
      return [...versions, ...others.flatMap((other) => (other.id === id ? [] : other.versions))]
    },
  })
  vault.onChange((before) => forwarding.follow(before))
  const startedAt = new Date().toISOString()
  const doors: OpenDoors = await openDoors(owner, {
    ...{ config, entries: vault, audit: accesses.audit, forwarding, denials, logger, presetOf },
    isShared,
    environmentOf: (leased) => clientEnvironment([leased]),
    recent: (limit) => audit.recent(limit),
    accesses: () => accesses.list(),
    backup: () => backup(file),
    status: () => ({
      ...{ version: VERSION, pid: process.pid, started_at: startedAt, file },
      entries: vault.entries().length,
      agents: config.agents.map(({ name }) => name),
      port: doors.port ?? null,
      audit: { row: audit.last.number, hash: audit.last.hash },
      self_check: selfCheck(config),
    }),
  })
  const timers = [
    setInterval(() => tick(vault, doors, logger), TICK_MS),
    setInterval(() => anchor(audit, logger), DAY_MS),
  ]
  return {
    port: doors.port,
    async close() {
      for (const timer of timers) clearInterval(timer)
      await doors.close()
      await forwarding.close() // before the audit log, because uses that were cut have a last row
      denials.settle(true) // again: some of those uses may have had no row yet
      vault.close()
      audit.close()
    },
  }
}

/** The hash of the last row, in a log of its own: whoever writes the whole audit log anew is found by it. */
function anchor(audit: AuditLog, logger: Logger): void {
  const { number, hash } = audit.last
  logger.info({ row: number, hash }, 'anchor of the audit log')
}

function tick(vault: Vault, doors: OpenDoors, logger: Logger): void {
  try {
    doors.tick()
    vault.dropExpiredVersions()
  } catch (error) {
    logger.error({ err: error }, 'versions whose time is over could not be dropped')
  }
}

function suspend(vault: Vault, service: string, logger: Logger): void {
  logger.error({ service }, 'an entry is suspended, because its service repeats the credential')
  try {
    vault.change({ op: 'suspend', service }, (entry) =>
      entry === undefined || entry.policy.suspended
        ? entry
        : { ...entry, policy: { ...entry.policy, suspended: true } },
    )
  } catch (error) {
    logger.error({ err: error, service }, 'the suspension could not be saved')
  }
}

function extraCaOf({ extraCaFile }: VaultConfig): string | undefined {
  if (extraCaFile === undefined) return undefined
  let text: string
  try {
    text = readWholeFile(realpathSync(extraCaFile), MAX_CA_BYTES)
  } catch (error) {
    throw new ConfigError([
      `VAULT_EXTRA_CA_FILE "${extraCaFile}" cannot be read (${codeOf(error) || (error as Error).message}); it takes the path of a PEM file`,
    ])
  }
  // Node would take a file without a certificate, and then trust no more than before.
  if (!areCertificates(text.match(PEM) ?? []))
    throw new ConfigError([
      `VAULT_EXTRA_CA_FILE "${extraCaFile}" has no certificate, or one that is damaged; it takes a file with PEM certificates (-----BEGIN CERTIFICATE-----)`,
    ])
  return text
}

/** A longer file is no list of certificates (bytes). */
const MAX_CA_BYTES = 16 * 1024 * 1024

const PEM = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g

function areCertificates(texts: readonly string[]): boolean {
  try {
    return texts.map((text) => new X509Certificate(text)).length > 0
  } catch {
    return false
  }
}

/** Says why the vault cannot start, and which setting is meant. */
function describeStartFailure({ sockets, port }: VaultConfig, error: unknown): unknown {
  if (error instanceof VaultFileError) return new ConfigError([error.message])
  const code = codeOf(error)
  if (code === '' || !(error instanceof Error)) return error
  const isPort = 'address' in error && error.address === '127.0.0.1'
  if (code === 'EADDRINUSE')
    return new AlreadyRunningError(
      isPort
        ? `VAULT_PORT ${port} is taken by another process`
        : `VAULT_SOCKETS "${sockets}" is in use: another vault listens on ${ownerSocket(sockets)} or an agent's socket, or one of them is a file of another kind`,
    )
  return new ConfigError([
    isPort
      ? `VAULT_PORT ${port} cannot be used (${code})`
      : `VAULT_SOCKETS "${sockets}" cannot be used (${code}); it takes a folder that this user may write to`,
  ])
}
