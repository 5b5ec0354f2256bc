/** What do doctor's questions share? The configuration, the addresses of this machine, and the clocks of others. */
import { randomBytes } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { clientFrom } from '../../http/address.ts'
import type { Config } from '../../config/load.ts'
import { LINK_SETTINGS } from '../../config/link-settings.ts'
import { VAULT_SETTINGS } from '../../config/vault-settings.ts'
import type { ServiceAddress } from '../../config/values.ts'
import { buildRequestHeaders, type ForwardingMode } from '../../http/to-service.ts'
import { doctorWords, SERVICES, type ProbedService } from '../../rules/services.ts'
import { ask, TIMEOUT_MS, type Address, type Answer, type NoAnswer, type Question } from './ask.ts'
import type { Finding } from './finding.ts'

/** One question, or several where one response decides about the next. */
export type Examine = (examination: Examination) => Promise<Finding[]>

/** The user in whose name doctor sends requests; the logs have it. */
export const DOCTOR = 'workspace-gateway-doctor'

/** Where this machine has what no setting of the gateway names. */
export interface Machine {
  /** Where the kernel shows its processes. */
  readonly proc: string
  /** Where a vault has its doors unless it was told otherwise. */
  readonly vaultSockets: string
  /** Where a link has its owner's socket unless it was told otherwise. */
  readonly linkOwnerSocket: string
  /** Where a link has its files, besides the usual place in the gateway's state folder. */
  readonly linkFolders: readonly string[]
}

const THIS_MACHINE: Machine = {
  proc: '/proc',
  vaultSockets: VAULT_SETTINGS.sockets.default ?? '',
  linkOwnerSocket: LINK_SETTINGS.ownerSocket.default ?? '',
  linkFolders: [],
}

/** The configuration under examination, and the requests that questions may send. */
export class Examination {
  readonly config: Config
  /** The public host of the workspace. */
  readonly publicHost: string
  /** The addresses of this machine beyond loopback. */
  readonly outerAddresses: readonly string[]
  /** How far the clocks of the gateway and the services are ahead of this one, in milliseconds, by name. */
  readonly clocks = new Map<string, number>()
  /** How many times its usual time each answer may take. */
  readonly patience: number
  readonly machine: Machine

  constructor(
    config: Config,
    outerAddresses: readonly string[] = addressesBeyondLoopback(),
    { patience = 1, machine = {} }: { patience?: number; machine?: Partial<Machine> } = {},
  ) {
    this.config = config
    this.patience = patience
    this.machine = { ...THIS_MACHINE, ...machine }
    this.publicHost = `${config.workspace}.${config.domain}`
    this.outerAddresses = outerAddresses
  }

  /** Where this machine reaches the gateway; undefined when GATEWAY_PORT is 0, because only the gateway knows its port. */
  get gateway(): (Address & { readonly text: string }) | undefined {
    const { socket, host, port } = this.config
    if (socket !== undefined)
      return { hostname: 'localhost', port: undefined, socketPath: socket, text: socket }
    if (port === 0) return undefined
    const target = isUnspecified(host) ? '127.0.0.1' : host
    const hostname = target.includes(':') ? `[${target}]` : target
    return { hostname, port, socketPath: undefined, text: `http://${hostname}:${port}` }
  }

  /** Whether the gateway believes X-Forwarded-For from this machine. */
  get isTrusted(): boolean {
    const { socket, host, trustedProxies } = this.config
    const peer = socket !== undefined ? undefined : isUnspecified(host) ? '127.0.0.1' : host
    return clientFrom(peer, [], trustedProxies)?.viaProxy === true
  }

  /** Sends a GET to the gateway, with a client address that no client has, so that doctor spends no client's budget. */
  async askGateway(
    path: string,
    {
      client = unusedAddress(),
      host = this.publicHost,
      ...more
    }: { client?: string; host?: string; headers?: readonly string[]; timeoutMs?: number } = {},
  ): Promise<Answer | NoAnswer> {
    const address = this.gateway
    if (address === undefined)
      return { kind: 'none', why: 'GATEWAY_PORT is 0: only the gateway knows its port' }
    const headers = [
      ...['Host', host, 'X-Forwarded-For', client, 'X-Forwarded-Proto', 'https'],
      ...(more.headers ?? []),
    ]
    return this.#ask('the gateway', address, { ...more, path, headers })
  }

  /** Sends a GET to a service, with the headers that the gateway would send. */
  async askService(
    name: string,
    address: ServiceAddress,
    path: string,
    {
      mode = 'full',
      authorization,
      timeoutMs,
      host = this.publicHost,
    }: {
      mode?: ForwardingMode
      authorization?: string | undefined
      timeoutMs?: number
      host?: string
    } = {},
  ): Promise<Answer | NoAnswer> {
    const headers = buildRequestHeaders([], {
      mode,
      requestId: crypto.randomUUID(),
      host,
      clientAddress: unusedAddress(),
      scheme: 'https',
      user: DOCTOR,
      workspace: this.config.workspace,
      dropAuthorization: true,
      authorization,
      allowNextData: false,
      upgrade: false,
    })
    return this.#ask(name, address, {
      path,
      headers,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    })
  }

  async #ask(name: string, address: Address, question: Question): Promise<Answer | NoAnswer> {
    const timeoutMs = (question.timeoutMs ?? TIMEOUT_MS) * this.patience
    const reply = await ask(address, { ...question, timeoutMs })
    const date = reply.kind === 'answer' ? Date.parse(reply.headers.date ?? '') : NaN
    if (!Number.isNaN(date)) this.clocks.set(name, date - Date.now())
    return reply
  }
}

/** The remedy when a service does not answer. */
export function startRemedy(name: ProbedService): string {
  return `${doctorWords(name).start}, or set ${SERVICES[name].address.env} to where it listens`
}

/** Whether a listening address is the unspecified one, which stands for all addresses. */
export function isUnspecified(host: string): boolean {
  return host === '::' || host === '0.0.0.0'
}

/** A random address of the documentation range (RFC 3849), whose /64 has a fresh budget. */
export function unusedAddress(): string {
  const groups = randomBytes(4).toString('hex')
  return `2001:db8:${groups.slice(0, 4)}:${groups.slice(4)}::1`
}

/** The addresses of this machine without loopback. A link-local address carries its interface, or connecting would fail. */
function addressesBeyondLoopback(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list = []]) =>
    list
      .filter(({ internal }) => !internal)
      .map(({ address, family }) =>
        family === 'IPv6' && address.toLowerCase().startsWith('fe80:')
          ? `${address}%${name}`
          : address,
      ),
  )
}
