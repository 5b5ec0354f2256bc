/**
 * Which environment variables does a program need to use a lease? Those that the service's tools read, `<SERVICE>_BASE_URL` and
 * `<SERVICE>_TOKEN` for everything else, and for git a configuration that no file has to hold.
 */
import { presetOf } from './presets.ts'

type Variables = Readonly<Record<string, string | undefined>>

/** A lease, and where it is used. */
export interface LeasedService {
  readonly service: string
  /** The origin of the entry. */
  readonly origin: string
  /** The service's name in another workspace, where the entry is of the kind `workspace`. */
  readonly remote?: string
  /** `http://127.0.0.1:PORT/s/github`, without a slash at its end. */
  readonly baseUrl: string
  readonly token: string
}

/**
 * The variables that a program needs.
 * @param existing the environment that they are added to: its configuration of git is kept, which counts its variables, and a proxy
 * is not asked for the loopback address
 */
export function clientEnvironment(
  leased: readonly LeasedService[],
  existing: Variables = {},
): Record<string, string> {
  const later = withoutTools(leased)
  const first = leased.filter((one) => !later.includes(one))
  return {
    ...Object.assign({}, ...first.map(variablesOf), ...later.map(ownVariablesOf)),
    ...gitVariables(first.flatMap(gitConfigOf), existing),
    ...(leased.length > 0 ? withoutProxy(existing) : {}),
  }
}

/**
 * The services that have only variables of their own, such as `GITHUB_BOT_TOKEN`, because the variables of their tools are those of an
 * earlier service with the same preset: its base URL with another's token would be refused.
 */
export function withoutTools(leased: readonly LeasedService[]): readonly LeasedService[] {
  const presets = leased.map(presetOf)
  return leased.filter((_, i) => presets[i] !== undefined && presets.indexOf(presets[i]) < i)
}

/** A variable that two services would set differently, such as `SLACK_BOT_TOKEN` of `slack` and of `slack-bot`; undefined for none. */
export function clashOf(
  leased: readonly LeasedService[],
): { readonly variable: string; readonly services: readonly [string, string] } | undefined {
  const later = withoutTools(leased)
  const seen = new Map<string, { readonly service: string; readonly value: string }>()
  for (const one of leased) {
    const { service } = one
    const variables = later.includes(one) ? ownVariablesOf(one) : variablesOf(one)
    for (const [variable, value] of Object.entries(variables)) {
      const known = seen.get(variable)
      if (known !== undefined && known.value !== value)
        return { variable, services: [known.service, service] }
      seen.set(variable, { service, value })
    }
  }
  return undefined
}

/** The variables of an environment that would lead the tools of these services past their leases. */
export function conflictingVariables(leased: readonly LeasedService[]): string[] {
  return leased.flatMap((one) => presetOf(one)?.conflicts ?? [])
}

/** How the names of a service's generic variables begin. A name cannot begin with a digit (POSIX). */
function nameOf(service: string): string {
  return service.toUpperCase().replaceAll('-', '_').replace(/^\d/, '_$&')
}

function variablesOf(leased: LeasedService): Record<string, string> {
  const { baseUrl, token } = leased
  return { ...ownVariablesOf(leased), ...presetOf(leased)?.environment(baseUrl, token) }
}

function ownVariablesOf({ service, baseUrl, token }: LeasedService): Record<string, string> {
  const name = nameOf(service)
  return { [`${name}_BASE_URL`]: baseUrl, [`${name}_TOKEN`]: token }
}

/**
 * The configuration with which git sends what is meant for the service to the base URL, with the lease as the password. The empty
 * helper comes first, because it removes every other one for this address: `store` would write the lease to a file.
 */
function gitConfigOf(leased: LeasedService): Array<[key: string, value: string]> {
  const { service, baseUrl } = leased
  const addresses = presetOf(leased)?.gitAddresses ?? []
  if (addresses.length === 0) return []
  const helper = `!f() { test "$1" = get && printf 'username=x-access-token\\npassword=%s\\n' "$${nameOf(service)}_TOKEN"; }; f`
  return [
    ...addresses.map((address): [string, string] => [`url.${baseUrl}/.insteadOf`, address]),
    [`credential.${baseUrl}.helper`, ''],
    [`credential.${baseUrl}.helper`, helper],
  ]
}

/** The configuration of git in variables (git-config(1)), behind what is in them already. */
function gitVariables(
  config: ReadonlyArray<readonly [string, string]>,
  existing: Variables,
): Record<string, string> {
  if (config.length === 0) return {}
  const before = existing['GIT_CONFIG_COUNT'] ?? ''
  const start = /^\d{1,6}$/.test(before) ? Number(before) : 0
  const variables: Record<string, string> = { GIT_CONFIG_COUNT: String(start + config.length) }
  for (const [i, [key, value]] of config.entries()) {
    variables[`GIT_CONFIG_KEY_${start + i}`] = key
    variables[`GIT_CONFIG_VALUE_${start + i}`] = value
  }
  return variables
}

const PROXIES = ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY']

/** Keeps requests with a lease away from a proxy. Nothing where no proxy is set. Tools read the one spelling or the other. */
function withoutProxy(existing: Variables): Record<string, string> {
  if (!PROXIES.some((name) => (existing[name] ?? '') !== '')) return {}
  const before = existing['no_proxy'] ?? existing['NO_PROXY'] ?? ''
  const value = before === '' ? '127.0.0.1' : `${before},127.0.0.1`
  return { no_proxy: value, NO_PROXY: value }
}
