/**
 * What may the owner ask of the vault? Everything but a credential: entries, grants, versions, the audit log, a backup. Whoever can
 * open the socket is the owner, because the permissions of its folder are the authentication.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { parseMasterKey } from '../../config/vault-values.ts'
import type { AuditFacts } from '../audit-row.ts'
import { grantProblems, isServiceName, readEntryInput, readValue } from '../entry-input.ts'
import type { LeaseView } from '../leases.ts'
import { addedEntry, backVersion, granted, resumed, revokedFrom, rotated } from '../entry-edits.ts'
import { isSubject, MAX_SUBJECT_LENGTH } from '../../rules/subject.ts'
import { remoteOf, type Entry } from '../policy.ts'
import type { AccessesAnswer, EntryView } from '../protocol.ts'
import { VaultError } from '../vault-errors.ts'
import { isWorkspaceGrant } from '../workspace-grants.ts'
import {
  askForBody,
  makeDoorServer,
  readJsonBody,
  refusalOf,
  refuseFields,
  send,
  sendJson,
  sendProblem,
  type Entries,
  type PresetOf,
} from './server-shared.ts'

/** What the owner's door needs. */
export interface OwnerDoorParts {
  readonly entries: Entries
  readonly leases: { list(): readonly LeaseView[] }
  readonly logger: Logger
  readonly presetOf: PresetOf
  /** The names in VAULT_AGENTS. */
  readonly agents: readonly string[]
  /** Whether HUB.yaml shares the vault, so that another workspace may be granted. */
  readonly isShared: boolean
  readonly now: () => number
  /** The newest rows of the audit log. */
  readonly recent: (limit: number) => readonly unknown[]
  /** What agents did last. */
  readonly accesses: () => AccessesAnswer
  /** The sealed file, for a backup. */
  readonly backup: () => Buffer
  /** Further facts for `GET /v1/status`. */
  readonly status: () => Readonly<Record<string, unknown>>
}

/** Connections that may be open at once. */
const MAX_CONNECTIONS = 32

/** How many rows of the audit log are sent at most, and by default. */
const MAX_ROWS = 1000
const DEFAULT_ROWS = 100

/** How long the version before the newest may be kept (seconds): 30 days. */
const MAX_OVERLAP_SECONDS = 2_592_000

/** The name of the owner in the audit log. */
const OWNER = 'owner'

/** Makes the server of the owner's door. @param parts Awaited by each request, because the door is opened before the file, as a lock. */
export function makeOwnerDoor(
  parts: Promise<OwnerDoorParts>,
  { logger }: { logger: Logger },
): Server {
  return makeDoorServer(
    {
      request: async (request, response) => {
        try {
          refuseFields(request)
          await answer(await parts, request, response)
        } catch (error) {
          sendProblem(request, response, refusalOf(error, logger))
        }
      },
    },
    { logger, maxConnections: MAX_CONNECTIONS },
  )
}

/** An answer: JSON, or a file. */
interface Reply {
  readonly status?: number
  readonly json?: unknown
  readonly file?: Buffer
}

interface Question {
  /** The segment `:service` of the path; an empty text where the path has none. */
  readonly service: string
  readonly query: URLSearchParams
  readonly body: Readonly<Record<string, unknown>>
}

type Handler = (parts: OwnerDoorParts, question: Question) => Reply

/** Every route, by its method and path. */
const ROUTES: Readonly<Record<string, Handler>> = {
  'GET /v1/entries': ({ entries }) => ({ json: { entries: entries.entries().map(viewOf) } }),
  'POST /v1/entries': add,
  'GET /v1/entries/:service': ({ entries }, { service }) => ({
    json: viewOf(existing(entries.find(service), service)),
  }),
  'POST /v1/entries/:service/rotate': rotate,
  'POST /v1/entries/:service/grant': grant,
  'POST /v1/entries/:service/revoke': revoke,
  'POST /v1/entries/:service/resume': (parts, { service }) =>
    changed(parts, { op: 'resume', service }, resumed),
  'POST /v1/entries/:service/remove': remove,
  'GET /v1/audit': ({ recent }, { query }) => ({ json: { rows: recent(limitOf(query)) } }),
  'GET /v1/accesses': ({ accesses }) => ({ json: accesses() }),
  'GET /v1/status': ({ status }) => ({ json: status() }),
  'GET /v1/leases': ({ leases }) => ({ json: { leases: leases.list() } }),
  'POST /v1/backup': ({ backup }) => ({ file: backup() }),
  'POST /v1/rekey': rekey,
}

async function answer(
  parts: OwnerDoorParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2)
  const [, service, verb = ''] = /^\/v1\/entries\/([^/]+)(\/[a-z]+)?$/.exec(path) ?? []
  const route = service === undefined ? path : `/v1/entries/:service${verb}`
  const name = `${request.method} ${route}`
  const handler = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined
  if (handler === undefined)
    throw new VaultError('not-found', 'the owner’s door has no such path with this method')
  if (service !== undefined && !isServiceName(service))
    throw new VaultError('bad-request', 'the name of a service has letters, digits and hyphens')
  askForBody(request, response)
  const body = request.method === 'POST' ? await readJsonBody(request) : undefined
  if (body !== undefined && (typeof body !== 'object' || body === null || Array.isArray(body)))
    throw new VaultError('bad-request', 'the body is no JSON object')
  const question = { service: service ?? '', query: new URLSearchParams(query) }
  const reply = handler(parts, { ...question, body: { ...body } })
  if (reply.file !== undefined)
    send(response, { status: 200, type: 'application/octet-stream', body: reply.file })
  else sendJson(response, reply.status ?? 200, reply.json)
}

/** An entry as the owner sees it. */
function viewOf({ id, policy, versions }: Entry): EntryView {
  const { slot, allowPrivate, remote: _remote, ...rest } = policy
  return {
    id,
    ...rest,
    slot: `${slot.header}: ${slot.template}`,
    remote: remoteOf(policy) ?? null,
    allow_private: allowPrivate,
    versions: versions.map(({ version, createdAt, keptUntil }) => ({
      version,
      created_at: new Date(createdAt).toISOString(),
      kept_until: keptUntil === undefined ? null : new Date(keptUntil).toISOString(),
    })),
  }
}

function existing(entry: Entry | undefined, service: string): Entry {
  if (entry !== undefined) return entry
  throw new VaultError(
    'not-found',
    `there is no entry "${service}"; "workspace-gateway vault list" shows those that are there`,
  )
}

/** Changes an entry that exists, and answers with what it is then. */
function changed(
  { entries }: OwnerDoorParts,
  facts: Pick<AuditFacts, 'op' | 'service' | 'by' | 'reason'>,
  edit: (entry: Entry) => Entry,
): Reply {
  const { service = '' } = facts
  edit(existing(entries.find(service), service)) // a refusal comes before the row of the change
  const entry = entries.change({ ...facts, agent: OWNER }, (before) =>
    edit(existing(before, service)),
  )
  return { json: entry === undefined ? null : viewOf(entry) }
}

function add(parts: OwnerDoorParts, { body }: Question): Reply {
  const { entries, now } = parts
  const input = readEntryInput(body, parts)
  if ('problems' in input) throw new VaultError('bad-request', input.problems.join('; '))
  const { policy, value } = input
  const { service } = policy
  if (entries.find(service) !== undefined) throw isThere(service)
  const entry = entries.change({ op: 'add', service, agent: OWNER }, (before) => {
    if (before !== undefined) throw isThere(service)
    return addedEntry(policy, value, now())
  })
  return { status: 201, json: viewOf(existing(entry, service)) }
}

function isThere(service: string): VaultError {
  return new VaultError(
    'conflict',
    `there is an entry "${service}" already; give it a new credential with: workspace-gateway vault rotate ${service}, or remove it first`,
  )
}

function rotate(parts: OwnerDoorParts, { service, body }: Question): Reply {
  const now = parts.now()
  const before = existing(parts.entries.find(service), service)
  if (body['back'] === true) {
    takeOnly(body, ['back'])
    const facts = { op: 'rotate', service, reason: 'back' } as const
    return changed(parts, facts, (entry) => backVersion(entry, now))
  }
  takeOnly(body, ['value', 'overlap'])
  const overlap = body['overlap'] ?? 0
  if (!isOverlap(overlap))
    throw new VaultError(
      'bad-request',
      `overlap takes whole seconds from 0 to ${MAX_OVERLAP_SECONDS}`,
    )
  const value = readValue(body['value'], before.policy.kind)
  if ('problem' in value) throw new VaultError('bad-request', value.problem)
  const keptUntil = overlap === 0 ? undefined : now + overlap * 1000
  return changed(parts, { op: 'rotate', service }, (entry) =>
    rotated(entry, { value: value.value, now, keptUntil }),
  )
}

function isOverlap(value: unknown): value is number {
  return (
    typeof value === 'number' &&
    Number.isInteger(value) &&
    value >= 0 &&
    value <= MAX_OVERLAP_SECONDS
  )
}

function grant(parts: OwnerDoorParts, { service, body }: Question): Reply {
  const { names, by, isTrial } = grantIn(body, ['agents', 'by', 'trial'])
  const { kind } = existing(parts.entries.find(service), service).policy
  const problems = grantProblems(names, kind, parts)
  if (problems.length > 0) throw new VaultError('bad-request', problems.join('; '))
  const edit = (entry: Entry): Entry => granted(entry, names)
  // The gateway asks so before it takes the person's second factor, which counts once.
  if (isTrial) return { json: viewOf(edit(existing(parts.entries.find(service), service))) }
  return changed(parts, { op: 'grant', service, by, reason: names.join(',') }, edit)
}

function revoke(parts: OwnerDoorParts, { service, body }: Question): Reply {
  const { names, by } = grantIn(body, ['agents', 'by'])
  const facts = { op: 'revoke', service, by, reason: names.join(',') } as const
  return changed(parts, facts, (entry) => revokedFrom(entry, names))
}

/** Which agents a change of grants is about, who makes it, and whether it is only tried. */
function grantIn(body: Question['body'], members: readonly string[]) {
  takeOnly(body, members)
  const { by, trial = false } = body as { by?: unknown; trial?: unknown }
  if (by !== undefined && !isSubject(by))
    throw new VaultError(
      'bad-request',
      `by takes the name of a person: 1 to ${MAX_SUBJECT_LENGTH} characters, none a control`,
    )
  if (typeof trial !== 'boolean') throw new VaultError('bad-request', 'trial takes true or false')
  return { names: agentsIn(body), by, isTrial: trial }
}

const MAX_AGENTS = 100

function agentsIn(body: Question['body']): readonly string[] {
  const { agents } = body as { agents?: unknown }
  const isList =
    Array.isArray(agents) &&
    agents.length > 0 &&
    agents.length <= MAX_AGENTS &&
    agents.every(isGrant)
  if (!isList)
    throw new VaultError(
      'bad-request',
      'agents takes a list of names of agents, and of other workspaces such as research/*',
    )
  return agents as string[]
}

/** The name of an agent, or `research/*` for another workspace. */
function isGrant(name: unknown): boolean {
  return typeof name === 'string' && (/^[a-z][a-z0-9-]{0,31}$/.test(name) || isWorkspaceGrant(name))
}

function remove({ entries }: OwnerDoorParts, { service, body }: Question): Reply {
  takeOnly(body, [])
  const { id } = existing(entries.find(service), service)
  entries.change({ op: 'remove', service, agent: OWNER }, (): undefined => {})
  return { json: { removed: service, id } }
}

function rekey({ entries }: OwnerDoorParts, { body }: Question): Reply {
  takeOnly(body, ['new_key'])
  const { new_key: text } = body as { new_key?: unknown }
  let key: Buffer
  try {
    key = parseMasterKey(typeof text === 'string' ? text : '')
  } catch (error) {
    const what = error instanceof Error ? error.message : 'is no key'
    // Without the cause, because it has seen the key.
    // oxlint-disable-next-line preserve-caught-error
    throw new VaultError(
      'bad-request',
      `the new key ${what}; it takes 32 random bytes in base64 or hex`,
    )
  }
  entries.rekey(key)
  return { json: { rekeyed: true } }
}

/** Refuses members that are not known: one that is ignored may have been meant to matter. */
function takeOnly(body: Question['body'], names: readonly string[]): void {
  const unknown = Object.keys(body).find((name) => !names.includes(name))
  if (unknown === undefined) return
  const takes = names.length === 0 ? 'no members' : `the members ${names.join(', ')} alone`
  throw new VaultError('bad-request', `the body takes ${takes}`)
}

function limitOf(query: URLSearchParams): number {
  const text = query.get('limit') ?? String(DEFAULT_ROWS)
  const limit = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : Infinity
  if (limit > MAX_ROWS)
    throw new VaultError('bad-request', `limit takes a whole number from 1 to ${MAX_ROWS}`)
  return limit
}
