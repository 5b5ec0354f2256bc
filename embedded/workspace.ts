/** What makes a whole workspace on one machine? The gateway, and a stand-in for each service that is not configured. */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { signInPath } from '../src/admin/sign-in-link.ts'
import { loadConfig, type Config, type Environment } from '../src/config/load.ts'
import { SETTINGS } from '../src/config/settings.ts'
import { loadTerminalsConfig } from '../src/config/terminals-settings.ts'
import { ensureSecretFile } from '../src/store/secret-file.ts'
import { ADDRESS_SETTINGS, PROBED_SERVICES, SERVICES } from '../src/rules/services.ts'
import { startGateway, type RunningGateway } from '../src/process/lifecycle.ts'
import { ensureTerminalCredential } from '../src/terminals/terminal-credential.ts'
import { readDaemonLists } from '../src/relay/target/daemon-lists.ts'
import { startAgentApi } from './agent-api.ts'
import { startDaemon } from './daemon.ts'
import { startDashboard } from './dashboard.ts'
import type { NamedService } from './named-services.ts'
import { SOCKET_PATH_BYTES } from './private-folder.ts'
import { runningWorkspace, STATE_FOLDER } from './running-workspace.ts'
import { originOf, SESSION_SECONDS, userName } from './sign-in.ts'
import { startRelayBeside } from './relay-beside.ts'
import { startStatsServer } from './stats-server.ts'
import { shellEnvironment, startTerminal, type RunningTerminal } from './terminal.ts'
import { startTerminalKeeper } from './terminal-keeper.ts'
import { startVaultBeside, type VaultBeside, type VaultOutcome } from './vault-beside.ts'

/** A running workspace. */
export interface Workspace {
  readonly workspace: string
  /** `http://localhost:<port>`; empty when the gateway listens on a Unix socket. */
  readonly origin: string
  /** The link that signs a browser in. It works once, within ten minutes. */
  readonly signInLink: string
  /** The terminal that was started here, or null when the user configured one. */
  readonly terminal: { kind: RunningTerminal['kind']; credential: string } | null
  /** Whether a stand-in of Hubcode's daemon was started here. */
  readonly hasDaemon: boolean
  /** What became of the vault that was started here, or null when the user named one. */
  readonly vault: VaultOutcome | null
  /** Why no relay runs here, for a person; null when it runs, undefined when the user has a link of their own. */
  readonly relayProblem: string | null | undefined
  /** How long the link signs in for. */
  readonly sessionSeconds: number
  /** The folder that keeps the sessions and secrets. */
  readonly stateDir: string
  /** The services that the user configured instead of stand-ins. They may not respond yet. */
  readonly named: readonly NamedService[]
  /** The file to which the gateway writes its log. */
  readonly logFile: string
  /** Stops the gateway, then the stand-ins. */
  readonly close: () => Promise<void>
}

/** The error when an address or the state folder belongs to another program. Its message is complete text for a person. */
export class TakenError extends Error {
  override readonly name = 'TakenError'
}

const FIRST_PORT = 8080
const LAST_PORT = 8179

/**
 * Starts the workspace. If one part fails to start, the parts that already run are stopped.
 *
 * @param env the gateway's settings; missing ones get defaults for local use
 * @param onTrouble called with a message for a person when a stand-in ends unexpectedly
 */
export async function startWorkspace(
  env: Environment,
  onTrouble: (message: string) => void = () => {},
): Promise<Workspace> {
  const settings = withDefaults(env)
  assertUsable(settings)
  const stateDir = settings['GATEWAY_STATE_DIR'] as string
  await assertNotRunning(stateDir)
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  const logFile = join(stateDir, 'gateway.log')
  const secret = secretFor(settings, stateDir)
  const vault = startVaultBeside(settings, onTrouble)
  const relay = startRelayBeside(settings, onTrouble)
  const parts = { settings, vault, onTrouble }
  const standIns = await startStandIns(stateDir, parts).catch(async (error: unknown) => {
    await Promise.all([vault.close(), relay.close()])
    throw error
  })
  try {
    const { gateway, config } = await startOnFreePort(
      { ...settings, ...secret, ...standIns.urls, ...vault.settings, ...relay.settings },
      logFile,
    )
    const origin = originOf(gateway.address.port)
    relay.startLink(origin)
    return {
      workspace: config.workspace,
      origin,
      signInLink: origin + (await signInPathOf(config)),
      sessionSeconds: config.sessionMaxSeconds,
      stateDir,
      terminal: standIns.terminal,
      hasDaemon: standIns.urls['GATEWAY_DAEMON_URL'] !== undefined,
      vault: await vault.outcome,
      relayProblem: await relay.problem,
      named: namedServices(config, settings),
      logFile,
      async close() {
        await gateway.close()
        await Promise.all([standIns.close(), vault.close(), relay.close()])
      },
    }
  } catch (error) {
    await Promise.all([standIns.close(), vault.close(), relay.close()])
    throw error
  }
}

function withDefaults(env: Environment): Environment {
  return {
    GATEWAY_WORKSPACE: 'local',
    GATEWAY_STATE_DIR: resolve(STATE_FOLDER),
    GATEWAY_SESSION_MAX_SECONDS: String(SESSION_SECONDS),
    // A short drain time, because a user who pressed Ctrl+C on their own machine does not want to wait.
    GATEWAY_DRAIN_SECONDS: '1',
    ...(env['GATEWAY_SOCKET'] === undefined ? { GATEWAY_HOST: '127.0.0.1' } : {}),
    ...env,
  }
}

/** Throws for invalid settings, before anything is started or written. */
function assertUsable(settings: Environment): void {
  const missing = 'http://127.0.0.1:1'
  loadConfig({
    ...Object.fromEntries(ADDRESS_SETTINGS.map(({ env }) => [env, missing])),
    ...(isSecretGiven(settings) ? {} : { GATEWAY_JWT_SECRET: newSecret() }),
    ...(isAddressGiven(settings) ? {} : { GATEWAY_PORT: '0' }),
    ...settings,
  })
  loadTerminalsConfig(settings)
  if (settings['GATEWAY_DAEMON_URL'] === undefined) readDaemonLists(settings['HUBCODE_HOME'])
}

function isSecretGiven(settings: Environment): boolean {
  return (
    settings['GATEWAY_JWT_SECRET'] !== undefined ||
    settings['GATEWAY_JWT_SECRET_FILE'] !== undefined
  )
}

function isAddressGiven(settings: Environment): boolean {
  return settings['GATEWAY_PORT'] !== undefined || settings['GATEWAY_SOCKET'] !== undefined
}

/** @throws {TakenError} when a workspace runs with this state folder, which has one owner at a time */
async function assertNotRunning(stateDir: string): Promise<void> {
  const running = await runningWorkspace(stateDir)
  if (running === undefined) return
  const at = running.origin === '' ? '' : ` at ${running.origin}`
  throw new TakenError(
    `A workspace runs with ${stateDir} already${at} (process ${running.pid}). "npm run sign-in-link" makes a sign-in link for it.\nTo start another workspace, give it a folder of its own: GATEWAY_STATE_DIR=.workspace-2 npm start`,
  )
}

/** The setting of the secret that signs tokens: its file, which is made if necessary, unless the user set a secret. */
function secretFor(settings: Environment, stateDir: string): Environment {
  if (isSecretGiven(settings)) return {}
  const file = join(stateDir, 'jwt-secret')
  ensureSecretFile(file, newSecret)
  return { GATEWAY_JWT_SECRET_FILE: file }
}

function newSecret(): string {
  return randomBytes(48).toString('base64url')
}

interface StandIns {
  urls: Record<string, string>
  terminal: Workspace['terminal']
  close: () => Promise<void>
}

interface StandInParts {
  readonly settings: Environment
  readonly vault: VaultBeside
  readonly onTrouble: (message: string) => void
}

async function startStandIns(
  stateDir: string,
  { settings, vault, onTrouble }: StandInParts,
): Promise<StandIns> {
  const started: (() => Promise<void>)[] = []
  const urls: Record<string, string> = {}
  let terminal: Workspace['terminal'] = null
  const refuseForwarded = settings['GATEWAY_OPENCLAW_MODE'] !== 'trusted-proxy'
  const services = {
    GATEWAY_DASHBOARD_URL: startDashboard,
    GATEWAY_API_URL: () => startAgentApi({ refuseForwarded, askThroughVault: vault.ask }),
    GATEWAY_HEALTH_URL: startStatsServer,
    GATEWAY_DAEMON_URL: () => startDaemon(daemonOptions(stateDir, settings)),
    async GATEWAY_TERMINAL_URL() {
      const { secret: credential } = await ensureTerminalCredential(stateDir)
      // A command of the vault finds its socket there, so that it works in a shell as it is.
      const env = { ...shellEnvironment(process.env), VAULT_SOCKETS: vault.doors }
      const running = await startTerminal({ credential, env, onUnexpectedExit: onTrouble })
      started.push(running.close)
      terminal = { kind: running.kind, credential }
      return await startTerminalKeeper({
        terminal: running.url,
        env: keeperEnvironment(settings),
        logFile: join(stateDir, 'terminals.log'),
        onUnexpectedExit: onTrouble,
      })
    },
  }
  const close = async () => {
    // The last that was started ends first: the keeper of terminals before the terminal.
    for (const end of started.toReversed()) await end()
  }
  try {
    for (const [name, start] of Object.entries(services)) {
      if (settings[name] !== undefined) continue
      const running = await start()
      urls[name] = running.url
      started.push(running.close)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { urls, terminal, close }
}

/** The lists of the stand-in of Hubcode's daemon, from the user's own folder of Hubcode if there is one, and its socket file. */
function daemonOptions(stateDir: string, { HUBCODE_HOME: home }: Environment) {
  const socket = join(stateDir, 'daemon.sock')
  return {
    lists: readDaemonLists(home ?? join(stateDir, 'hubcode')),
    socket: Buffer.byteLength(socket) > SOCKET_PATH_BYTES ? undefined : socket,
  }
}

/** The environment of the keeper of terminals: its own settings, and nothing of the gateway's, which include secrets. */
function keeperEnvironment(settings: Environment): Environment {
  return Object.fromEntries(
    Object.entries(settings).filter(
      ([name]) => !/^(?:GATEWAY_|LIMITS_|LINK_|RELAY_|VAULT_|npm_)/.test(name),
    ),
  )
}

interface Started {
  gateway: RunningGateway
  config: Config
}

/** Starts the gateway on the configured address, or else on the first free port from 8080 on. */
async function startOnFreePort(settings: Environment, logDestination: string): Promise<Started> {
  const start = async (more: Environment): Promise<Started> => {
    const config = loadConfig({ ...settings, ...more })
    return { config, gateway: await startGateway(config, { logDestination }) }
  }
  if (isAddressGiven(settings)) {
    return await start({}).catch((error: NodeJS.ErrnoException) => {
      throw addressError(settings, error) ?? error
    })
  }
  const services = Object.entries(settings).filter(([name]) => name.endsWith('_URL'))
  const ports = new Set(services.map(([, url]) => Number(/:(\d+)/.exec(url ?? '')?.[1])))
  for (let port = FIRST_PORT; port <= LAST_PORT; port += 1) {
    // Skip the ports of configured services, which may start later.
    if (ports.has(port)) continue
    const started = await start({ GATEWAY_PORT: String(port) }).catch(whenTaken(() => null))
    if (started !== null) return started
  }
  throw new TakenError(
    `All ports from ${FIRST_PORT} to ${LAST_PORT} are taken. Name another with --port.`,
  )
}

/** The error with the reason why the gateway cannot listen on the configured address; undefined for any other failure. */
function addressError(settings: Environment, { code }: NodeJS.ErrnoException) {
  const { GATEWAY_SOCKET: socket, GATEWAY_PORT: port, GATEWAY_HOST: host } = settings
  const address = socket ?? `Port ${port}`
  const advice = socket === undefined ? ' Without --port and GATEWAY_PORT a free one is taken.' : ''
  if (code === 'EADDRINUSE')
    return new TakenError(`${address} is taken by another program.${advice}`)
  if (code === 'EACCES' || code === 'EPERM')
    return new TakenError(`You have no right to listen on ${socket ?? `port ${port}`}.${advice}`)
  if (code === 'EADDRNOTAVAIL')
    return new TakenError(`GATEWAY_HOST ${host} is no address of this machine.`)
  return undefined
}

/** Makes a catch handler for an address that is already in use. It rethrows every other error. */
function whenTaken<T>(then: () => T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code !== 'EADDRINUSE') throw error
    return then()
  }
}

/** The services whose addresses the person has named. */
function namedServices(config: Config, settings: Environment): NamedService[] {
  const services = PROBED_SERVICES.map((name) => SERVICES[name])
    .filter(({ address }) => settings[address.env] !== undefined)
    .map(({ words, address }) => ({
      name: words.replace(/^The | \(.*\)$/g, ''), // 'The agent (OpenClaw)' is the agent
      setting: address.env,
      address: config[address.key],
    }))
  const { GATEWAY_DAEMON_URL: named } = settings
  if (named !== undefined && config.daemonUrl !== undefined)
    return [
      ...services,
      { name: 'daemon', setting: SETTINGS.daemonUrl.env, address: config.daemonUrl },
    ]
  return services
}

async function signInPathOf({ jwtSecret, workspace, jwtIssuer, sessionMaxSeconds }: Config) {
  return await signInPath(userName(), {
    ...{ secret: jwtSecret, workspace, sessionMaxSeconds },
    issuer: jwtIssuer,
  })
}
