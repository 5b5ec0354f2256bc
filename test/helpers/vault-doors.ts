/** How does a test get a vault's doors? Over real sockets, with entries in memory, an audit log in a list, and a forwarder that records. */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import pino from 'pino'
import type { AuditFacts } from '../../src/vault/audit-row.ts'
import { Accesses } from '../../src/vault/audit/accesses.ts'
import { clientEnvironment } from '../../src/vault/client-environment.ts'
import { openDoors, openOwnerDoor, type OpenDoors } from '../../src/vault/doors/open-doors.ts'
import type { Entries } from '../../src/vault/doors/server-shared.ts'
import type { Entry, Policy } from '../../src/vault/policy.ts'
import { presetOf } from '../../src/vault/presets.ts'
import { agentSocket, ownerSocket, workspacesSocket } from '../../src/vault/protocol.ts'
import type { Use } from '../../src/vault/use.ts'
import { temporaryFolder } from './process.ts'

/** The credential of the entries here. Nothing that leaves the doors may contain it. */
export const CREDENTIAL = 'ghp_a-credential-of-the-test'

/** An entry `github`, granted to coder. */
export function anEntry(change: Partial<Policy> = {}): Entry {
  const policy: Policy = {
    service: 'github',
    kind: 'header',
    origin: 'https://api.github.com',
    slot: { header: 'authorization', template: 'Bearer {}' },
    methods: ['GET', 'POST'],
    paths: ['/repos/', '/user'],
    headers: [],
    grants: ['coder'],
    allowPrivate: false,
    upgrade: false,
    decode: false,
    suspended: false,
    note: '',
    ...change,
  }
  const value = Buffer.from(CREDENTIAL)
  return {
    id: `id-${policy.service}`,
    policy,
    versions: [{ version: 1, createdAt: 0, keptUntil: undefined, value }],
  }
}

/** Entries in memory. */
class MemoryEntries implements Entries {
  readonly rekeyed: Buffer[] = []
  readonly changes: Array<Pick<AuditFacts, 'op' | 'service' | 'agent' | 'by' | 'reason'>> = []
  readonly #entries = new Map<string, Entry>()
  readonly #listeners: Array<Parameters<Entries['onChange']>[0]> = []

  constructor(entries: readonly Entry[]) {
    for (const entry of entries) this.#entries.set(entry.policy.service, entry)
  }

  entries(): readonly Entry[] {
    return [...this.#entries.values()].toSorted((a, b) =>
      a.policy.service < b.policy.service ? -1 : 1,
    )
  }

  find(service: string): Entry | undefined {
    return this.#entries.get(service)
  }

  change(...[facts, edit]: Parameters<Entries['change']>): Entry | undefined {
    const { service = '' } = facts
    const before = this.find(service)
    const after = edit(before)
    this.changes.push(facts)
    if (after === undefined) this.#entries.delete(service)
    else this.#entries.set(service, after)
    for (const listener of this.#listeners) listener(before, after)
    return after
  }

  onChange(listener: Parameters<Entries['onChange']>[0]): void {
    this.#listeners.push(listener)
  }

  rekey(key: Buffer): void {
    this.rekeyed.push(key)
  }
}

/** A vault whose doors are open. */
export interface TestVault {
  readonly sockets: string
  readonly owner: string
  readonly coder: string
  readonly ops: string
  readonly workspaces: string
  readonly doors: OpenDoors
  readonly entries: MemoryEntries
  readonly rows: AuditFacts[]
  /** What was forwarded. */
  readonly uses: Use[]
  /** Lets every request that is forwarded stay open until its lease is revoked. */
  holdUses(): void
  /** Whether rows can be written from now on. */
  setAudit(works: boolean): void
  now: number
}

type Test = Parameters<typeof temporaryFolder>[0]

/** Opens the doors of a vault with the agents coder and ops. They are closed after the test. */
export async function startTestVault(
  t: Test,
  {
    entries: given = [anEntry()],
    port,
    isShared = false,
  }: { entries?: readonly Entry[]; port?: number; isShared?: boolean } = {},
): Promise<TestVault> {
  const sockets = join(temporaryFolder(t), 'vault')
  const entries = new MemoryEntries(given)
  const rows: AuditFacts[] = []
  const uses: Use[] = []
  const clock = { now: 1_000_000 }
  let auditWorks = true
  let holds = false
  const audit = {
    write(facts: AuditFacts): number {
      if (!auditWorks) throw new Error('the disk is full')
      return rows.push(facts)
    },
    async writeSoon(facts: AuditFacts): Promise<number> {
      return audit.write(facts)
    },
    async writeLater(facts: AuditFacts): Promise<void> {
      audit.write(facts)
    },
  }
  const accesses = new Accesses(audit, [], () => clock.now)
  const logger = pino({ level: 'silent' })
  const owner = await openOwnerDoor(sockets, logger)
  const agents = [
    { name: 'coder', uid: 1001 },
    { name: 'ops', uid: 1002 },
  ]
  const doors = await openDoors(owner, {
    config: { sockets, agents, port },
    ...{ entries, audit: accesses.audit, logger, presetOf, isShared },
    environmentOf: (leased) => clientEnvironment([leased]),
    forwarding: {
      async forward(use, _request, response) {
        uses.push(use)
        response.write(' ')
        if (holds)
          await new Promise((resolve) => {
            use.lease.revoked.addEventListener('abort', resolve, { once: true })
          })
        if (use.lease.revoked.aborted) response.destroy()
        else response.end('{}')
      },
      async upgrade(use, _request, socket) {
        uses.push(use)
        socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n')
      },
      async close() {},
    },
    recent: (limit) => rows.slice(-limit),
    accesses: () => accesses.list(),
    backup: () => Buffer.from('{"sealed":true}\n'),
    status: () => ({ version: 'test', agents: agents.map(({ name }) => name) }),
    now: () => clock.now,
  })
  t.teardown(() => doors.close())
  return {
    ...{ sockets, doors, entries, rows, uses },
    owner: ownerSocket(sockets),
    coder: agentSocket(sockets, 'coder'),
    ops: agentSocket(sockets, 'ops'),
    workspaces: workspacesSocket(sockets),
    holdUses: () => void (holds = true),
    setAudit: (works) => void (auditWorks = works),
    get now() {
      return clock.now
    },
    set now(value) {
      clock.now = value
    },
  }
}

/** An answer of a door. */
export interface DoorAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
  /** The body as JSON; an empty object for any other. */
  readonly json: Record<string, unknown>
  /** The code of a refusal. */
  readonly code: string | undefined
  /** Whether the answer was cut. */
  readonly isCut: boolean
}

/** A request to a door. */
export interface DoorQuestion {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | string[]>> | readonly string[]
  readonly body?: unknown
}

/** Sends a request to a socket, or to a port. */
export async function ask(
  door: string | number,
  { method = 'GET', path, headers = {}, body }: DoorQuestion,
): Promise<DoorAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const where = typeof door === 'string' ? { socketPath: door } : { host: '127.0.0.1', port: door }
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
  httpRequest(
    { ...where, method, path, headers: headers as Record<string, string>, agent: false },
    resolve,
  )
    .on('error', reject)
    .end(text)
  const answer = await promise
  let received = ''
  let isCut = false
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) received += chunk.toString()
  } catch {
    isCut = true
  }
  return {
    status: answer.statusCode ?? 0,
    headers: answer.headers,
    text: received,
    json: objectOf(received),
    code: answer.headers['x-vault-error'] as string | undefined,
    isCut,
  }
}

function objectOf(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return {}
  }
}

/** Gets a lease at an agent's door. */
export async function leaseAt(door: string, asked: object = {}): Promise<string> {
  const body = { service: 'github', ...asked }
  const { json, status, text } = await ask(door, { method: 'POST', path: '/v1/leases', body })
  if (status !== 201) throw new Error(text)
  return String(json['token'])
}
