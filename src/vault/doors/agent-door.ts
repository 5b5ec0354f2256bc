/**
 * What may an agent ask at its own socket? For leases, to give one back, and for a service with a lease. Whoever can open the socket
 * is the agent: what a request says about its agent is never looked at.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { Audit } from '../audit-row.ts'
import type { Denials } from '../denials.ts'
import { isServiceName } from '../entry-input.ts'
import type { LeaseRate } from '../lease-rate.ts'
import type { Lease, Leases } from '../leases.ts'
import { remoteOf, type Entry } from '../policy.ts'
import { presentedLeases } from '../presented.ts'
import {
  LEASES_PATH,
  SERVICE_PREFIX,
  type LeaseAnswer,
  type LeaseRequest,
  type RenewRequest,
} from '../protocol.ts'
import { refuseOnSocket } from '../refusal.ts'
import { VaultError } from '../vault-errors.ts'
import {
  askForBody,
  makeDoorServer,
  readJsonBody,
  refusalOf,
  refuseFields,
  sendJson,
  sendNothing,
  sendProblem,
  type Entries,
} from './server-shared.ts'
import { entryForAgent, Uses } from './uses.ts'

/** What the doors of agents need. */
export interface AgentDoorParts {
  readonly entries: Pick<Entries, 'find'>
  readonly leases: Leases
  readonly audit: Audit
  readonly denials: Denials
  /** How often an agent may have a lease made or extended. */
  readonly leaseRate: LeaseRate
  /** Connections that may be open at once. */
  readonly maxConnections: number
  readonly uses: Uses
  readonly logger: Logger
  /** The variables that a service's tools read. */
  readonly environmentOf: (leased: LeasedEntry) => Readonly<Record<string, string>>
  /** The port for leases; undefined while there is none. */
  readonly port: () => number | undefined
}

/** A lease, and where it is used. */
interface LeasedEntry {
  readonly service: string
  readonly origin: string
  /** The service's name in another workspace, where the entry is of the kind `workspace`. */
  readonly remote?: string
  readonly baseUrl: string
  readonly token: string
}

/** Paths of the owner's door: an agent that asks for them is told whose they are. */
const OWNERS_PATH = /^\/v1\/(?:entries|audit|status|backup|rekey)(?:[/?]|$)/

/** Makes the server of an agent's door. */
export function makeAgentDoor(agent: string, parts: AgentDoorParts): Server {
  const { uses, logger, denials, maxConnections } = parts
  const refuse = (
    { method }: IncomingMessage,
    error: unknown,
    asked: { service?: string; lease?: string } = {},
  ): VaultError => {
    const refusal = refusalOf(error, logger)
    if (refusal.code !== 'internal-error')
      denials.note({ ...asked, agent, method, reason: refusal.code })
    return refusal
  }
  return makeDoorServer(
    {
      request: async (request, response) => {
        const target = request.url ?? ''
        const asked: { service?: string; lease?: string } = {}
        try {
          refuseFields(request)
          if (Uses.isMeant(target)) await uses.serve(agent, request, response)
          else await answer({ agent, parts, asked }, request, response)
        } catch (error) {
          sendProblem(request, response, refuse(request, error, asked))
        }
      },
      upgrade: async (request, socket, head) => {
        try {
          refuseFields(request)
          if (!Uses.isMeant(request.url ?? '')) throw nothingHere()
          await uses.upgrade(agent, request, socket, head)
        } catch (error) {
          refuseOnSocket(socket, refuse(request, error))
        }
      },
    },
    { logger, maxConnections },
  )
}

interface Question {
  readonly agent: string
  readonly parts: AgentDoorParts
  /** What is known of the request, for the row of a refusal. */
  readonly asked: { service?: string; lease?: string }
}

async function answer(
  question: Question,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method, url = '' } = request
  if (OWNERS_PATH.test(url))
    throw new VaultError(
      'owner-only',
      'entries, credentials and grants are the owner’s, who changes them at a socket of his own with: workspace-gateway vault',
    )
  if (url !== LEASES_PATH) throw nothingHere()
  if (method === 'POST') {
    askForBody(request, response)
    const body = await readJsonBody(request)
    if (isRenewal(body)) sendJson(response, 200, await renew(question, request))
    else sendJson(response, 201, await issue(question, leaseRequestOf(body)))
  } else if (method === 'DELETE') {
    giveBack(question, request)
    sendNothing(response)
  } else throw new VaultError('bad-request', `${LEASES_PATH} takes POST and DELETE`)
}

function nothingHere(): VaultError {
  return new VaultError(
    'not-found',
    `an agent’s door has ${LEASES_PATH} and ${SERVICE_PREFIX}SERVICE/…`,
  )
}

/** Gives a lease, when its row is on the disk. @throws {VaultError} */
async function issue(
  { agent, parts, asked }: Question,
  request: LeaseRequest,
): Promise<LeaseAnswer> {
  const { entries, leases } = parts
  const { service } = request
  asked.service = service
  const entry = entryForAgent(entries, agent, service)
  parts.leaseRate.take(agent)
  const { token, lease } = leases.issue(agent, entry, request)
  try {
    const row = { op: 'lease', agent, service, entry: entry.id, lease: lease.shortHash } as const
    await parts.audit.writeSoon(row)
  } catch (error) {
    leases.revoke(token)
    throw error
  }
  return leaseAnswer(parts, entry, { token, lease })
}

/** Makes a lease last longer, when its row is on the disk. @throws {VaultError} */
async function renew(
  { agent, parts, asked }: Question,
  request: IncomingMessage,
): Promise<LeaseAnswer> {
  const { token, lease } = ownLease({ agent, parts, asked }, request)
  const { service, shortHash, entryId } = lease
  if (lease.revoked.aborted) throw new VaultError('lease-revoked', 'the lease was revoked')
  const entry = entryForAgent(parts.entries, agent, service)
  if (parts.leases.hasExpired(lease)) parts.leases.renew(token) // refuses before the row is written
  parts.leaseRate.take(agent)
  const row = { op: 'lease', agent, service, entry: entryId, lease: shortHash } as const
  await parts.audit.writeSoon({ ...row, reason: 'renewed' })
  parts.leases.renew(token)
  return leaseAnswer(parts, entry, { token, lease })
}

/** What the agent is told of its lease. */
function leaseAnswer(
  parts: AgentDoorParts,
  { policy }: Entry,
  { token, lease }: { token: string; lease: Lease },
): LeaseAnswer {
  const { service, origin } = policy
  const remote = remoteOf(policy)
  const tools = { service, origin, ...(remote === undefined ? {} : { remote }) }
  const port = parts.port()
  const baseUrl = port === undefined ? null : `http://127.0.0.1:${port}${SERVICE_PREFIX}${service}`
  return {
    token,
    base_url: baseUrl,
    origin,
    ...(remote === undefined ? {} : { remote }),
    expires_at: new Date(lease.expiresAt).toISOString(),
    env: baseUrl === null ? {} : parts.environmentOf({ ...tools, baseUrl, token }),
  }
}

/** Takes a lease back. @throws {VaultError} */
function giveBack({ agent, parts, asked }: Question, request: IncomingMessage): void {
  const { token, lease } = ownLease({ agent, parts, asked }, request)
  const { service, shortHash, entryId } = lease
  if (lease.revoked.aborted) return
  parts.leases.revoke(token)
  const row = { op: 'revoke', agent, service, entry: entryId, lease: shortHash } as const
  parts.audit.writeSoon({ ...row, reason: 'given back' }).catch((error: unknown) => {
    parts.logger.error({ err: error }, 'the return of a lease was not audited')
  })
}

/** The lease in `Authorization`, if it is this agent's. @throws {VaultError} */
function ownLease(
  { agent, parts, asked }: Question,
  { rawHeaders }: IncomingMessage,
): { token: string; lease: Lease } {
  const [token, ...more] = presentedLeases(rawHeaders, ['authorization'])
  if (token === undefined || more.length > 0)
    throw new VaultError('lease-missing', 'send the lease in Authorization: Bearer')
  const lease = parts.leases.find(token)
  if (lease?.agent !== agent)
    throw new VaultError('lease-invalid', 'the lease is not one of this agent')
  Object.assign(asked, { service: lease.service, lease: lease.shortHash })
  return { token, lease }
}

function isRenewal(body: unknown): body is RenewRequest {
  if (typeof body !== 'object' || body === null) return false
  return Object.keys(body).length === 1 && 'renew' in body && body.renew === true
}

const MEMBERS = ['service', 'methods', 'paths', 'ttl']

/** Checks the JSON that asks for a lease. A member that is not known is refused, because it may be meant to narrow the lease. */
function leaseRequestOf(body: unknown): LeaseRequest {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new VaultError('bad-request', 'the body is a JSON object, such as {"service": "github"}')
  const { service, methods, paths, ttl } = body as Record<string, unknown>
  const unknown = Object.keys(body).find((name) => !MEMBERS.includes(name))
  if (unknown !== undefined)
    throw new VaultError('bad-request', `a lease has the members ${MEMBERS.join(', ')} alone`)
  if (typeof service !== 'string' || !isServiceName(service))
    throw new VaultError('bad-request', 'service takes the name of an entry, such as github')
  if (ttl !== undefined && typeof ttl !== 'number')
    throw new VaultError('bad-request', 'ttl takes a number of seconds')
  return {
    service,
    ...(methods === undefined ? {} : { methods: textsOf(methods, 'methods') }),
    ...(paths === undefined ? {} : { paths: textsOf(paths, 'paths') }),
    ...(ttl === undefined ? {} : { ttl }),
  }
}

function textsOf(value: unknown, name: string): readonly string[] {
  if (!Array.isArray(value) || value.some((one) => typeof one !== 'string'))
    throw new VaultError('bad-request', `${name} takes a list of texts`)
  return value as string[]
}
