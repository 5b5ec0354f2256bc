/**
 * What in a configuration is valid but risky? One line of advice for each such setting. File modes are checked; no connection
 * is opened.
 */
import { statSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { dirname } from 'node:path'
import { networkInterfaces } from 'node:os'
import { ConfigError, SECRET_VARIABLES, type Config, type Environment } from '../config/load.ts'
import { configWarnings } from '../config/rules.ts'
import { isLoopbackHost, parseAuthority } from '../rules/host.ts'
import { ADDRESS_SETTINGS } from '../rules/services.ts'
import { LINK_SETTINGS, loadLinkConfig } from '../config/link-settings.ts'
import {
  LIMITS_PREFIX,
  LIMITS_SECRETS,
  LIMITS_SETTINGS,
  loadLimitsConfig,
} from '../config/limits-settings.ts'
import { readLimitPolicies } from '../config/limit-policy-file.ts'
import { loadRelayConfig, RELAY_PREFIX } from '../config/relay-settings.ts'
import { ownerSocket } from '../vault/protocol.ts'

/** The maximum of GATEWAY_JWT_LEEWAY_SECONDS. */
const MAX_LEEWAY_SECONDS = 120

const READABLE_BY_EVERYBODY = 0o004
const WRITABLE_BY_OTHERS = 0o022
const OPEN_TO_EVERYBODY = 0o007
const OPEN_TO_OTHERS = 0o077

/** Returns the advice, one line for each finding. The lines contain no secret. */
export async function configAdvice(config: Config, env: Environment): Promise<string[]> {
  return [
    ...configWarnings(config),
    ...proxyAdvice(config),
    ...serviceAdvice(config),
    ...secretAdvice(config, env),
    ...stateAdvice(config),
    ...vaultAdvice(config),
    ...linkAdvice(config, env),
    ...startAdvice(env),
    ...(await limitsAdvice(env)),
    ...clearTextAdvice(config),
  ]
}

function proxyAdvice({ socket, host, trustedProxies }: Config): string[] {
  if (socket !== undefined || trustedProxies.length > 0 || isLoopback(host)) return []
  return [
    `GATEWAY_TRUSTED_PROXIES is none while GATEWAY_HOST ${host} is open to others: behind a proxy everybody has the proxy's address and spends its one budget`,
  ]
}

function serviceAdvice(config: Config): string[] {
  const ours = new Set(
    Object.values(networkInterfaces()).flatMap((list = []) =>
      list.filter(({ internal }) => !internal).map(({ address }) => address),
    ),
  )
  const { daemonUrl } = config
  const services = ADDRESS_SETTINGS.map(({ env: name, key }) => ({ name, address: config[key] }))
  if (daemonUrl !== undefined) services.push({ name: 'GATEWAY_DAEMON_URL', address: daemonUrl })
  return services.flatMap(({ name, address: { url, hostname } }) => {
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    if (host === '0.0.0.0' || host === '::')
      return [`${name} ${url} names every address of this machine; say 127.0.0.1`]
    if (!ours.has(host)) return []
    return [
      `${name} ${url} is bound beyond loopback: whoever reaches that address gets past the gateway; bind the service to 127.0.0.1`,
    ]
  })
}

function secretAdvice({ jwtPreviousSecrets, jwtLeewaySeconds }: Config, env: Environment) {
  const advice = SECRET_VARIABLES.flatMap((name) => secretFileAdvice(`${name}_FILE`, env))
  if (jwtPreviousSecrets.length > 0) {
    advice.push(
      `GATEWAY_JWT_PREVIOUS_SECRETS still keeps ${count(jwtPreviousSecrets.length, 'secret')}: tokens signed with it open the door; unset it once the last of them has expired`,
    )
  }
  if (jwtLeewaySeconds === MAX_LEEWAY_SECONDS) {
    advice.push(
      `GATEWAY_JWT_LEEWAY_SECONDS is ${MAX_LEEWAY_SECONDS}, the maximum: expired tokens live two minutes longer; set the clocks right instead`,
    )
  }
  return advice
}

/** Whether others can read or write the file of a secret. */
function secretFileAdvice(variable: string, env: Environment): string[] {
  const mode = modeOf(env[variable])
  if (mode === undefined) return []
  const who =
    mode & READABLE_BY_EVERYBODY
      ? 'can be read by every user of this machine'
      : mode & WRITABLE_BY_OTHERS
        ? 'can be written by others'
        : undefined
  return who === undefined
    ? []
    : [`${variable} names a file that ${who} (mode ${octal(mode)}); chmod 600 it`]
}

function stateAdvice({ stateDir }: Config): string[] {
  const mode = modeOf(stateDir)
  if (mode === undefined || (mode & OPEN_TO_OTHERS) === 0) return []
  return [
    `GATEWAY_STATE_DIR ${stateDir} is open to other users (mode ${octal(mode)}); chmod 700 it`,
  ]
}

function vaultAdvice({ vaultSockets, owners }: Config): string[] {
  if (vaultSockets === undefined) return []
  const advice: string[] = []
  if (owners.length === 0)
    advice.push(
      `GATEWAY_OWNERS is not set while GATEWAY_VAULT_SOCKETS ${vaultSockets} is: everybody who can sign in may let agents use the vault's credentials; name the owners`,
    )
  const folder = dirname(ownerSocket(vaultSockets))
  const mode = modeOf(folder)
  if (mode !== undefined && (mode & OPEN_TO_EVERYBODY) !== 0)
    advice.push(
      `GATEWAY_VAULT_SOCKETS: ${folder} is open to every user of this machine (mode ${octal(mode)}), and whoever opens the socket in it is the owner of the vault; chmod o= it`,
    )
  return advice
}

/** Settings of the link that contradict the gateway's, where one environment has both, and what lets strangers in. */
function linkAdvice({ linkSocket, linkOwnerSocket, owners }: Config, env: Environment): string[] {
  const { target, ownerSocket: owner, autoApprove } = LINK_SETTINGS
  const advice: string[] = []
  if (linkSocket !== undefined && linkOwnerSocket === undefined)
    advice.push(
      `GATEWAY_LINK_OWNER_SOCKET is not set while GATEWAY_LINK_SOCKET ${linkSocket} is: devices come in, and no page shows them; set it to the link's ${owner.env}`,
    )
  if (owners.length === 0 && (linkSocket ?? linkOwnerSocket) !== undefined)
    advice.push(
      'GATEWAY_OWNERS is not set while there is a link: everybody who can sign in may let devices in; name the owners',
    )
  if (linkSocket !== undefined && env[target.env] !== undefined)
    advice.push(
      `${target.env} is set while GATEWAY_LINK_SOCKET ${linkSocket} is: the link hands devices to that service, and none comes to the gateway; unset one of them`,
    )
  const own = env[owner.env]
  if (own !== undefined && linkOwnerSocket !== undefined && own !== linkOwnerSocket)
    advice.push(
      `${owner.env} ${own} and GATEWAY_LINK_OWNER_SOCKET ${linkOwnerSocket} differ: the gateway asks where no link answers; give both the same path`,
    )
  if (env[autoApprove.env] === 'true')
    advice.push(
      `${autoApprove.env} is true: whoever opens a pairing link first is in, also when that is not who it was made for; unset it, and approve devices, or use "pair --approved" for one`,
    )
  return advice
}

/** Why the link and the relay would not start with this environment, where it has their settings. */
function startAdvice(env: Environment): string[] {
  const hasRelay = Object.keys(env).some((name) => name.startsWith(RELAY_PREFIX))
  return [
    ...(env[LINK_SETTINGS.relayUrl.env] === undefined
      ? []
      : refusals('link', () => loadLinkConfig(env))),
    ...(hasRelay ? refusals('relay', () => loadRelayConfig(env)) : []),
  ]
}

function refusals(command: string, load: () => unknown): string[] {
  try {
    load()
    return []
  } catch (error) {
    return refusalsIn(command, error)
  }
}

function refusalsIn(command: string, error: unknown): string[] {
  if (!(error instanceof ConfigError)) throw error
  return error.problems.map(
    (problem) => `"workspace-gateway ${command}" would not start: ${problem}`,
  )
}

/**
 * Why the limits service would not start with this environment, where it has its settings, and what is unwise in them. The policy file
 * is read too.
 */
async function limitsAdvice(env: Environment): Promise<string[]> {
  if (!Object.keys(env).some((name) => name.startsWith(LIMITS_PREFIX))) return []
  const advice = LIMITS_SECRETS.flatMap((name) => secretFileAdvice(`${name}_FILE`, env))
  const { env: policyFile } = LIMITS_SETTINGS.policyFile
  const mode = modeOf(env[policyFile])
  if (mode !== undefined && (mode & WRITABLE_BY_OTHERS) !== 0)
    advice.push(
      `${policyFile} names a file that can be written by others (mode ${octal(mode)}), who set the limits then; chmod go-w it`,
    )
  try {
    const config = loadLimitsConfig(env)
    await readLimitPolicies(config.policyFile)
    if (config.tokens !== undefined && !isLoopback(config.host))
      advice.push(
        `LIMITS_HOST ${config.host} is beyond loopback, and the service speaks HTTP without TLS: whoever is on the way reads the token, and can then take and give back for everybody; use a network that encrypts, or put TLS in front`,
      )
  } catch (error) {
    advice.push(...refusalsIn('limits', error))
  }
  return advice
}

function clearTextAdvice({ loginUrl, stepUpUrl, allowedOrigins }: Config): string[] {
  const advice: string[] = []
  for (const [name, url] of [
    ['GATEWAY_LOGIN_URL', loginUrl],
    ['GATEWAY_STEP_UP_URL', stepUpUrl],
  ] as const) {
    if (url === undefined || !isClearText(url)) continue
    advice.push(
      `${name} ${url} is plain http: whoever is on the way can read and change the sign-in; use https`,
    )
  }
  for (const origin of allowedOrigins.filter(isClearText)) {
    advice.push(
      `GATEWAY_ALLOWED_ORIGINS has ${origin}, plain http: whoever is on the way can write that page, which may act here; use https`,
    )
  }
  return advice
}

function isClearText(url: string): boolean {
  const host = /^http:\/\/([^/?#]*)/.exec(url)?.[1]
  return host !== undefined && !isLoopback(host)
}

/** Whether a host is this machine. It may have a port, and an IPv6 address may have brackets. */
export function isLoopback(host: string): boolean {
  const authority = parseAuthority(isIPv6(host) ? `[${host}]` : host)
  return authority !== undefined && isLoopbackHost(authority)
}

/** The permission bits of a file; undefined when they cannot be read, which other checks report. */
function modeOf(path: string | undefined): number | undefined {
  if (path === undefined) return undefined
  try {
    return statSync(path).mode & 0o777
  } catch {
    return undefined
  }
}

/** Permission bits as octal digits, as in `chmod 600`. */
export function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(3, '0')
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
