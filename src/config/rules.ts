/** Do the settings fit together? What no single declaration can say. */
import type { Config } from './settings.ts'

/**
 * Problems between settings; those that could not be read are absent.
 * @param env tells which settings were given and which are defaults
 */
export function crossSettingProblems(
  config: Partial<Config>,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const problems: string[] = []
  if (config.socket !== undefined && env['GATEWAY_PORT'] !== undefined) {
    problems.push('GATEWAY_SOCKET and GATEWAY_PORT are both set; keep one')
  }
  const services = {
    GATEWAY_DASHBOARD_URL: config.dashboardUrl,
    GATEWAY_API_URL: config.apiUrl,
    GATEWAY_TERMINAL_URL: config.terminalUrl,
    GATEWAY_HEALTH_URL: config.healthUrl,
  }
  for (const [name, service] of Object.entries(services)) {
    const isItself =
      service !== undefined &&
      (service.socketPath === undefined
        ? config.socket === undefined &&
          service.port === config.port &&
          isLoopback(service.hostname)
        : service.socketPath === config.socket)
    if (isItself)
      problems.push(`${name} "${service.url}" is the gateway's own address; give it the service's`)
  }
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

/** Settings that are legal but unwise, as one line each. */
export function configWarnings(config: Config): string[] {
  const warnings: string[] = []
  if (config.allowedHosts.includes('*'))
    warnings.push('GATEWAY_ALLOWED_HOSTS is *: any host is served, so DNS rebinding is possible')
  if (config.metricsPort !== undefined) warnings.push('GATEWAY_METRICS_PORT has no effect yet')
  for (const service of [
    config.dashboardUrl,
    config.apiUrl,
    config.terminalUrl,
    config.healthUrl,
  ]) {
    if (service.socketPath === undefined && !isLoopback(service.hostname)) {
      warnings.push(`${service.url} is not on this machine: requests to it travel in the clear`)
    }
  }
  return warnings
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.[0-9]{1,3}){3}$/.test(hostname)
  )
}
