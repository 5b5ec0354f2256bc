/**
 * Which services stand behind the gateway, and how do they differ? One row a service. Everything that lists services is
 * derived from these rows: paths, routes, settings, budgets, probes, the labels of metrics, doctor and the documents.
 * The list is closed: nothing in a request can add to it (GHSA-gcv9-6737-pjqw). No column makes a service public: every
 * relayed request is from somebody who is signed in (plugins/7-authentication.ts).
 */
import type { ForwardingMode } from '../http/to-service.ts'

/** One service. The order of the rows is the order in lists that people read. */
export interface ServiceRow<Key extends string = string> {
  /** What people call the service: the subject of an error's `detail`. */
  readonly words: `The ${string}`
  /** The path of its route, `/` for the service that has the rest. */
  readonly path: `/${string}`
  /**
   * Which request paths belong to the service. `prefix`: `path` and everything below it. `exact`: `path` alone. `control-ui`:
   * the prefix in GATEWAY_CONTROL_UI, none when it is not set. `vault`: as `prefix`, among the gateway's own paths, when
   * GATEWAY_VAULT_SOCKETS is set. `daemon`: as `prefix`, when GATEWAY_DAEMON_URL is set. `rest`: whatever no other row claims.
   */
  readonly claims: 'prefix' | 'exact' | 'control-ui' | 'vault' | 'daemon' | 'rest'
  /** Whether `path` is taken off before a request is forwarded. `by-setting`: when GATEWAY_API_PREFIX is `strip`. */
  readonly stripsPath: boolean | 'by-setting'
  /**
   * Where the service listens. Rows with one setting are one program. `vault`: at a door in GATEWAY_VAULT_SOCKETS. `daemon`: at
   * GATEWAY_DAEMON_URL, which has no default.
   */
  readonly address: AddressSetting<Key> | 'vault' | 'daemon'
  /** Who answers: `service`, by a relayed request (routes/proxied.ts), or `gateway`, in a route of its own. */
  readonly answeredBy: 'service' | 'gateway'
  /**
   * How the service is told who is calling. `openclaw`: as GATEWAY_OPENCLAW_MODE says, and with GATEWAY_OPENCLAW_TOKEN as
   * `Authorization` when the client brought none of OpenClaw's.
   */
  readonly forwarding: ForwardingMode | 'openclaw'
  /**
   * Whether its responses must not become pages of the workspace's origin, nor speak for all of it (src/http/browser.ts),
   * because the service may be talked into returning any HTML. `when-stripped`: only where `path` is taken off.
   */
  readonly isolated: boolean | 'when-stripped'
  /** Whether a browser may fetch a service worker from it: the worker would see every request below its path. */
  readonly serviceWorkers: boolean
  /**
   * Which WebSocket handshakes reach the service. `signed-in`: all of those who are signed in. `ttyd`: of these, the one
   * that ttyd's page makes (routes/terminal.ts). `none`: the gateway answers each with 400.
   */
  readonly upgrades: 'none' | 'signed-in' | 'ttyd'
  /**
   * Whose budget a signed-in browser spends by default: GATEWAY_SESSION_ROUTES and GATEWAY_PROGRAM_ROUTES may say
   * otherwise. `none`: the route is not in those lists; only for a route of the gateway's own, which says what it counts.
   */
  readonly budget: 'session' | 'address' | 'none'
  /** How doctor speaks of it. Undefined when another row has the same program: doctor, `/_gateway/ready` and status look there. */
  readonly doctor: DoctorWords | undefined

  // What few services need.

  /**
   * Whether the service gets `Host: localhost` in place of the client's, and `Origin: http://localhost` in place of the workspace's own:
   * it has allow-lists of its own, for the machine that it runs on, and they need not know the workspace's name.
   */
  readonly localHost?: true

  /**
   * Whether OpenClaw's control UI is here. Then a request must not give its page the address of another gateway
   * (src/rules/isolation.ts). `when-kept`: unless `path` is taken off.
   */
  readonly controlUi?: true | 'when-kept'
  /** Whether Next.js's own fetches are for this service: prefetches, and `X-Nextjs-Data` below `/_next/data/`. */
  readonly nextRouter?: true
  /** Whether it reads a body only when it has a length: libwebsockets takes chunks for the next request. */
  readonly wantsLength?: true
  /**
   * Whether it asks for a password (Basic): wrong ones are counted, and an accepted one is kept for handshakes that cannot
   * bring it. One row at most: both are kept by session, not by service.
   */
  readonly basicPassword?: true
  /**
   * Whether it is for other workspaces of the owner alone: programs with an API token that has a scope for it, and no session of a
   * person. It gets the token's name, and no `Authorization` of a client; nobody may store what it answers.
   */
  readonly forWorkspaces?: true
}

/** The setting that holds the address of a service. */
export interface AddressSetting<Key extends string = string> {
  /** The name by which the code knows the setting. */
  readonly key: Key
  /** The environment variable. */
  readonly env: `GATEWAY_${string}_URL`
  readonly default: `http://127.0.0.1:${number}`
  readonly description: string
}

/** What `workspace-gateway doctor` says about a service. */
export interface DoctorWords {
  /** The first part of the names of its checks. */
  readonly name: string
  /** The remedy when the service does not answer; doctor adds the setting. */
  readonly start: string
  /** The remedy when others reach its port. */
  readonly bind: string
}

const OPENCLAW = {
  key: 'apiUrl',
  env: 'GATEWAY_API_URL',
  default: 'http://127.0.0.1:3000',
  description: 'Where OpenClaw listens.',
} as const

const ROWS = {
  dashboard: {
    words: 'The dashboard',
    path: '/',
    claims: 'rest',
    stripsPath: false,
    address: {
      key: 'dashboardUrl',
      env: 'GATEWAY_DASHBOARD_URL',
      default: 'http://127.0.0.1:3001',
      description: 'Where the dashboard (Next.js) listens.',
    },
    answeredBy: 'service',
    forwarding: 'full',
    isolated: false,
    serviceWorkers: true,
    upgrades: 'signed-in',
    budget: 'session',
    doctor: {
      name: 'dashboard',
      start: 'start the dashboard (next start -H 127.0.0.1 -p PORT)',
      bind: 'start Next.js with -H 127.0.0.1',
    },
    nextRouter: true,
  },
  chat: {
    words: 'The agent (OpenClaw)',
    path: '/chat',
    claims: 'control-ui',
    stripsPath: false,
    address: OPENCLAW,
    answeredBy: 'service',
    forwarding: 'openclaw',
    isolated: false,
    serviceWorkers: true,
    upgrades: 'signed-in',
    budget: 'session',
    doctor: undefined, // the row of `/api` has the same program
    controlUi: true,
  },
  terminal: {
    words: 'The terminal',
    path: '/terminal',
    claims: 'prefix',
    stripsPath: false,
    address: {
      key: 'terminalUrl',
      env: 'GATEWAY_TERMINAL_URL',
      default: 'http://127.0.0.1:8080',
      description: 'Where ttyd listens, started with --base-path /terminal.',
    },
    answeredBy: 'service',
    forwarding: 'full',
    isolated: false,
    serviceWorkers: false,
    upgrades: 'ttyd',
    budget: 'session',
    doctor: { name: 'terminal', start: 'start ttyd', bind: 'start ttyd with -i 127.0.0.1' },
    wantsLength: true,
    basicPassword: true,
  },
  api: {
    words: 'The agent (OpenClaw)',
    path: '/api',
    claims: 'prefix',
    stripsPath: 'by-setting',
    address: OPENCLAW,
    answeredBy: 'service',
    forwarding: 'openclaw',
    // With the path kept, `/api` is where an operator has put the control UI itself, and all that goes with it.
    isolated: 'when-stripped',
    serviceWorkers: false,
    upgrades: 'signed-in',
    budget: 'session',
    doctor: {
      name: 'openclaw',
      start: 'start OpenClaw (it needs some 20 s before it listens)',
      bind: 'set gateway.bind to "loopback" in openclaw.json and restart OpenClaw',
    },
    controlUi: 'when-kept',
  },
  health: {
    words: 'The stats server',
    path: '/health',
    claims: 'exact',
    stripsPath: false,
    address: {
      key: 'healthUrl',
      env: 'GATEWAY_HEALTH_URL',
      default: 'http://127.0.0.1:4000',
      description: 'Where the stats server listens.',
    },
    answeredBy: 'gateway', // routes/health.ts asks it, with fields of its own: the answer is for every prober
    forwarding: 'none',
    isolated: false,
    serviceWorkers: false,
    upgrades: 'none',
    budget: 'none',
    doctor: {
      name: 'stats',
      start: 'start or restart the stats server',
      bind: 'have the stats server listen on 127.0.0.1',
    },
  },
  vault: {
    words: 'The vault',
    path: '/_gateway/vault',
    claims: 'vault',
    stripsPath: true,
    address: 'vault',
    answeredBy: 'service',
    forwarding: 'none',
    isolated: true,
    serviceWorkers: false,
    upgrades: 'none',
    budget: 'address',
    doctor: undefined,
    forWorkspaces: true,
  },
  code: {
    words: 'The daemon (Hubcode)',
    path: '/_code',
    claims: 'daemon',
    stripsPath: true,
    address: 'daemon',
    answeredBy: 'service',
    forwarding: 'none',
    isolated: true,
    serviceWorkers: false,
    upgrades: 'signed-in',
    budget: 'session',
    doctor: undefined, // src/commands/doctor/daemon.ts asks it, when its setting is there
    localHost: true,
  },
} as const satisfies Record<string, ServiceRow>

/** The name of a service: in settings, logs and metrics. */
export type ServiceName = keyof typeof ROWS

/** The name by which the code knows the setting of a service's address. */
export type AddressKey = Exclude<(typeof ROWS)[ServiceName]['address'], string>['key']

/** A service that doctor, `/_gateway/ready` and status look at. */
export type ProbedService = {
  [Name in ServiceName]: (typeof ROWS)[Name]['doctor'] extends undefined ? never : Name
}[ServiceName]

/** A row whose address is a setting of its own. */
type ListeningRow = ServiceRow<AddressKey> & { readonly address: AddressSetting<AddressKey> }

/** The rows by name. */
export const SERVICES: Readonly<
  Record<ServiceName, ServiceRow<AddressKey>> & Record<ProbedService, ListeningRow>
> = ROWS

export const SERVICE_NAMES = Object.keys(ROWS) as readonly ServiceName[]

export const PROBED_SERVICES = SERVICE_NAMES.filter(isProbed)

/**
 * The services whose requests are counted, and which the settings of budgets may therefore name. Not one for other workspaces: nobody
 * is there with a session, and a token has a rate of its own.
 */
export const COUNTED_SERVICES = SERVICE_NAMES.filter(
  (name) => SERVICES[name].budget !== 'none' && SERVICES[name].forWorkspaces !== true,
)

/** What doctor says about a service. */
export function doctorWords(name: ProbedService): DoctorWords {
  return ROWS[name].doctor
}

/** The settings of addresses, each once. */
export const ADDRESS_SETTINGS: ReadonlyArray<AddressSetting<AddressKey>> = [
  ...new Map(
    SERVICE_NAMES.map((name) => SERVICES[name].address)
      .filter((address) => typeof address !== 'string')
      .map((address) => [address.key, address]),
  ).values(),
]

/** A record with a value for every service. */
export function byService<T>(
  make: (name: ServiceName, row: ServiceRow<AddressKey>) => T,
): Record<ServiceName, T> {
  const entries = SERVICE_NAMES.map((name) => [name, make(name, SERVICES[name])] as const)
  return Object.fromEntries(entries) as Record<ServiceName, T>
}

function isProbed(name: ServiceName): name is ProbedService {
  return SERVICES[name].doctor !== undefined
}
