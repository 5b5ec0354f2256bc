/** What do the doctor's questions share? The configuration, the addresses around it, and the clocks that were seen. */
import { randomBytes } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { clientFrom } from '../../http/address.ts'
import type { Config } from '../../config/load.ts'
import type { ServiceAddress } from '../../config/values.ts'
import { buildRequestHeaders, type ForwardingMode } from '../../http/to-service.ts'
import { doctorWords, SERVICES, type ProbedService } from '../../rules/services.ts'
import { ask, type Address, type Answer, type NoAnswer, type Question } from './ask.ts'
import type { Finding } from './finding.ts'

/** One question, or a few that hang together. */
export type Examine = (examination: Examination) => Promise<Finding[]>

/** The subject of requests that the doctor makes; it shows in the logs. */
export const DOCTOR = 'workspace-gateway-doctor'

/** What is examined. */
export class Examination {
  readonly config: Config
  /** The host that the workspace is reached as. */
  readonly publicHost: string
  /** The addresses of this machine that others may reach it by. */
  readonly outerAddresses: readonly string[]
  /** How far the clocks of others are ahead of this one, in milliseconds, by name. */
  readonly clocks = new Map<string, number>()

  constructor(config: Config, outerAddresses: readonly string[] = addressesBeyondLoopback()) {
    this.config = config
    this.publicHost = `${config.workspace}.${config.domain}`
    this.outerAddresses = outerAddresses
  }

  /** Where the gateway listens, as seen from this machine; undefined for a port that only it knows. */
  get gateway(): (Address & { readonly text: string }) | undefined {
    const { socket, host, port } = this.config
    if (socket !== undefined)
      return { hostname: 'localhost', port: undefined, socketPath: socket, text: socket }
    if (port === 0) return undefined
    const target = isUnspecified(host) ? '127.0.0.1' : host
    const hostname = target.includes(':') ? `[${target}]` : target
    return { hostname, port, socketPath: undefined, text: `http://${hostname}:${port}` }
  }

  /** Whether the gateway believes what this machine says about who it asks for. */
  get isTrusted(): boolean {
    const { socket, host, trustedProxies } = this.config
    const peer = socket !== undefined ? undefined : isUnspecified(host) ? '127.0.0.1' : host
    return clientFrom(peer, [], trustedProxies)?.viaProxy === true
  }

  /** Asks the gateway, in the name of an address that nobody has: the doctor spends nobody's budget. */
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

  /** Asks a service with the very fields that the gateway would send. */
  async askService(
    name: string,
    address: ServiceAddress,
    path: string,
    {
      mode = 'full',
      authorization,
      timeoutMs,
    }: { mode?: ForwardingMode; authorization?: string | undefined; timeoutMs?: number } = {},
  ): Promise<Answer | NoAnswer> {
    const headers = buildRequestHeaders([], {
      mode,
      requestId: crypto.randomUUID(),
      host: this.publicHost,
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
    const reply = await ask(address, question)
    const date = reply.kind === 'answer' ? Date.parse(reply.headers.date ?? '') : NaN
    if (!Number.isNaN(date)) this.clocks.set(name, date - Date.now())
    return reply
  }
}

/** What to do when a service does not answer. */
export function startRemedy(name: ProbedService): string {
  return `${doctorWords(name).start}, or set ${SERVICES[name].address.env} to where it listens`
}

/** Whether a listening address stands for all of them. */
export function isUnspecified(host: string): boolean {
  return host === '::' || host === '0.0.0.0'
}

/** A random address of the range for documentation (RFC 3849): the budget of its /64 is a fresh one. */
export function unusedAddress(): string {
  const groups = randomBytes(4).toString('hex')
  return `2001:db8:${groups.slice(0, 4)}:${groups.slice(4)}::1`
}

/** This machine's own addresses, but for loopback. A link-local one carries its interface, or it could not be dialled. */
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
