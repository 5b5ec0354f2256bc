/** Do the settings fit together? The rules here concern several settings, so no single declaration can check them. */
import { normalize } from 'node:path'
import { ADDRESS_SETTINGS } from '../rules/services.ts'
import type { Config } from './settings.ts'
import type { ServiceAddress } from './values.ts'

/**
 * Finds conflicts between settings.
 * @param config the settings that could be read
 * @param env tells which settings were set and which are defaults
 */
export function crossSettingProblems(
  config: Partial<Config>,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const problems: string[] = []
  if (config.socket !== undefined && env['GATEWAY_PORT'] !== undefined) {
    problems.push('GATEWAY_SOCKET and GATEWAY_PORT are both set; keep one')
  }
  const { metricsPort, socket, port } = config
  if (metricsPort !== undefined && socket === undefined && metricsPort === port) {
    problems.push(
      `GATEWAY_METRICS_PORT "${metricsPort}" is the port that the gateway itself listens on; give it another`,
    )
  }
  const publicHost =
    config.workspace === undefined || config.domain === undefined
      ? undefined
      : `${config.workspace}.${config.domain}`
  for (const { name, service, isDefault } of servicesOf(config)) {
    const isFront = service.hostname === publicHost && !isLoopback(service.hostname)
    if (!isFront && !isOwnAddress(service, config)) continue
    problems.push(
      isDefault
        ? `GATEWAY_PORT "${port}" is also the default port of ${name}, "${service.url}"; give the gateway another port, or set ${name} to where that service listens`
        : `${name} "${service.url}" is the gateway's own address; give it the service's`,
    )
  }
  for (const [name, url] of [
    ['GATEWAY_LOGIN_URL', config.loginUrl],
    ['GATEWAY_STEP_UP_URL', config.stepUpUrl],
  ] as const)
    if (url !== undefined && isBehindOwnDoor(url, publicHost))
      problems.push(
        `${name} "${url}" is behind this gateway's own door, where a browser would be sent in circles; give it a page elsewhere`,
      )
  problems.push(...linkProblems(config), ...stepUpProblems(config, env))
  if (
    config.jwtSecret !== undefined &&
    config.jwtPreviousSecrets?.includes(config.jwtSecret) === true
  ) {
    problems.push(
      'GATEWAY_JWT_PREVIOUS_SECRETS holds the value of GATEWAY_JWT_SECRET; a rotation needs a new secret',
    )
  }
  return problems
}

/** The sockets of the link that are another socket too: the gateway would take the place of another listener, or dial itself. */
function linkProblems(config: Partial<Config>): string[] {
  const { linkSocket, linkOwnerSocket, vaultSockets, stateDir } = config
  const others = [
    ['GATEWAY_SOCKET', config.socket],
    ...servicesOf(config).map(({ name, service }) => [name, service.socketPath] as const),
    ['the admin socket in GATEWAY_STATE_DIR', stateDir && `${stateDir}/admin.sock`],
    ['GATEWAY_LINK_OWNER_SOCKET', linkOwnerSocket],
  ] as const
  const problems: string[] = []
  for (const [name, path] of [
    ['GATEWAY_LINK_SOCKET', linkSocket],
    ['GATEWAY_LINK_OWNER_SOCKET', linkOwnerSocket],
  ] as const) {
    if (path === undefined) continue
    for (const [other, taken] of others)
      if (other !== name && taken !== undefined && normalize(taken) === normalize(path))
        problems.push(`${name} "${path}" is also ${other}; give it a path of its own`)
    if (vaultSockets !== undefined && normalize(path).startsWith(`${normalize(vaultSockets)}/`))
      problems.push(
        `${name} "${path}" is in GATEWAY_VAULT_SOCKETS, which is the vault's; give it a path elsewhere`,
      )
  }
  return problems
}

/** The settings of the second factor that do nothing without another one: whoever sets them believes that a factor is asked. */
function stepUpProblems(
  { secondFactor, terminalAmr, stepUpRoutes, stepUpUrl }: Partial<Config>,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  if (secondFactor === undefined || terminalAmr === undefined) return []
  const isAsked = secondFactor === 'local' || terminalAmr.length > 0
  if (isAsked && stepUpRoutes?.length === 0)
    return [
      'GATEWAY_STEP_UP_ROUTES is none, so no route asks for a second factor; name one, or leave the settings of the factor out',
    ]
  if (isAsked)
    return stepUpUrl !== undefined && terminalAmr.length === 0
      ? [
          'GATEWAY_STEP_UP_URL is set and GATEWAY_TERMINAL_AMR is not, so nothing that the login service says opens a route; set it to what that says, or leave the URL out',
        ]
      : []
  return ['GATEWAY_TERMINAL_MAX_AGE', 'GATEWAY_STEP_UP_ROUTES', 'GATEWAY_STEP_UP_URL']
    .filter((name) => env[name] !== undefined)
    .map(
      (name) =>
        `${name} is set and no second factor is asked for; set GATEWAY_SECOND_FACTOR to local, or GATEWAY_TERMINAL_AMR to what the login service says`,
    )
}

/** Warnings about settings that are valid but risky, one line each. */
export function configWarnings(config: Config): string[] {
  const warnings: string[] = []
  if (config.allowedHosts.includes('*'))
    warnings.push('GATEWAY_ALLOWED_HOSTS is *: any host is served, so DNS rebinding is possible')
  warnings.push(...stepUpWarnings(config), ...sharedAddresses(config))
  for (const { service } of servicesOf(config)) {
    if (service.socketPath === undefined && !isLoopback(service.hostname)) {
      warnings.push(`${service.url} is not on this machine: requests to it travel in the clear`)
    }
  }
  return warnings
}

/** The values of `amr` that are registered (RFC 8176 section 2). A login service may send others. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(
  'face fpt geo hwk iris kba mca mfa otp pin pop pwd rba retina sc sms swk tel user vbm wia'.split(
    ' ',
  ),
)

/** Settings of the second factor with which a person is refused, or passes, unlike whoever set them may think. */
function stepUpWarnings(config: Config): string[] {
  const { terminalAmr, loginUrl, stepUpUrl, stepUpRoutes } = config
  const isLocal = config.secondFactor === 'local'
  const warnings = terminalAmr
    .filter((method) => !KNOWN_METHODS.has(method))
    .map(
      (method) =>
        `GATEWAY_TERMINAL_AMR has "${method}", which RFC 8176 does not know: whoever shows a factor is refused, unless the login service sends exactly that`,
    )
  if (terminalAmr.includes('pwd'))
    warnings.push('GATEWAY_TERMINAL_AMR has pwd: a password alone is enough, which is one factor')
  if ((isLocal || terminalAmr.length > 0) && !stepUpRoutes.includes('terminal'))
    warnings.push(
      'GATEWAY_STEP_UP_ROUTES leaves terminal out: the shell opens without a second factor',
    )
  const hasPage = isLocal || loginUrl !== undefined || stepUpUrl !== undefined
  if (terminalAmr.length > 0 && !hasPage)
    warnings.push(
      'GATEWAY_TERMINAL_AMR is set, and neither GATEWAY_STEP_UP_URL nor GATEWAY_LOGIN_URL: a browser without the factor is told so and led nowhere',
    )
  return warnings
}

/** A service and the setting with its address. */
interface ConfiguredService {
  readonly name: string
  readonly service: ServiceAddress
  /** Whether the address is the default. */
  readonly isDefault: boolean
}

/** The services whose address setting could be read. */
function servicesOf(config: Partial<Config>): ConfiguredService[] {
  return ADDRESS_SETTINGS.flatMap(({ key, env: name, default: defaultUrl }) => {
    const service = config[key]
    return service === undefined ? [] : [{ name, service, isDefault: service.url === defaultUrl }]
  })
}

/**
 * Warns about two services with the same address when one of the two addresses is a default. One program may be two services,
 * so this is valid, but a default was most likely overlooked: Next.js and OpenClaw both use port 3000 by default.
 */
function sharedAddresses(config: Config): string[] {
  const services = servicesOf(config)
  return services.flatMap((one, i) =>
    services
      .slice(i + 1)
      .filter((other) => one.isDefault !== other.isDefault)
      .filter(({ service }) => isSameAddress(service, one.service))
      .map((other) => {
        const [given, left] = one.isDefault ? [other, one] : [one, other]
        return `${given.name} "${given.service.url}" is also the default of ${left.name}: requests for either reach the same program; set ${left.name} to where that service listens`
      }),
  )
}

function isSameAddress(a: ServiceAddress, b: ServiceAddress): boolean {
  if (a.socketPath !== undefined || b.socketPath !== undefined) return a.socketPath === b.socketPath
  const isSameHost = a.hostname === b.hostname || (isLoopback(a.hostname) && isLoopback(b.hostname))
  return isSameHost && a.port === b.port
}

/** Whether a service's address is the gateway's own, so that a forwarded request would loop. */
function isOwnAddress(service: ServiceAddress, { socket, host, port }: Partial<Config>): boolean {
  if (service.socketPath !== undefined) return service.socketPath === socket
  if (socket !== undefined || service.port !== port) return false
  return isLoopback(service.hostname) || service.hostname.replace(/^\[(.*)\]$/, '$1') === host
}

/** Whether a URL is on the public host and needs a sign-in. The gateway's own pages below `/_gateway/` do not. */
function isBehindOwnDoor(url: string, publicHost: string | undefined): boolean {
  const { hostname, pathname } = new URL(url)
  return hostname === publicHost && !pathname.startsWith('/_gateway/')
}

/** Whether a host, as written in URLs, is this machine. The unspecified addresses (0.0.0.0, ::) reach this machine too. */
function isLoopback(hostname: string): boolean {
  return (
    /^(?:(?:.*\.)?localhost|127(?:\.[0-9]{1,3}){3}|0\.0\.0\.0)$/.test(hostname) ||
    /^\[(?:::1?|::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4})\]$/.test(hostname)
  )
}
